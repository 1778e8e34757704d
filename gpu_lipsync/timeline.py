"""Which source frame makes each output frame. Integers and fractions only: no tensors, no files.

Output frame i is generated from mel window i and shown at i / fps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Timeline:
    """The source frame of every output frame.

    Attributes:
        source: source[i] is the index of the source frame that output frame i shows.
    """

    source: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.source)

    def passes(self) -> Iterator[range]:
        """Runs of output frames through which the source only moves forward: one pass over the clip each."""
        start = 0
        for i in range(1, len(self.source) + 1):
            if i == len(self.source) or self.source[i] < self.source[i - 1]:
                yield range(start, i)
                start = i

    def showing(self, outputs: range, sources: range) -> range:
        """Those of the output frames, all of one pass, that show one of the consecutive source frames."""
        first = bisect_left(self.source, sources.start, outputs.start, outputs.stop)
        return range(first, bisect_left(self.source, sources.stop, first, outputs.stop))


def align(
    shown_at: tuple[Fraction, ...],
    *,
    fps: Fraction,
    constant_rate: bool,
    n_outputs: int,
    static: bool = False,
    last_s: Fraction | None = None,
) -> Timeline:
    """Choose the source frame of each output frame.

    Args:
        shown_at: when each source frame comes on screen, seconds, ascending; at least one.
        fps: nominal frames a second of the output.
        constant_rate: count frames, as the predecessor did: output frame i shows source frame i mod n. Otherwise
            (variable rate, late start, edited timestamps) it shows the frame on screen at i / fps.
        n_outputs: number of mel windows.
        static: show only the first frame.
        last_s: how long the last frame is on screen; by default as long as an output frame.

    Returns:
        The timeline; a clip shorter than the sound starts over.
    """
    n = len(shown_at)
    if static or n == 1:
        return Timeline((_on_screen(shown_at, Fraction(0)),) * n_outputs)
    if constant_rate:
        return Timeline(tuple(i % n for i in range(n_outputs)))
    begin, end = max(shown_at[0], Fraction(0)), shown_at[-1] + (1 / fps if last_s is None else last_s)
    moments = (i / fps for i in range(n_outputs))
    # A late first frame is shown early, but once: it would hold still in every repetition.
    played = (moment if moment < end else begin + (moment - begin) % (end - begin) for moment in moments)
    return Timeline(tuple(_on_screen(shown_at, moment) for moment in played))


def _on_screen(shown_at: tuple[Fraction, ...], moment: Fraction) -> int:
    # A millisecond of grace: matroska rounds its timestamps to whole ones.
    return max(bisect_right(shown_at, moment + Fraction(1, 1000)) - 1, 0)

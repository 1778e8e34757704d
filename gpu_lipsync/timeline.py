"""Which source frame makes each output frame. Integers and fractions only: no tensors, no files.

Output frame i is generated from mel window i and shown at i / fps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

# In output frames, of a frame's own time: half of one is the nearest, and of half the rate the next is one whole away.
NEXT_WITHIN = Fraction(3, 4)
FAST = Fraction(2, 3)  # of an output frame: the step of frames of which some have to be left out


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
            (variable rate, late start, edited timestamps) it shows the frame on screen at i / fps, give or take an
            output frame: none is left out because its timestamp jitters.
        n_outputs: number of mel windows.
        static: show only the first frame.
        last_s: how long the last frame is on screen, at least as long as an output frame, which is the default.

    Returns:
        The timeline; a clip shorter than the sound starts over.
    """
    n = len(shown_at)
    if static or n == 1:
        return Timeline((_on_screen(shown_at, Fraction(0)),) * n_outputs)
    if constant_rate:
        return Timeline(tuple(i % n for i in range(n_outputs)))
    slots = _slots(shown_at, fps, n_outputs)
    begin = max(slots[0], 0)
    end = max(slots[-1] + (1 if last_s is None else max(1, round(last_s * fps))), begin + 1)  # all may lie before 0
    # A late first frame is shown early, but once: it would hold still in every repetition.
    played = (i if i < end else begin + (i - begin) % (end - begin) for i in range(n_outputs))
    return Timeline(tuple(max(bisect_right(slots, slot) - 1, 0) for slot in played))


def _slots(shown_at: tuple[Fraction, ...], fps: Fraction, n_outputs: int) -> list[int]:
    """The output frame from which on each source frame is shown, for as many as come into n_outputs, and one more.

    Timestamps of phones, of browsers and of Matroska are off by milliseconds. Where frames come on screen half way
    between two output frames, as they do after a pause that is no whole number of them, the nearest would be now that
    of the frame before, which is not shown then, now the next but one. So frames follow each other as they should, as
    long as none is a whole output frame off.
    """
    slots = [round(shown_at[0] * fps)]
    for before, moment in pairwise(shown_at):
        if slots[-1] >= n_outputs:  # of an hour no more than is asked for
            break
        last, due, step = slots[-1], moment * fps, (moment - before) * fps
        following = last + max(1, round(step))
        if abs(due - last - 1) < NEXT_WITHIN:
            slots.append(last + 1)
        elif step > FAST and abs(due - following) < 1:
            slots.append(following)
        else:
            slots.append(max(round(due), last))
    return slots


def _on_screen(shown_at: tuple[Fraction, ...], moment: Fraction) -> int:
    # A millisecond of grace: matroska rounds its timestamps to whole ones.
    return max(bisect_right(shown_at, moment + Fraction(1, 1000)) - 1, 0)

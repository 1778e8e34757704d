"""When the frames of a video stream are on screen, by its packets, and how often it changes. PyAV; no torch."""

from __future__ import annotations

import statistics
from fractions import Fraction
from typing import Any

from gpu_lipsync.config import MAX_FPS
from gpu_lipsync.errors import MediaError
from gpu_lipsync.media.containers import on_one_clock

_SURE_S = 1e-3  # what timestamps are off: Matroska rounds them to milliseconds
_LEAST_FPS_OF_ONE_FRAME = 10  # less says how long the frame is held, not how often it could have changed


def coded_times(container: Any, stream: Any) -> list[tuple[int, bool]]:
    """When each coded frame is shown, in the stream's time base, in order, and whether an edit list hides it."""
    # One packet at a time: together their payloads are the file.
    vp8 = stream.codec_context.name == "vp8"
    packets = (p for p in on_one_clock(container, stream) if p.size and not (vp8 and _is_hidden(p)))
    seen = [(p.dts if p.pts is None else p.pts, p.is_discard) for p in packets]
    if seen and all(t is None for t, _ in seen):
        raise MediaError(
            f"face video {container.name} is a bare stream without timestamps; "
            "put it into a container: ffmpeg -i IN -c copy OUT.mp4"
        )
    return sorted((t, hidden) for t, hidden in seen if t is not None)


def _is_hidden(packet: Any) -> bool:
    """Whether a packet of VP8 is there for others to refer to only: show_frame, RFC 6386, 9.1."""
    return not bytes(packet)[0] >> 4 & 1


def nominal_rate(stream: Any, shown_at: tuple[Fraction, ...]) -> Fraction:
    """Frames a second of a clip of more than one.

    FFmpeg offers several guesses, each wrong for some container (twice the rate for field-coded MPEG-1, the mean for a
    variable rate): the one that the usual step from frame to frame agrees with is taken, or what the steps say.

    Args:
        stream: the video's, of PyAV.
        shown_at: when each frame is on screen, seconds, in order.

    Raises:
        MediaError: the rate is above MAX_FPS.
    """
    guesses = [Fraction(r) for r in (stream.guessed_rate, stream.average_rate, stream.base_rate) if r]
    steps = [float(b - a) for a, b in zip(shown_at, shown_at[1:], strict=False) if b > a]
    usual = _usual_step(steps) or 1 / float(guesses[0] if guesses else 25)
    close = [rate for rate in guesses if abs(float(1 / rate) - usual) < _SURE_S]
    if close:
        rate = _best_supported(close, steps, usual)
    else:
        rate = min([*guesses, _measured(usual)], key=lambda rate: abs(float(1 / rate) - usual))
    if not 0 < rate <= MAX_FPS * 1.01:  # "240" of slow motion is a little more
        raise MediaError(
            f"{stream.container.name} has a frame rate of {float(rate):.1f}, out of range (0 to {MAX_FPS}); "
            "re-encode the video"
        )
    return rate


def _usual_step(steps: list[float]) -> float | None:
    """From one frame to the next, seconds; None where all are at one moment."""
    if not steps:
        return None
    usual = statistics.median(steps)
    stamped_in_bunches = usual < 1 / (MAX_FPS * 1.01)  # as they came over a network
    return statistics.fmean(steps) if stamped_in_bunches else usual


def _best_supported(guesses: list[Fraction], steps: list[float], usual: float) -> Fraction:
    """The first of several rates near 1 / `usual` that is as near the mean of the steps as can be told, pauses left
    out; that mean's own rate where none is.
    """
    regular = [step for step in steps if abs(step - usual) < usual / 5 + _SURE_S] or [usual]
    mean = statistics.fmean(regular)
    doubt = 3 * statistics.pstdev(regular) / len(regular) ** 0.5 + _SURE_S / len(regular)
    rates = [*guesses, _measured(mean)]
    off = [abs(float(1 / rate) - mean) for rate in rates]
    return next(rate for rate, by in zip(rates, off, strict=True) if by <= min(off) + doubt)


def _measured(step_s: float) -> Fraction:
    rate = Fraction(1 / step_s)
    return rate.limit_denominator(1001) or rate  # 0 of slides that are half an hour apart


def stated_rate(stream: Any) -> Fraction | None:
    """The rate of a clip of one frame, unless it is but the tick of its clock (100 in a GIF, 1000 in WebM), or what
    FFmpeg makes up for a picture.
    """
    if stream.container.format.name == "image2" or stream.container.format.name.endswith("_pipe"):
        return None
    rate = stream.average_rate
    stated = rate and rate == stream.guessed_rate and _LEAST_FPS_OF_ONE_FRAME <= rate <= MAX_FPS
    return Fraction(rate) if stated else None


def is_constant(shown_at: tuple[Fraction, ...], fps: Fraction) -> bool:
    """Whether each frame is shown when it would be at a constant rate, to within half a frame."""
    # Matroska rounds to milliseconds, and nobody sees that.
    return all(abs(t - i / fps) < 1 / (2 * fps) for i, t in enumerate(shown_at))

"""The sound in a file, decoded at its own rate. PyAV; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np

from gpu_lipsync.errors import MediaError
from gpu_lipsync.media.containers import chosen_stream, decoded, open_container, refuse_truncated
from gpu_lipsync.process.input_files import require_file

# Containers that say when sound is heard; of others FFmpeg counts, and is wrong where a bare stream changes its rate.
_STAMPED = {"mov", "mp4", "matroska", "webm", "mpegts", "mpeg", "flv", "ogg", "asf", "nut"}
_GAP_S = 0.05  # shorter ones are what clocks and rounding make; several lost packets together are longer
_LEAST_RATE_HZ = 1000  # telephones have 8000; what a header says wrongly would be hours of sound
# Longer ones, and steps back by more, are no time: where recordings were joined, timestamps begin anew.
_LONGEST_GAP_S, _LONGEST_OVERLAP_S = 60, 1


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Decoded sound at its own rate: samples (channels, n) float32 in [-1, 1], channels in FFmpeg's named layout."""

    path: Path
    samples: np.ndarray
    layout: str
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        return self.samples.shape[1] / self.sample_rate_hz


def read_sound(path: str | Path) -> Sound:
    """Decode all channels of the default audio stream, or else the first, silence in gaps and before a late start.

    What has another rate or other channels than the beginning (files joined byte by byte) is brought to those.

    Raises:
        MediaError: the file is missing, unreadable, cut short, without an audio stream, without a sample, or of a rate
            below 1000 Hz.
        ResourceError: the host is short of memory, threads or open files.
    """
    import av

    file = require_file(path, "audio")
    with open_container(file, "audio") as container:
        stream = chosen_stream(file, container, "audio")
        _name_no_channels(stream)
        frames = decoded(container, stream)
        frame = next(frames, None)
        if frame is None:
            raise MediaError(f"audio file {file} holds no sound; it is damaged or cut short, export it again")
        if frame.sample_rate < _LEAST_RATE_HZ:
            raise MediaError(
                f"audio file {file} has {frame.sample_rate} samples a second, {_LEAST_RATE_HZ} is the least; "
                "its header is damaged, export it again"
            )
        first, rate, layout = Fraction(frame.pts or 0) * frame.time_base, frame.sample_rate, frame.layout
        start = first - Fraction(container.start_time or 0, av.time_base)
        silence = round(start * rate) if start > 0 and len(container.streams) > 1 else 0
        chunks = [np.zeros((layout.nb_channels, silence), np.float32)]
        stamped = _STAMPED & set(container.format.name.split(","))
        whole = chain([frame], frames)
        chunks += _alike(_without_gaps(whole) if stamped else whole, rate_hz=rate, n_channels=layout.nb_channels)
        samples = np.concatenate(chunks, axis=1)
        del chunks  # an hour of stereo is 1.4 GB
        np.nan_to_num(samples, copy=False, posinf=1.0, neginf=-1.0)
        np.clip(samples, -1.0, 1.0, out=samples)
        end = first + Fraction(samples.shape[1] - silence, rate)
        refuse_truncated(file, "audio", container, stream, end)
    return Sound(path=file, samples=samples, layout=layout.name, sample_rate_hz=rate)


def _name_no_channels(stream: Any) -> None:
    """Where channels come in an order of the file's own (film's, R before L), count them only.

    Every frame's layout would hold the same list of names, which PyAV 18.1 frees once for each: the process dies.
    """
    names = stream.codec_context.layout.name  # "6 channels (FL+FC+FR+BL+BR+LFE)"
    if " channels (" in names:
        stream.codec_context.layout = names.partition(" (")[0]


def at_rate(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Mono samples (n,) float32 in [-1, 1] at another rate, one at least, by FFmpeg's resampler.

    Whatever the two rates, it takes little memory.
    """
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=to_hz)
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(samples), from_hz):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + from_hz], format="flt", layout="mono")
        frame.sample_rate = from_hz
        parts += (part.to_ndarray()[0] for part in resampler.resample(frame))
    parts += (part.to_ndarray()[0] for part in resampler.resample(None))
    n = max(1, round(len(samples) * to_hz / from_hz))
    resampled = np.concatenate(parts)[:n]  # of a few samples alone its filter gives none
    return np.pad(resampled, (0, n - len(resampled))).clip(-1.0, 1.0)


def _without_gaps(frames: Iterable[Any]) -> Iterator[Any]:
    """Frames, and silence where their timestamps leave time without sound.

    Damage does, and browsers that record speech send nothing while nobody speaks. What follows would come early. Where
    timestamps begin anew no time is left, and what they leave from there on counts again.
    """
    import av

    end: Fraction | None = None  # of what came so far, silence included, in seconds
    for frame in frames:
        stamp = None if frame.pts is None else frame.pts * Fraction(frame.time_base)
        end = stamp or Fraction(0) if end is None else end
        begin = end if stamp is None else stamp
        gap = begin - end
        if _GAP_S < gap < _LONGEST_GAP_S:
            zeros = np.zeros((1, round(gap * frame.sample_rate) * frame.layout.nb_channels), np.float32)
            silence = av.AudioFrame.from_ndarray(zeros, format="flt", layout=frame.layout)
            silence.sample_rate = frame.sample_rate
            yield silence
        if not -_LONGEST_OVERLAP_S <= gap <= _GAP_S:
            end = begin
        end += Fraction(frame.samples, frame.sample_rate)
        yield frame


def _alike(frames: Iterable[Any], *, rate_hz: int, n_channels: int) -> Iterator[np.ndarray]:
    """Samples (n_channels, n) float32 at rate_hz of frames whose format, channels and rate may change on the way."""
    import av

    for _, segment in groupby(frames, key=lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate)):
        resampler = None
        for frame in segment:
            # Interleaved: of eight or more channels in planes PyAV reads past the last, and the process dies.
            resampler = resampler or av.AudioResampler(format="flt", layout=frame.layout, rate=rate_hz)
            yield from (_planes(part, n_channels) for part in resampler.resample(frame))
        if resampler:
            yield from (_planes(part, n_channels) for part in resampler.resample(None))


def _planes(frame: Any, n_channels: int) -> np.ndarray:
    """An interleaved frame as (n_channels, n); of other channels than so many, their mean in each."""
    samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T
    if len(samples) != n_channels:  # the mean over all of them, which is what the generator hears, stays what it is
        samples = np.repeat(samples.mean(0, keepdims=True), n_channels, axis=0)
    return np.ascontiguousarray(samples)

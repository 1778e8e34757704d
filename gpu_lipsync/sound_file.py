"""The sound in a file, decoded at its own rate. PyAV; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from gpu_lipsync.containers import chosen_stream, decoded, open_container, refuse_truncated, require_file
from gpu_lipsync.errors import MediaError


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
    """Decode the first audio stream, all of its channels, silence in front for a late start.

    Raises:
        MediaError: the file is missing, unreadable, without an audio stream, or without a sample.
    """
    import av

    file = require_file(path, "audio")
    with open_container(file, "audio") as container:
        stream = chosen_stream(file, container, "audio")
        rate = stream.codec_context.sample_rate
        resampler = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
        chunks, first = [], None
        for frame in decoded(container, stream):
            if first is None:
                first = Fraction(frame.pts or 0) * frame.time_base
            chunks += [part.to_ndarray() for part in resampler.resample(frame)]
        if first is None:
            raise MediaError(f"audio file {file} holds no sound; it is damaged or cut short, make it again")
        chunks += [part.to_ndarray() for part in resampler.resample(None)]
        samples = np.nan_to_num(np.concatenate(chunks, axis=1), posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
        start = first - Fraction(container.start_time or 0, av.time_base)
        silence = round(start * rate) if start > 0 and len(container.streams) > 1 else 0
        samples = np.pad(samples, ((0, 0), (silence, 0)))
        end = first + Fraction(samples.shape[1] - silence, rate)
        refuse_truncated(file, "audio", container, stream, end)
    return Sound(path=file, samples=samples, layout=resampler.layout.name, sample_rate_hz=rate)

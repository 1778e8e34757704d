"""Streams to encode."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from gpu_lipsync.config import EncodeConfig
from gpu_lipsync.encoding.streams import StreamShape
from gpu_lipsync.encoding.writer import open_writer
from gpu_lipsync.media.sound_file import Sound
from tests.clips import gradient, tone


def sound_of(seconds: float, *, rate: int = 16000, channels: int = 1) -> Sound:
    layout = {1: "mono", 2: "stereo"}.get(channels, "5.1")
    samples = tone(seconds, rate, channels=channels).astype(np.float32)
    return Sound(path=Path("tone"), samples=samples, layout=layout, sample_rate_hz=rate)


def shape_of(height: int, width: int, *, n_frames: int = 25, fps: Fraction = Fraction(25), **sound: int) -> StreamShape:
    return StreamShape(
        height=height,
        width=width,
        fps=fps,
        n_frames=n_frames,
        pixel_aspect=Fraction(1),
        sound=sound_of(float(n_frames / fps) + 0.3, **sound),
    )


def pictures(n_frames: int, height: int, width: int) -> torch.Tensor:
    stack = np.stack([gradient(i, height, width) for i in range(n_frames)])
    return torch.from_numpy(stack).permute(0, 3, 1, 2)


def encode(path: Path, shape: StreamShape, frames: torch.Tensor, **settings: object) -> Path:
    with open_writer(path, shape, EncodeConfig(**settings)) as out:  # type: ignore[arg-type]
        for batch in frames.split(8):
            out.write(batch)
        out.finish()
    return path

"""Between 8-bit frames and float images."""

import torch
from torch import Tensor

from gpu_lipsync.ops.checks import check_bytes, check_image
from gpu_lipsync.ops.constants import device_constant, is_cpu, upload


def to_float(frames: Tensor) -> Tensor:
    """Map uint8 (B, C, H, W) in 0..255 to float32 in [0, 1].

    Raises:
        TypeError: `frames` is not uint8.
        ValueError: `frames` is not 4-D.
    """
    check_bytes(frames, name="frames")
    return frames * _per_level(frames.device)


def interleaved(image: Tensor) -> Tensor:
    """The same (B, C, H, W), the colours of a pixel side by side in memory, as decoders deliver and encoders take."""
    return image.contiguous(memory_format=torch.channels_last)


def to_uint8(image: Tensor) -> Tensor:
    """Map float32 (B, C, H, W) in [0, 1] to uint8, rounded and clamped; `to_uint8(to_float(x))` is x.

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D.
    """
    check_image(image)
    return to_bytes(levels_and_a_half(image).clamp_(0.0, 255.0))


def levels_and_a_half(image: Tensor) -> Tensor:
    """[0, 1] in 8-bit levels, which cutting off after the point now rounds; in one pass."""
    return torch.add(_half(image.device), image, alpha=255.0)


def to_bytes(levels: Tensor) -> Tensor:
    """Numbers from 0 to 255 in float32 to uint8, cut off after the point."""
    if is_cpu(levels):
        levels = levels.to(torch.int16)  # two conversions in vector instructions for one without: a third of the time
    return levels.to(torch.uint8)


@device_constant
def _per_level(device: torch.device) -> Tensor:
    # A plain number would have integers become whatever is the process's default dtype.
    return upload(torch.tensor(1.0 / 255.0, dtype=torch.float32), device)


@device_constant
def _half(device: torch.device) -> Tensor:
    return upload(torch.tensor(0.5, dtype=torch.float32), device)

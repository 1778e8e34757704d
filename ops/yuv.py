"""RGB to the planes that video encoders take."""

import torch
from torch import Tensor
from torch.nn import functional

from gpu_lipsync.ops.checks import check_bytes
from gpu_lipsync.ops.constants import device_constant, upload

# ITU-R BT.709, limited range: Y in 16..235, Cb and Cr in 16..240.
_KR, _KB = 0.2126, 0.0722
_KG = 1.0 - _KR - _KB
_LUMA = ((219 / 255 * _KR, 219 / 255 * _KG, 219 / 255 * _KB),)
_BLUE, _RED = 112 / 255 / (1.0 - _KB), 112 / 255 / (1.0 - _KR)
_CHROMA = (
    (-_BLUE * _KR, -_BLUE * _KG, _BLUE * (1.0 - _KB)),
    (_RED * (1.0 - _KR), -_RED * _KG, -_RED * _KB),
)


def rgb_to_yuv420(frames: Tensor) -> Tensor:
    """Convert RGB frames to planar 4:2:0, BT.709, limited range; chroma is the mean of its four pixels.

    Half the bytes of RGB, which is what has to leave the device where no encoder runs on it.

    Args:
        frames: (B, 3, H, W) uint8 RGB, H and W even.

    Returns:
        (B, H * 3 // 2, W) uint8: H rows of Y, then the Cb plane and the Cr plane, as FFmpeg's yuv420p.

    Raises:
        TypeError: `frames` is not uint8.
        ValueError: wrong shape, or an odd side.

    Reference: swscale's rgb24 to yuv420p with accurate_rnd, within 1 level (2 in chroma, whose siting differs).
    """
    n, height, width = _checked(frames)
    luma, chroma = _planes(frames)
    out = torch.empty((n, height * 3 // 2, width), dtype=torch.uint8, device=frames.device)
    out[:, :height] = luma.view(n, height, width)
    out[:, height:] = chroma.mT.reshape(n, height // 2, width)
    return out


def rgb_to_nv12(frames: Tensor, *, pitch: int = 1) -> Tensor:
    """Convert RGB frames to 4:2:0 with Cb and Cr side by side, as hardware encoders take it.

    Args:
        frames: (B, 3, H, W) uint8 RGB, H and W even.
        pitch: the rows' length in bytes becomes the next multiple of this.

    Returns:
        (B, H * 3 // 2, P) uint8, P at least W: H rows of Y, then H // 2 rows of Cb, Cr, Cb, Cr, ...; what is beyond W
        is not set.

    Raises:
        TypeError: `frames` is not uint8.
        ValueError: wrong shape, or an odd side.

    Reference: the values of `rgb_to_yuv420`, laid out as FFmpeg's nv12.
    """
    n, height, width = _checked(frames)
    luma, chroma = _planes(frames)
    rows = (n, height * 3 // 2, -(-width // pitch) * pitch)
    out = torch.empty(rows, dtype=torch.uint8, device=frames.device)
    out[:, :height, :width] = luma.view(n, height, width)
    out[:, height:, :width] = chroma.view(n, height // 2, width)
    return out


def _checked(frames: Tensor) -> tuple[int, int, int]:
    """Number, height and width of frames that can become 4:2:0."""
    check_bytes(frames, name="frames")
    n, channels, height, width = frames.shape
    if channels != 3:
        raise ValueError(f"frames must be (B, 3, H, W), got {tuple(frames.shape) = }")
    if height % 2 or width % 2:
        raise ValueError(f"both sides must be even for 4:2:0, got {width}x{height}")
    return n, height, width


def _planes(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Y (B, H * W, 1), and Cb and Cr side by side (B, H // 2 * W // 2, 2), uint8."""
    pixels = frames.permute(0, 2, 3, 1).float()
    luma = pixels.reshape(len(frames), -1, 3) @ _rows(_LUMA, frames.device)
    # Chroma is linear in RGB: the mean first, so that the rest is done on a quarter of the pixels.
    means = functional.avg_pool2d(pixels.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    chroma = means.reshape(len(frames), -1, 3) @ _rows(_CHROMA, frames.device)
    return _levels(luma, 16.0), _levels(chroma, 128.0)


def _levels(values: Tensor, offset: float) -> Tensor:
    return values.add_(offset).round_().clamp_(0, 255).to(torch.uint8)


@device_constant
def _rows(weights: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """(3, number of planes): what each colour gives to each plane."""
    return upload(torch.tensor(weights).mT.contiguous(), device)

"""Between RGB and the planes that video encoders take and decoders give."""

import torch
from torch import Tensor
from torch.nn import functional

from gpu_lipsync.ops.checks import check_bytes, check_planes, check_same_device
from gpu_lipsync.ops.constants import device_constant, upload
from gpu_lipsync.ops.yuv_matrix import (
    CHROMA_GREY,
    CHROMA_LEVELS,
    LUMA_BLACK,
    LUMA_LEVELS,
    Rows,
    YuvMatrix,
    chroma_rows,
    chroma_shares,
    luma_row,
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


def rgb_to_nv12(frames: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Convert RGB frames to 4:2:0 with Cb and Cr side by side, as hardware encoders take it.

    Args:
        frames: (B, 3, H, W) uint8 RGB, H and W even.
        out: (B, H * 3 // 2, P) uint8, P at least W, where to put it; what is beyond W is left alone.

    Returns:
        `out`, or by default a new (B, H * 3 // 2, W) uint8: H rows of Y, then H // 2 rows of Cb, Cr, Cb, Cr, ...

    Raises:
        TypeError: `frames` or `out` is not uint8.
        ValueError: wrong shape or device, or an odd side.

    Reference: the values of `rgb_to_yuv420`, laid out as FFmpeg's nv12.
    """
    n, height, width = _checked(frames)
    if out is None:
        out = torch.empty((n, height * 3 // 2, width), dtype=torch.uint8, device=frames.device)
    if out.dtype != torch.uint8:
        raise TypeError(f"out must be uint8, got {out.dtype}")
    check_same_device(frames, out, names="frames and out")
    if out.ndim != 3 or out.shape[:2] != (n, height * 3 // 2) or out.shape[2] < width:
        raise ValueError(f"out must be ({n}, {height * 3 // 2}, {width} or more), got {tuple(out.shape) = }")
    luma, chroma = _planes(frames)
    out[:, :height, :width] = luma.view(n, height, width)
    out[:, height:, :width] = chroma.view(n, height // 2, width)
    return out


def nv12_to_rgb(planes: Tensor, *, matrix: YuvMatrix, full_range: bool = False) -> Tensor:
    """Convert what hardware decoders give, 4:2:0 with Cb and Cr side by side, to RGB.

    The four pixels that share a chroma sample get the same, so that `rgb_to_nv12`, which takes their mean, gives it
    back: enlarged smoothly it would be blurred in all of the picture, touched or not.

    Args:
        planes: (B, H * 3 // 2, W) uint8, as `rgb_to_nv12` makes it.
        matrix: of the clip.
        full_range: Y, Cb and Cr take 0 to 255 instead of 16 to 235 and 240.

    Returns:
        (B, 3, H, W) uint8, interleaved.

    Raises:
        TypeError: `planes` is not uint8.
        ValueError: not (B, H * 3 // 2, W) with even sides, or an unknown matrix.

    Reference: swscale's conversion of the picture with each chroma sample given to its four pixels (yuv444p), with
        accurate_rnd and full_chroma_int; within 1 level.
    """
    check_planes(planes, name="planes")
    n, rows, width = planes.shape
    height = rows * 2 // 3
    chroma = planes[:, height:].reshape(n, -1, 2).mT.float().sub_(CHROMA_GREY)
    to_rgb, offset, gain = _to_rgb(matrix, full_range, planes.device)
    colour = (to_rgb @ chroma).view(n, 3, height // 2, 1, width // 2, 1)
    luma = planes[:, :height].float().sub_(offset).mul_(gain).view(n, 1, height // 2, 2, width // 2, 2)
    out = (luma + colour).round_().clamp_(0, 255).to(torch.uint8).view(n, 3, height, width)
    return out.contiguous(memory_format=torch.channels_last)


@device_constant
def _to_rgb(matrix: YuvMatrix, full_range: bool, device: torch.device) -> tuple[Tensor, float, float]:
    """What Cb and Cr give to each colour (3, 2), and where luma begins and how much it is stretched."""
    shares = torch.tensor(chroma_shares(matrix), dtype=torch.float32)
    if full_range:
        return upload(shares, device), 0.0, 1.0
    return upload(shares * (255 / CHROMA_LEVELS), device), float(LUMA_BLACK), 255 / LUMA_LEVELS


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
    luma = pixels.reshape(len(frames), -1, 3) @ _rows(luma_row("bt709"), frames.device)
    # Chroma is linear in RGB: the mean first, so that the rest is done on a quarter of the pixels.
    means = functional.avg_pool2d(pixels.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    chroma = means.reshape(len(frames), -1, 3) @ _rows(chroma_rows("bt709"), frames.device)
    return _levels(luma, LUMA_BLACK), _levels(chroma, CHROMA_GREY)


def prepare_yuv(device: torch.device) -> None:
    """Bring the constants of `rgb_to_yuv420` and `rgb_to_nv12` to the device, on the current stream."""
    _rows(luma_row("bt709"), device)
    _rows(chroma_rows("bt709"), device)


def _levels(values: Tensor, offset: int) -> Tensor:
    return values.add_(offset).round_().clamp_(0, 255).to(torch.uint8)


@device_constant
def _rows(weights: Rows, device: torch.device) -> Tensor:
    """(3, number of planes): what each colour gives to each plane."""
    return upload(torch.tensor(weights, dtype=torch.float32).mT.contiguous(), device)

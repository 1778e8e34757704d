"""Resampling, OpenCV's way: pixel centres aligned, no antialias but in `reduce_bytes`."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.ops.checks import check_bytes, check_image, check_window
from gpu_lipsync.ops.constants import is_cpu
from gpu_lipsync.ops.convert import levels_and_a_half, to_float
from gpu_lipsync.ops.matrices import Axis, Finish, filter_axes

ResizeMode = Literal["bilinear", "bicubic", "lanczos4"]


def resize(image: Tensor, size: tuple[int, int], *, mode: ResizeMode = "bilinear") -> Tensor:
    """Resample to `size` (height, width).

    Args:
        image: (B, C, H, W) float32.
        size: height and width of the result, pixels.
        mode: bicubic (a = -0.75) and lanczos4 overshoot at edges; the caller clamps.

    Returns:
        (B, C, *size).

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D, a side of `size` is not positive, or `mode` is unknown.

    Reference: cv2.resize on float32 with INTER_LINEAR, INTER_CUBIC, INTER_LANCZOS4; within 1/255.
    """
    check_resize(image, size, mode)
    if mode == "bilinear":
        return interpolate(image, size, mode="bilinear", align_corners=False)
    return resize_window(image, size, Window(0, size[0], 0, size[1]), mode=mode)


def resize_bytes(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample 8-bit frames to `size` (height, width) by bilinear interpolation, without antialias, as float.

    On a CPU it is done in 8 bits, for which torch has vector code: a fifth of the time and less.

    Args:
        frames: (B, C, H, W) uint8; interleaved is fastest.
        size: height and width of the result, pixels.

    Returns:
        (B, C, *size) float32 in [0, 1]; on a CPU whole levels.

    Raises:
        TypeError: `frames` is not uint8.
        ValueError: `frames` is not 4-D, or a side of `size` is not positive.

    Reference: cv2.resize on uint8 with INTER_LINEAR, within 1 level.
    """
    check_bytes(frames, name="frames")
    _check_size(size)
    on_cpu = is_cpu(frames)
    resized = interpolate(frames if on_cpu else to_float(frames), size, mode="bilinear", align_corners=False)
    return to_float(resized) if on_cpu else resized


def reduce_bytes(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Make 8-bit frames smaller, each pixel of `size` (height, width) the weighted mean of those around it.

    Args:
        frames: (B, C, H, W) uint8; on a CPU interleaved colours are fastest, or planes whose number four divides.
        size: height and width of the result, pixels.

    Returns:
        (B, C, *size) uint8.

    Raises:
        TypeError, ValueError: as `resize_bytes`.

    Reference: Pillow's resize with BILINEAR, within 1 level.
    """
    check_bytes(frames, name="frames")
    _check_size(size)
    n, channels = frames.shape[:2]
    if not is_cpu(frames):  # where torch has it for floats only
        means = interpolate(frames.float(), size, mode="bilinear", antialias=True)
        return means.round_().clamp_(0, 255).to(torch.uint8)
    if channels <= 2 and n * channels % 4 == 0:
        # For four channels side by side there is vector code: a quarter of what planes take for themselves.
        fours = frames.reshape(-1, 4, *frames.shape[2:]).contiguous()
        return interpolate(fours, size, mode="bilinear", antialias=True).reshape(n, channels, *size)
    return interpolate(frames, size, mode="bilinear", antialias=True)


def resize_window(
    image: Tensor,
    size: tuple[int, int],
    window: Window,
    *,
    mode: ResizeMode = "bicubic",
    interleave: bool = False,
) -> Tensor:
    """The part `window` (y1 y2 x1 x2, end exclusive) of `resize(image, size)`, at the price of that part alone.

    With `interleave` its colours lie side by side in memory.
    """
    rows, cols = _axes(image, size, window, mode)
    return filter_axes(image, rows, cols, window, interleave=interleave)


def resize_to_bytes(image: Tensor, size: tuple[int, int], window: Window) -> Tensor:
    """Resize by bicubic interpolation, straight to 8 bits, in fewer passes than one after the other.

    The weights of a pixel sum to 1: half a level added before the picture grows rounds it afterwards.

    Args:
        image: (B, C, H, W) float32 in [0, 1].
        size: height and width of the whole result, pixels.
        window: y1 y2 x1 x2, end exclusive: the part of it that is wanted, at the price of that part.

    Returns:
        (B, C, window height, window width) uint8, interleaved, clamped.

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D, a side of `size` is not positive, or `window` reaches out of it.

    Reference: cv2.resize on uint8 with INTER_CUBIC, within 1 level; `to_uint8` of `resize_window` but for ties.
    """
    rows, cols = _axes(image, size, window, "bicubic")
    rounding = levels_and_a_half(image)
    return filter_axes(rounding, rows, cols, window, interleave=True, finish=Finish(_clamped, torch.uint8))


def _axes(image: Tensor, size: tuple[int, int], window: Window, mode: ResizeMode) -> tuple[Axis, Axis]:
    """The filters along the columns and along the rows, for what can be resized."""
    check_resize(image, size, mode)
    check_window(window, size)
    return Axis(mode, image.shape[2], size[0]), Axis(mode, image.shape[3], size[1])


def _clamped(levels: Tensor) -> Tensor:
    """In 0 to 255; still to be cut off after the point on a GPU."""
    return levels.to(torch.int16).clamp_(0, 255) if is_cpu(levels) else levels.clamp_(0.0, 255.0)


def check_resize(image: Tensor, size: tuple[int, int], mode: str) -> None:
    """Refuse what cannot be resized: ValueError, TypeError."""
    check_image(image)
    _check_size(size)
    if mode not in get_args(ResizeMode):
        raise ValueError(f"mode must be one of {get_args(ResizeMode)}, got {mode!r}")


def _check_size(size: tuple[int, int]) -> None:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be a positive (height, width), got {size}")

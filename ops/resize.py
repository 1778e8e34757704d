"""Resampling, OpenCV's way: pixel centres aligned, no antialias."""

from typing import Literal, get_args

from torch import Tensor
from torch.nn.functional import interpolate

from gpu_lipsync.ops.checks import check_bytes, check_image
from gpu_lipsync.ops.convert import interleaved, to_float, to_uint8
from gpu_lipsync.ops.matrices import Axis, filter_axes

ResizeMode = Literal["bilinear", "bicubic", "lanczos4"]


def resize(image: Tensor, size: tuple[int, int], *, mode: ResizeMode = "bilinear") -> Tensor:
    """Resample to `size` (height, width).

    Args:
        image: (B, C, H, W) float.
        size: height and width of the result, pixels.
        mode: bicubic (a = -0.75) and lanczos4 overshoot at edges; the caller clamps.

    Returns:
        (B, C, *size).

    Raises:
        ValueError: `image` is not 4-D, a side of `size` is not positive, or `mode` is unknown.

    Reference: cv2.resize on float32 with INTER_LINEAR, INTER_CUBIC, INTER_LANCZOS4; within 1/255.
    """
    check_resize(image, size, mode)
    if mode == "bilinear":
        return interpolate(image, size, mode="bilinear", align_corners=False)
    return resize_window(image, size, (0, size[0], 0, size[1]), mode=mode)


def resize_window(
    image: Tensor,
    size: tuple[int, int],
    window: tuple[int, int, int, int],
    *,
    mode: ResizeMode = "bicubic",
    interleave: bool = False,
) -> Tensor:
    """The part `window` (y1 y2 x1 x2, end exclusive) of `resize(image, size)`, at the price of that part alone.

    With `interleave` its colours lie side by side in memory.
    """
    check_resize(image, size, mode)
    y1, y2, x1, x2 = window
    if not (0 <= y1 < y2 <= size[0] and 0 <= x1 < x2 <= size[1]):
        raise ValueError(f"window must lie in {size}, got {window}")
    rows, cols = Axis(mode, image.shape[2], size[0]), Axis(mode, image.shape[3], size[1])
    return filter_axes(image, rows, cols, window, interleave=interleave)


def resize_bytes(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample 8-bit pictures to `size` (height, width), bicubic.

    On a CPU in integers, several times faster than in float32; other devices have no such operation and gain nothing
    by one.

    Args:
        image: (B, 3, H, W) uint8.
        size: height and width of the result, pixels.

    Returns:
        (B, 3, *size) uint8, interleaved.

    Raises:
        TypeError: `image` is not uint8.
        ValueError: `image` is not 4-D, or a side of `size` is not positive.

    Reference: cv2.resize on uint8 with INTER_CUBIC; within 1 level where a single pass does not leave 0..255.
    """
    if image.device.type != "cpu":
        window = (0, size[0], 0, size[1])
        return to_uint8(resize_window(to_float(image), size, window, mode="bicubic", interleave=True))
    check_bytes(image)
    _check_size(size)
    return interpolate(interleaved(image), size, mode="bicubic", align_corners=False)


def check_resize(image: Tensor, size: tuple[int, int], mode: str) -> None:
    """Refuse what cannot be resized: ValueError, TypeError."""
    check_image(image)
    _check_size(size)
    if mode not in get_args(ResizeMode):
        raise ValueError(f"mode must be one of {get_args(ResizeMode)}, got {mode!r}")


def _check_size(size: tuple[int, int]) -> None:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be a positive (height, width), got {size}")

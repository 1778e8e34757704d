"""The contract of every operation: (B, C, H, W) float32."""

from numbers import Integral

import torch
from torch import Tensor

from gpu_lipsync.ops.boxes import Window


def check_image(image: Tensor, channels: int | None = None, *, name: str = "image") -> None:
    """Refuse what no operation here can work on.

    Raises:
        TypeError: not a tensor, or not float32.
        ValueError: not 4-D, empty, or not of `channels` channels.
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(image).__name__}")
    if image.dtype != torch.float32:
        raise TypeError(f"{name} must be float32, got {image.dtype = }")
    if image.ndim != 4 or image.numel() == 0:
        raise ValueError(f"{name} must be (B, C, H, W) and not empty, got {tuple(image.shape) = }")
    if channels is not None and image.shape[1] != channels:
        raise ValueError(f"{name} must have {channels} channel(s), got {tuple(image.shape) = }")


def check_bytes(image: Tensor, *, name: str = "image") -> None:
    """Raise TypeError unless `image` is uint8, ValueError unless it is 4-D and not empty."""
    if not isinstance(image, Tensor) or image.dtype != torch.uint8:
        raise TypeError(f"{name} must be uint8, got {getattr(image, 'dtype', type(image).__name__)}")
    if image.ndim != 4 or image.numel() == 0:
        raise ValueError(f"{name} must be (B, C, H, W) and not empty, got {tuple(image.shape) = }")


def check_planes(planes: Tensor, *, name: str) -> None:
    """Raise TypeError unless `planes` is uint8, ValueError unless it is 4:2:0, (B, H * 3 // 2, W), with even sides."""
    if not isinstance(planes, Tensor) or planes.dtype != torch.uint8:
        raise TypeError(f"{name} must be uint8, got {getattr(planes, 'dtype', type(planes).__name__)}")
    if planes.ndim != 3 or planes.shape[1] % 3 or planes.shape[2] % 2 or planes.numel() == 0:
        raise ValueError(f"{name} must be (B, H * 3 // 2, W) of an even H and W, got {tuple(planes.shape) = }")


def check_same_device(first: Tensor, second: Tensor, *, names: str) -> None:
    """Raise ValueError unless both tensors are on one device."""
    if first.device != second.device:
        raise ValueError(f"{names} must be on one device, got {first.device} and {second.device}")


def check_range(value: float, low: float, high: float, *, name: str) -> None:
    """Raise ValueError unless low <= value <= high (NaN is in no range)."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, got {value}")


def check_window(window: Window, size: tuple[int, int]) -> None:
    """Raise ValueError unless `window` (y1 y2 x1 x2, end exclusive) is not empty and lies in `size` (height, width)."""
    y1, y2, x1, x2 = window
    if not (0 <= y1 < y2 <= size[0] and 0 <= x1 < x2 <= size[1]):
        raise ValueError(f"window must lie in {size}, got {window}")


def check_odd(value: int, high: int, *, name: str) -> None:
    """Raise ValueError unless `value` is an odd whole number from 1 to `high`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= value <= high or value % 2 == 0:
        raise ValueError(f"{name} must be odd, 1 to {high}, got {value}")

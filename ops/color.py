"""Between sRGB and CIE Lab (D65)."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.ops.checks import check_image, check_same_device
from gpu_lipsync.ops.constants import device_constant, upload

# sRGB primaries under D65, rows scaled so that white is (1, 1, 1); OpenCV's constants.
_TO_XYZ = (
    (0.412453 / 0.950456, 0.357580 / 0.950456, 0.180423 / 0.950456),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.088754, 0.119193 / 1.088754, 0.950227 / 1.088754),
)
_TO_RGB = (
    (3.240479 * 0.950456, -1.53715, -0.498535 * 1.088754),
    (-0.969256 * 0.950456, 1.875991, 0.041556 * 1.088754),
    (0.055648 * 0.950456, -0.204043, 1.057311 * 1.088754),
)
_DARK = 0.008856  # below, the cube root is replaced by a line
_CORNER = _DARK ** (1 / 3)
_FINE = 1 << 14  # steps of the tables: a tenth of an 8-bit level where a curve is steepest


def rgb_to_lab(image: Tensor) -> Tensor:
    """Convert (B, 3, H, W) float32 sRGB in [0, 1] to Lab: L in [0, 100], a and b about [-127, 127].

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not (B, 3, H, W).

    Reference: cv2.cvtColor(x, COLOR_RGB2Lab) on float32; within 1/255 of each channel's range.
    """
    check_image(image, 3)
    x, y, z = _roots(image, _TO_XYZ).unbind(1)
    return torch.stack([(116.0 * y).sub_(16.0), (x - y).mul_(500.0), (y - z).mul_(200.0)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert (B, 3, H, W) Lab, as `rgb_to_lab` makes it, to sRGB clamped to [0, 1].

    Raises:
        TypeError: `lab` is not float32.
        ValueError: `lab` is not (B, 3, H, W).

    Reference: cv2.cvtColor(x, COLOR_Lab2RGB) on float32; within 1/255.
    """
    check_image(lab, 3, name="lab")
    y = (lab[:, 0] + 16.0).mul_(1 / 116.0)
    return _from_roots(torch.stack([y.add(lab[:, 1], alpha=1 / 500.0), y, y.sub(lab[:, 2], alpha=1 / 200.0)], 1))


def lightness(image: Tensor) -> Tensor:
    """L of Lab alone, scaled to [0, 1]: (B, 1, H, W) of (B, 3, H, W) sRGB.

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not (B, 3, H, W).

    Reference: the first channel of `rgb_to_lab(image)`, divided by 100.
    """
    check_image(image, 3)
    return _roots(image, _TO_XYZ[1:2]).mul_(1.16).sub_(0.16)


def with_lightness(image: Tensor, light: Tensor) -> Tensor:
    """Give sRGB `image` another lightness and leave a and b of Lab as they are.

    In Lab all three cube roots move by as much as that of Y does, so there is no need to go there and back.

    Args:
        image: (B, 3, H, W) float32 in [0, 1].
        light: (B, 1, H, W) float32 in [0, 1], as `lightness` makes it.

    Returns:
        (B, 3, H, W), clamped to [0, 1].

    Raises:
        TypeError: `image` or `light` is not float32.
        ValueError: shapes or devices that do not fit each other.

    Reference: `rgb_to_lab`, its first channel replaced by 100 * `light`, then `lab_to_rgb`.
    """
    check_image(image, 3)
    check_image(light, 1, name="light")
    if light.shape[0] != image.shape[0] or light.shape[2:] != image.shape[2:]:
        raise ValueError(f"light must be as large as image, got {tuple(light.shape) = }, {tuple(image.shape) = }")
    check_same_device(image, light, names="image and light")
    roots = _roots(image, _TO_XYZ)
    return _from_roots(roots.add_(light.add(0.16).mul_(1 / 1.16).sub_(roots[:, 1:2])))


def grey(image: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of (B, 3, H, W) RGB.

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not (B, 3, H, W).

    Reference: cv2.cvtColor(x, COLOR_RGB2GRAY); within 1/255.
    """
    check_image(image, 3)
    return _weighted_sum(image, (0.299, 0.587, 0.114))[:, None]


def _roots(image: Tensor, rows: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Lab's cube root of some of X, Y and Z: (B, len(rows), H, W) of (B, 3, H, W) sRGB."""
    linear = _look_up(image, _gamma_table(image.device))
    return _look_up(_transformed(linear, rows), _root_table(image.device))


def _from_roots(roots: Tensor) -> Tensor:
    """sRGB, clamped to [0, 1], of Lab's cube roots of X, Y and Z, which are changed in place."""
    # The cube, and below the corner its tangent there.
    xyz = roots.clamp_min(_CORNER).pow_(3).add_(roots.clamp_max_(_CORNER).sub_(_CORNER), alpha=3 * _CORNER**2)
    return _look_up(_transformed(xyz, _TO_RGB), _display_table(roots.device))


def _transformed(image: Tensor, rows: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Weighted sums of the three channels, one for each row of weights: (B, len(rows), H, W)."""
    sums = _matrix(rows, image.device) @ image.flatten(2)
    return sums.view(len(image), len(rows), *image.shape[2:])


@device_constant
def _matrix(rows: tuple[tuple[float, float, float], ...], device: torch.device) -> Tensor:
    return upload(torch.tensor(rows, dtype=torch.float32), device)


def _weighted_sum(image: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Weighted sum of the three channels: (B, H, W)."""
    total = image[:, 0] * weights[0]
    return total.add_(image[:, 1], alpha=weights[1]).add_(image[:, 2], alpha=weights[2])


def _look_up(values: Tensor, table: Tensor) -> Tensor:
    """What `table`, made over [0, 1], says at the nearest step; several times faster than a power on a CPU."""
    # Clamped as integers, so that no value whatsoever, NaN included, points outside the table.
    step = (values * _FINE).add_(0.5).to(torch.int32).clamp_(0, _FINE)
    return table.index_select(0, step.flatten()).view_as(values)


def _table(curve: Callable[[NDArray[np.float64]], NDArray[np.float64]], device: torch.device) -> Tensor:
    return upload(torch.tensor(curve(np.arange(_FINE + 1) / _FINE), dtype=torch.float32), device)


@device_constant
def _gamma_table(device: torch.device) -> Tensor:
    """From sRGB to linear light."""
    return _table(lambda t: np.where(t > 0.04045, ((t + 0.055) / 1.055) ** 2.4, t / 12.92), device)


@device_constant
def _display_table(device: torch.device) -> Tensor:
    """From linear light to sRGB."""
    return _table(lambda t: np.where(t > 0.0031308, 1.055 * t ** (1 / 2.4) - 0.055, t * 12.92), device)


@device_constant
def _root_table(device: torch.device) -> Tensor:
    return _table(lambda t: np.where(t > _DARK, np.cbrt(t), t * 7.787 + 16 / 116), device)

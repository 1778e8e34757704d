"""Between sRGB and CIE Lab (D65)."""

import torch
from torch import Tensor

from gpu_lipsync.ops.checks import check_image

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


def rgb_to_lab(image: Tensor) -> Tensor:
    """Convert (B, 3, H, W) float sRGB in [0, 1] to Lab: L in [0, 100], a and b about [-127, 127].

    Raises:
        ValueError: `image` is not (B, 3, H, W).

    Reference: cv2.cvtColor(x, COLOR_RGB2Lab) on float32; within 1/255 of each channel's range.
    """
    check_image(image, 3)
    linear = torch.where(image > 0.04045, ((image + 0.055) * (1 / 1.055)).pow(2.4), image * (1 / 12.92))
    x, y, z = (_cube_root(_mix(linear, row)) for row in _TO_XYZ)
    return torch.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert (B, 3, H, W) Lab, as `rgb_to_lab` makes it, to sRGB clamped to [0, 1].

    Raises:
        ValueError: `lab` is not (B, 3, H, W).

    Reference: cv2.cvtColor(x, COLOR_Lab2RGB) on float32; within 1/255.
    """
    check_image(lab, 3, name="lab")
    y = (lab[:, 0] + 16.0) * (1 / 116.0)
    xyz = torch.stack([y + lab[:, 1] * (1 / 500.0), y, y - lab[:, 2] * (1 / 200.0)], 1)
    xyz = torch.where(xyz > _DARK ** (1 / 3), xyz.pow(3), (xyz - 16 / 116) * (1 / 7.787))
    linear = torch.stack([_mix(xyz, row) for row in _TO_RGB], 1).clamp_(0.0, 1.0)
    return torch.where(linear > 0.0031308, linear.pow(1 / 2.4) * 1.055 - 0.055, linear * 12.92)


def grey(image: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of (B, 3, H, W) RGB.

    Raises:
        ValueError: `image` is not (B, 3, H, W).

    Reference: cv2.cvtColor(x, COLOR_RGB2GRAY); within 1/255.
    """
    check_image(image, 3)
    return _mix(image, (0.299, 0.587, 0.114))[:, None]


def _mix(image: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Weighted sum of the three channels: (B, H, W)."""
    mixed = image[:, 0] * weights[0]
    return mixed.add_(image[:, 1], alpha=weights[1]).add_(image[:, 2], alpha=weights[2])


def _cube_root(t: Tensor) -> Tensor:
    return torch.where(t > _DARK, t.clamp_min(_DARK).pow(1 / 3), t * 7.787 + 16 / 116)

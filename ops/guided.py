"""Smoothing that follows the edges of another image."""

import torch
from torch import Tensor

from gpu_lipsync.ops.blur import box_blur
from gpu_lipsync.ops.checks import check_image, check_range, check_same_device


def guided_filter(guide: Tensor, image: Tensor, radius: int, *, eps: float) -> Tensor:
    """Make `image` locally a linear function of `guide`.

    Args:
        guide: (B, 1, H, W) float32 in [0, 1].
        image: (B or 1, 1, H, W) float32: what is filtered, a mask for instance.
        radius: of the square window, pixels; the window is 2 * radius + 1 wide.
        eps: variance of `guide` below which a place counts as flat.

    Returns:
        (B, 1, H, W). Not clamped: it can leave the range of `image` by a little.

    Raises:
        TypeError: `guide` or `image` is not float32.
        ValueError: shapes or devices that do not fit each other, `radius` under 1 or too large for the image, `eps`
            not positive.

    Reference: K. He, J. Sun, X. Tang, "Guided Image Filtering", algorithm 1, with cv2.blur as the mean; within 1/255.
    """
    check_image(guide, 1, name="guide")
    check_image(image, 1)
    check_same_device(guide, image, names="guide and image")
    if image.shape[2:] != guide.shape[2:] or image.shape[0] not in (1, guide.shape[0]):
        raise ValueError(f"image must be as large as guide, got {tuple(image.shape) = }, {tuple(guide.shape) = }")
    check_range(eps, 1e-12, 1e12, name="eps")
    check_range(radius, 1, 2000, name="radius")
    window = 2 * radius + 1
    image = image.expand_as(guide)
    means = box_blur(torch.cat([guide, image, guide * guide, guide * image], 1), window)
    mean_guide, mean_image, mean_square, mean_product = means.split(1, dim=1)
    variance = (mean_square - mean_guide * mean_guide).clamp_min_(0)  # rounding makes it less where all is even
    slope = (mean_product - mean_guide * mean_image) / (variance + eps)
    slope, offset = box_blur(torch.cat([slope, mean_image - slope * mean_guide], 1), window).split(1, dim=1)
    return slope * guide + offset

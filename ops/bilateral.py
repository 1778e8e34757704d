"""Edge-preserving smoothing."""

import math

import torch
from torch import Tensor

from gpu_lipsync.ops.blur import reflect_pad
from gpu_lipsync.ops.checks import check_image, check_odd, check_range


def bilateral_filter(image: Tensor, diameter: int, *, sigma_color: float, sigma_space: float) -> Tensor:
    """Average each pixel with those in a disc around it that are like it.

    A pair of pixels has one weight, so half the disc is visited; memory is a few times the image, whatever its
    diameter.

    Args:
        image: (B, C, H, W) float in [0, 1]; the channels' absolute differences add up to one distance.
        diameter: of the disc, pixels, odd.
        sigma_color: standard deviation over colour distance, in the unit of `image`.
        sigma_space: standard deviation over distance, pixels.

    Returns:
        Like `image`.

    Raises:
        ValueError: `image` is not 4-D or smaller than the disc, `diameter` is even, or a sigma is not positive.

    Reference: cv2.bilateralFilter(x, diameter, sigma_color * 255, sigma_space) on 8-bit RGB; within 1/255.
    """
    check_image(image)
    check_odd(diameter, 99, name="diameter")
    check_range(sigma_color, 1e-6, 1e6, name="sigma_color")
    check_range(sigma_space, 1e-6, 1e6, name="sigma_space")
    reach = diameter // 2
    height, width = image.shape[2:]
    padded = reflect_pad(reflect_pad(image, reach, 3), reach, 2)
    shift = torch.zeros_like(image)
    total = torch.ones_like(image[:, :1])
    for dy, dx, space in _half_disc(reach, sigma_space):
        # Every pixel whose partner at (dy, dx) matters: those of the image and those whose partner is in it.
        top, left, right = reach - dy, reach - max(dx, 0), reach + width - min(dx, 0)
        near = padded[:, :, top : reach + height, left:right]
        far = padded[:, :, top + dy : reach + height + dy, left + dx : right + dx]
        step = far - near
        weight = step.abs().sum(1, keepdim=True).square_().mul_(-0.5 / sigma_color**2).add_(math.log(space)).exp_()
        step.mul_(weight)
        # The same pair as its first pixel sees it, and as its second one does.
        first = (slice(None), slice(None), slice(dy, None), slice(max(dx, 0), max(dx, 0) + width))
        second = (slice(None), slice(None), slice(0, height), slice(max(-dx, 0), max(-dx, 0) + width))
        shift.add_(step[first]).sub_(step[second])
        total.add_(weight[first]).add_(weight[second])
    return shift.div_(total).add_(image)


def _half_disc(reach: int, sigma_space: float) -> list[tuple[int, int, float]]:
    """Offsets (dy, dx) of one pixel of each opposite pair in the disc, and their weight."""
    offsets = [
        (dy, dx)
        for dy in range(reach + 1)
        for dx in range(-reach, reach + 1)
        if (dy > 0 or dx > 0) and dy**2 + dx**2 <= reach**2
    ]
    return [(dy, dx, math.exp(-0.5 * (dy**2 + dx**2) / sigma_space**2)) for dy, dx in offsets]

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
        image: (B, C, H, W) float32 in [0, 1]; the channels' absolute differences add up to one distance.
        diameter: of the disc, pixels, odd, from 3 on.
        sigma_color: standard deviation over colour distance, in the unit of `image`.
        sigma_space: standard deviation over distance, pixels.

    Returns:
        Like `image`.

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D or smaller than the disc, `diameter` is even or 1, or a sigma is not positive.

    Reference: cv2.bilateralFilter(x, diameter, sigma_color * 255, sigma_space) on 8-bit RGB; within 1/255.
    """
    check_image(image)
    check_odd(diameter, 99, name="diameter")
    check_range(diameter, 3, 99, name="diameter")
    check_range(sigma_color, 1e-6, 1e6, name="sigma_color")
    check_range(sigma_space, 1e-6, 1e6, name="sigma_space")
    reach = diameter // 2
    height, width = image.shape[2:]
    padded = reflect_pad(reflect_pad(image, reach, 3), reach, 2)
    row = padded.shape[3]
    # Flat, a neighbour is a fixed number of pixels further on, and everything runs over contiguous memory. Pairs
    # that wrap round a row's end meet in the padding alone, which is cut off. Colours are scaled so that a pair's
    # weight is exp(-distance^2).
    scale = math.sqrt(0.5) / sigma_color
    pixels = padded.flatten(2).mul(scale)
    shift, total = torch.zeros_like(pixels), torch.ones_like(pixels[:, :1])
    steps, distances, spare = torch.empty_like(pixels), torch.empty_like(total), torch.empty_like(total)
    for dy, dx, exponent in _half_disc(reach, sigma_space):
        offset = dy * row + dx
        step = torch.sub(pixels[:, :, offset:], pixels[:, :, :-offset], out=steps[:, :, offset:])
        distance = _sum_of_magnitudes(step, distances[:, :, offset:], spare[:, :, offset:])
        weight = torch.rsub(distance.square_(), exponent).exp_()
        shift[:, :, :-offset].addcmul_(step, weight)
        shift[:, :, offset:].addcmul_(step, weight, value=-1.0)
        total[:, :, :-offset].add_(weight)
        total[:, :, offset:].add_(weight)
    filtered = shift.div_(total).add_(pixels).mul_(1 / scale).view_as(padded)
    return filtered[:, :, reach : reach + height, reach : reach + width].contiguous()


def _sum_of_magnitudes(values: Tensor, out: Tensor, spare: Tensor) -> Tensor:
    """Of the channels, into `out`: a CPU adds in half the time of a reduction over so few, and needs no third of it."""
    first, *others = values.split(1, dim=1)
    torch.abs(first, out=out)
    for other in others:
        out.add_(torch.abs(other, out=spare))
    return out


def _half_disc(reach: int, sigma_space: float) -> list[tuple[int, int, float]]:
    """Offsets (dy, dx) of one pixel of each opposite pair in the disc, and their weight's logarithm."""
    offsets = [
        (dy, dx)
        for dy in range(reach + 1)
        for dx in range(-reach, reach + 1)
        if (dy > 0 or dx > 0) and dy**2 + dx**2 <= reach**2
    ]
    return [(dy, dx, -0.5 * (dy**2 + dx**2) / sigma_space**2) for dy, dx in offsets]

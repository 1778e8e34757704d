"""Laplacian-pyramid blend: colour crosses the seam over a long way, detail over a short one."""

import math
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mask import SOFT_PEAK, Placement
from gpu_lipsync.blend_kernels.patch import mouth_patch
from gpu_lipsync.ops import Axis, axis_matrix, interleaved, pyramid_down, pyramid_up

SMALLEST = 6  # side of the coarsest level, pixels, at least


def multiscale(faces: Tensor, mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Blend each band of detail under a mask as smooth as the band is coarse.

    The pyramid is linear, so blending two pictures' bands is the same as masking the bands of their difference: one
    pyramid does for both. What the coarse masks would carry beyond the mask's support is faded out towards it.

    Reference: P. Burt, E. Adelson, "A Multiresolution Spline with Application to Image Mosaics", 1983.
    """
    difference, mask = mouth_patch(mouths, place, config).sub_(faces).contiguous(), place.mask
    bands: list[Tensor] = []
    for _ in range(n_octaves(place)):
        coarser = pyramid_down(difference)
        bands.append(difference.sub_(pyramid_up(coarser, _size(difference))).mul_(mask))
        difference, mask = coarser, pyramid_down(mask)
    total = difference * mask
    for band in reversed(bands):
        total = band.add_(pyramid_up(total, _size(band)))
    return interleaved(total.mul_(place.fade)).add_(faces).clamp_(0.0, 1.0)


@lru_cache(maxsize=32)
def n_octaves(place: Placement) -> int:
    """As many as there are, and as leave the mask opaque: beyond, the old mouth's light and colour show through."""
    most = max(1, int(math.log2(min(place.values.shape) / SMALLEST)))
    opaque = (n for n in range(most, 1, -1) if place.opacity(partial(_coarsest, n)) >= SOFT_PEAK)
    return next(opaque, 1)


def _coarsest(n_levels: int, size: int, at: int) -> NDArray[np.float32]:
    """(size,): the weights of the pixel `at` once its axis has been down the pyramid and up again, nothing added."""
    sizes = [size]
    for _ in range(n_levels):
        sizes.append(-(-sizes[-1] // 2))
    steps = list(pairwise(sizes))
    weights = np.eye(size, dtype=np.float32)[at]
    for fine, coarse in steps:
        weights = weights @ axis_matrix(Axis("pyramid_up", coarse, fine))
    for fine, coarse in reversed(steps):
        weights = weights @ axis_matrix(Axis("pyramid_down", fine, coarse))
    return weights


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[3]

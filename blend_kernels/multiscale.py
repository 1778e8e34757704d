"""Laplacian-pyramid blend: colour crosses the seam over a long way, detail over a short one."""

import math
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mask import SOFT_PEAK
from gpu_lipsync.blend_kernels.mouths import Mouths
from gpu_lipsync.blend_kernels.patch import mouth_patch
from gpu_lipsync.blend_kernels.placement import Placement, Stencil
from gpu_lipsync.blend_kernels.soften import TINY, softening
from gpu_lipsync.ops import SIZES_OF_A_BATCH, Axis, axis_matrix, interleaved, pyramid_down, pyramid_up, remembered

SMALLEST = 6  # side of the coarsest level, pixels, at least
FADE = 0.5


def multiscale(faces: Tensor, mouths: Mouths, place: Placement, config: BlendConfig) -> Tensor:
    """Blend each band of detail under a mask as smooth as the band is coarse.

    The pyramid is linear, so blending two pictures' bands is the same as masking the bands of their difference: one
    pyramid does for both. What the coarse masks carry beyond the mask's support is taken away in the end.

    Reference: P. Burt, E. Adelson, "A Multiresolution Spline with Application to Image Mosaics", 1983.
    """
    difference = mouth_patch(faces, mouths, place, config).sub_(faces).contiguous()
    masks, confine = _masks(place.stencil)
    bands: list[Tensor] = []
    for mask in masks[:-1]:
        coarser = pyramid_down(difference)
        bands.append(difference.sub_(pyramid_up(coarser, _size(difference))).mul_(mask))
        difference = coarser
    total = difference.mul_(masks[-1])
    for band in reversed(bands):
        total = band.add_(pyramid_up(total, _size(band)))
    return interleaved(total.mul_(confine)).add_(faces).clamp_(0.0, 1.0)


@remembered(SIZES_OF_A_BATCH)
def _masks(stencil: Stencil) -> tuple[list[Tensor], Tensor]:
    """The bands' masks from fine to coarse, and what the sum of the bands is multiplied by: (1, 1, height, width)."""
    smoothed = [stencil.mask]
    for _ in range(n_octaves(stencil)):
        smoothed.append(pyramid_down(smoothed[-1]))
    coarsest = back = smoothed[-1]
    for finer in reversed(smoothed[:-1]):
        back = pyramid_up(back, _size(finer))
    confine = softening(stencil, back, most_octaves(stencil), FADE)
    # Detail stays where the mask and its fade put it, but for a hard edge, which the bands in between would overshoot.
    masks = [(stencil.mask ** (1 + FADE) / confine.clamp_min(TINY)).clamp_max(1 / SOFT_PEAK)]
    while len(masks) < n_octaves(stencil):
        masks.append(pyramid_down(masks[-1]))
    return [*masks[: n_octaves(stencil)], coarsest], confine


@lru_cache(maxsize=SIZES_OF_A_BATCH)
def n_octaves(stencil: Stencil) -> int:
    """The most octaves that leave the mask opaque in its middle, or 0: with more the old mouth would show through."""
    opaque = (n for n in range(most_octaves(stencil), 0, -1) if stencil.opacity(partial(_coarsest, n)) >= SOFT_PEAK)
    return next(opaque, 0)


def most_octaves(stencil: Stencil) -> int:
    """How often a mask can be halved before its shorter side is below SMALLEST pixels; once at least."""
    return max(1, int(math.log2(min(stencil.values.shape) / SMALLEST)))


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

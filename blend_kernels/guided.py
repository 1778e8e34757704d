"""The ellipse, its transition moved to where the source picture has edges of its own."""

import math
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mask import SOFT_PEAK
from gpu_lipsync.blend_kernels.mouths import Mouths
from gpu_lipsync.blend_kernels.patch import mouth_patch
from gpu_lipsync.blend_kernels.placement import Placement, Stencil
from gpu_lipsync.blend_kernels.soften import softening
from gpu_lipsync.ops import SIZES_OF_A_BATCH, Axis, axis_matrix, box_blur, grey, guided_filter, interleaved, remembered

RADIUS = 20
EPS = 0.01
FADE = 2 / 3  # steeper than multiscale's: a wide even mixture of two pictures has less detail than either


def guided(faces: Tensor, mouths: Mouths, place: Placement, config: BlendConfig) -> Tensor:
    """Refine the mask by a guided filter with the source as guide, then blend.

    The filter spreads the mask beyond its support. It is weakened again towards that border, so that no step appears
    there. On small faces and masks the radius shrinks: a wide window would level the mask, and the old mouth show
    through.
    """
    refined = guided_filter(grey(faces), place.stencil.mask, radius(place.stencil), eps=EPS)
    patch = mouth_patch(faces, mouths, place, config)
    weight = interleaved(refined.mul_(_confine(place.stencil)).clamp_(0.0, 1.0).expand(-1, 3, -1, -1))
    return torch.lerp(faces, patch, weight, out=patch)


@remembered(SIZES_OF_A_BATCH)
def _confine(stencil: Stencil) -> Tensor:
    """What the refined mask is multiplied by, (1, 1, height, width); where the guide is flat, it is averaged twice."""
    window = 2 * radius(stencil) + 1
    smoothed = box_blur(box_blur(stencil.mask, window), window)
    return softening(stencil, smoothed, math.log2(window / 2), FADE)  # octaves: the window's own, no more


@lru_cache(maxsize=SIZES_OF_A_BATCH)
def radius(stencil: Stencil) -> int:
    """The filter's, in pixels: RADIUS, or the largest that leaves the mask opaque where the source has no edges."""
    most = min(RADIUS, max(1, min(stencil.values.shape) // 10))
    opaque = (r for r in range(most, 1, -1) if stencil.opacity(partial(_twice_the_mean, 2 * r + 1)) >= SOFT_PEAK)
    return next(opaque, 1)


def _twice_the_mean(window: int, size: int, at: int) -> NDArray[np.float32]:
    """(size,): the weights of the pixel `at` along an axis of a flat guide, which the filter averages twice."""
    mean = axis_matrix(Axis("box", size, size, window))
    return mean[at] @ mean

"""The ellipse, its transition moved to where the source picture has edges of its own."""

from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mask import SOFT_PEAK, Placement
from gpu_lipsync.blend_kernels.patch import mouth_patch
from gpu_lipsync.ops import Axis, axis_matrix, grey, guided_filter, interleaved

RADIUS = 20
EPS = 0.01


def guided(faces: Tensor, mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Refine the mask by a guided filter with the source as guide, then blend.

    The filter spreads the mask beyond its support. It is faded out again towards that border (`1 - (1 - mask)^2`
    rises twice as steeply as the mask), so that no step appears there. On small faces and masks the radius shrinks:
    a wide window would level the mask, and the old mouth show through.
    """
    refined = guided_filter(grey(faces), place.mask, radius(place), eps=EPS).clamp_(0.0, 1.0)
    patch = mouth_patch(mouths, place, config)
    weight = interleaved(refined.mul_(place.fade).expand(-1, 3, -1, -1))
    return torch.lerp(faces, patch, weight, out=patch)


@lru_cache(maxsize=32)
def radius(place: Placement) -> int:
    """The filter's, in pixels: RADIUS, or the largest that leaves the mask opaque where the source has no edges."""
    most = min(RADIUS, max(1, min(place.values.shape) // 10))
    opaque = (r for r in range(most, 1, -1) if place.opacity(partial(_twice_the_mean, 2 * r + 1)) >= SOFT_PEAK)
    return next(opaque, 1)


def _twice_the_mean(window: int, size: int, at: int) -> NDArray[np.float32]:
    """(size,): the weights of the pixel `at` along an axis of a flat guide, which the filter averages twice."""
    mean = axis_matrix(Axis("box", size, size, window))
    return mean[at] @ mean

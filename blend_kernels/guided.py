"""The ellipse, its transition moved to where the source picture has edges of its own."""

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mask import Placement
from gpu_lipsync.blend_kernels.patch import mouth_patch
from gpu_lipsync.ops import grey, guided_filter, interleaved

RADIUS = 20
EPS = 0.01


def guided(faces: Tensor, mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Refine the mask by a guided filter with the source as guide, then blend.

    The filter spreads the mask beyond its support. It is faded out again towards that border (`1 - (1 - mask)^2`
    rises twice as steeply as the mask), so that no step appears there. On small faces the radius shrinks with the
    mask, which a wide window would level.
    """
    radius = min(RADIUS, max(1, min(place.mask.shape[2:]) // 10))
    refined = guided_filter(grey(faces), place.mask, radius, eps=EPS).clamp_(0.0, 1.0)
    patch = mouth_patch(mouths, place, config)
    weight = interleaved(refined.mul_(place.fade).expand(-1, 3, -1, -1))
    return torch.lerp(faces, patch, weight, out=patch)

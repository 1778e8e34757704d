"""Laplacian-pyramid blend: colour crosses the seam over a long way, detail over a short one."""

import math

from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mask import Placement
from gpu_lipsync.blend_kernels.patch import mouth_patch
from gpu_lipsync.ops import interleaved, pyramid_down, pyramid_up

SMALLEST = 6  # side of the coarsest level, pixels, at least


def multiscale(faces: Tensor, mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Blend each band of detail under a mask as smooth as the band is coarse.

    The pyramid is linear, so blending two pictures' bands is the same as masking the bands of their difference: one
    pyramid does for both. What the coarse masks would carry beyond the mask's support is faded out towards it.

    Reference: P. Burt, E. Adelson, "A Multiresolution Spline with Application to Image Mosaics", 1983.
    """
    difference, mask = mouth_patch(mouths, place, config).sub_(faces).contiguous(), place.mask
    n_levels = max(1, int(math.log2(min(mask.shape[2:]) / SMALLEST)))
    bands: list[Tensor] = []
    for _ in range(n_levels):
        coarser = pyramid_down(difference)
        bands.append(difference.sub_(pyramid_up(coarser, _size(difference))).mul_(mask))
        difference, mask = coarser, pyramid_down(mask)
    total = difference * mask
    for band in reversed(bands):
        total = band.add_(pyramid_up(total, _size(band)))
    return interleaved(total.mul_(place.fade)).add_(faces).clamp_(0.0, 1.0)


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[3]

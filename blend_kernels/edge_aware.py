"""The ellipse, its transition smoothed where that crosses no edge."""

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.ellipse import ellipse
from gpu_lipsync.blend_kernels.placement import Placement
from gpu_lipsync.ops import bilateral_filter, interleaved

DIAMETER = 9
REACH = DIAMETER // 2
SIGMA_COLOR = 75 / 255
SIGMA_SPACE = 75.0
BAND = (0.05, 0.95)  # mask values between which both pictures are visible


def edge_aware(faces: Tensor, mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Blend under the ellipse, then a bilateral filter in the transition."""
    blended = ellipse(faces, mouths, place, config)
    smooth = bilateral_filter(blended.contiguous(), DIAMETER, sigma_color=SIGMA_COLOR, sigma_space=SIGMA_SPACE)
    # 0.0 or 1.0: `lerp` by it is a choice, and on a CPU far faster than `where` by a boolean.
    weight = place.stencil.weight
    band = weight.clone().gt_(BAND[0]).mul_(weight.clone().lt_(BAND[1]))
    return torch.lerp(blended, interleaved(smooth), band)

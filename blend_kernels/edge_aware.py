"""The ellipse, its transition smoothed where that crosses no edge."""

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.ellipse import ellipse
from gpu_lipsync.blend_kernels.mouths import Mouths
from gpu_lipsync.blend_kernels.placement import Placement
from gpu_lipsync.ops import bilateral_filter, interleaved

DIAMETER = 9
REACH = DIAMETER // 2
SIGMA_COLOR = 75 / 255
SIGMA_SPACE = 75.0
BAND = (0.05, 0.95)  # mask values between which both pictures are visible; in their middle the filter counts fully


def edge_aware(faces: Tensor, mouths: Mouths, place: Placement, config: BlendConfig) -> Tensor:
    """Blend under the ellipse, then a bilateral filter in the transition, the more the more of both pictures it shows.

    Where it began at once, a film's grain ended at a line: a disc round the mouth.
    """
    blended = ellipse(faces, mouths, place, config)
    smooth = bilateral_filter(blended.contiguous(), DIAMETER, sigma_color=SIGMA_COLOR, sigma_space=SIGMA_SPACE)
    low, high = BAND
    weight = place.stencil.weight
    share = torch.minimum(weight - low, high - weight).mul_(2 / (high - low)).clamp_(0.0, 1.0)
    return torch.lerp(blended, interleaved(smooth), share)

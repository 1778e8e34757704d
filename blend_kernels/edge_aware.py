"""The ellipse, its transition smoothed where that crosses no edge."""

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.ellipse import ellipse
from gpu_lipsync.blend_kernels.mask import Placement
from gpu_lipsync.ops import bilateral_filter

DIAMETER = 9
REACH = DIAMETER // 2
SIGMA_COLOR = 75 / 255
SIGMA_SPACE = 75.0
BAND = (0.05, 0.95)  # mask values between which both pictures are visible


def edge_aware(faces: Tensor, mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Blend under the ellipse, then a bilateral filter in the transition."""
    blended = ellipse(faces, mouths, place, config)
    smooth = bilateral_filter(blended, DIAMETER, sigma_color=SIGMA_COLOR, sigma_space=SIGMA_SPACE)
    return torch.where((place.mask > BAND[0]) & (place.mask < BAND[1]), smooth, blended)

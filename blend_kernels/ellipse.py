"""Alpha blend under the feathered ellipse."""

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mouths import Mouths
from gpu_lipsync.blend_kernels.patch import mouth_patch
from gpu_lipsync.blend_kernels.placement import Placement


def ellipse(faces: Tensor, mouths: Mouths, place: Placement, config: BlendConfig) -> Tensor:
    """Weigh: mask * patch + (1 - mask) * face."""
    patch = mouth_patch(faces, mouths, place, config)
    return torch.lerp(faces, patch, place.stencil.weight, out=patch)

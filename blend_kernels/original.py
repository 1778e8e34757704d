"""The naive paste: the whole generated face, box and all."""

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mask import Placement
from gpu_lipsync.blend_kernels.patch import mouth_patch


def original(faces: Tensor, mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Replace the crop by the patch. No mask: this mode shows what the others are for."""
    return torch.where(place.mask > 0, mouth_patch(mouths, place, config), faces)

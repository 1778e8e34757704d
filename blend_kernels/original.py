"""The naive paste: the whole generated face, box and all."""

from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.patch import mouth_patch
from gpu_lipsync.blend_kernels.placement import Placement
from gpu_lipsync.ops import resize_to_bytes, to_uint8


def original(faces: Tensor, mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Replace the crop by the patch. No mask: this mode shows what the others are for."""
    return mouth_patch(mouths, place, config)


def original_bytes(mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """What `original` makes of mouths (B, 3, 96, 96) in [0, 1], in uint8, in fewer passes: nothing is mixed with it."""
    if config.sharpen_mouth:
        return to_uint8(mouth_patch(mouths, place, config))
    return resize_to_bytes(mouths, (place.height, place.width), place.window)

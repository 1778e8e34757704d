"""The naive paste: the whole generated face, box and all."""

from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mouths import Mouths
from gpu_lipsync.blend_kernels.patch import plain_patch
from gpu_lipsync.blend_kernels.placement import Placement
from gpu_lipsync.ops import resize_to_bytes, to_uint8


def original(faces: Tensor, mouths: Mouths, place: Placement, config: BlendConfig) -> Tensor:
    """Replace the crop by the patch. No mask, no detail: this mode shows what the others are for."""
    return plain_patch(mouths.made, place, config)


def original_bytes(mouths: Mouths, place: Placement, config: BlendConfig) -> Tensor:
    """What `original` makes, in uint8, in fewer passes: nothing is mixed with it."""
    if config.sharpen_mouth:
        return to_uint8(plain_patch(mouths.made, place, config))
    return resize_to_bytes(mouths.made, (place.height, place.width), place.window)

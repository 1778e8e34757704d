"""The naive paste: the whole generated face, box and all."""

from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mask import Placement
from gpu_lipsync.blend_kernels.patch import mouth_patch
from gpu_lipsync.ops import resize_window, to_bytes, to_uint8


def original(faces: Tensor, mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Replace the crop by the patch. No mask: this mode shows what the others are for."""
    return mouth_patch(mouths, place, config)


def original_bytes(mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """What `original` makes of mouths (B, 3, 96, 96) in [0, 1], in uint8.

    Nothing is mixed with the patch: scaled before it is enlarged, it is rounded and clamped once, in few passes.
    """
    if config.sharpen_mouth:
        return to_uint8(mouth_patch(mouths, place, config))
    size = (place.height, place.width)
    levels = resize_window(mouths * 255.0, size, place.window, mode="bicubic", interleave=True)
    return to_bytes(levels.round_().clamp_(0.0, 255.0))

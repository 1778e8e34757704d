"""How a generated mouth is put into a face: the mask and the blend modes."""

from gpu_lipsync.blend_kernels.blend import BLENDS, blend_mouths, blend_window, place_blend
from gpu_lipsync.blend_kernels.config import BlendConfig, BlendMethod
from gpu_lipsync.blend_kernels.mask import elliptical_mask

__all__ = [
    "BLENDS",
    "BlendConfig",
    "BlendMethod",
    "blend_mouths",
    "blend_window",
    "elliptical_mask",
    "place_blend",
]

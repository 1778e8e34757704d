"""How a generated mouth is put into a face: the mask and the blend modes.

The names are loaded on first use: the command line needs `BlendConfig` long before it needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpu_lipsync.blend_kernels.config import BlendConfig, BlendMethod

if TYPE_CHECKING:
    from gpu_lipsync.blend_kernels.blend import (
        BLENDS,
        blend_bytes,
        blend_mouths,
        finite_mouths,
        keeps_detail,
        part_seen,
        place_blend,
        usable_mouths,
    )
    from gpu_lipsync.blend_kernels.mask import elliptical_mask
    from gpu_lipsync.blend_kernels.motion import Motion
    from gpu_lipsync.blend_kernels.mouths import Mouths
    from gpu_lipsync.blend_kernels.placement import Placement

__all__ = [
    "BLENDS",
    "BlendConfig",
    "BlendMethod",
    "Motion",
    "Mouths",
    "Placement",
    "blend_bytes",
    "blend_mouths",
    "elliptical_mask",
    "finite_mouths",
    "keeps_detail",
    "part_seen",
    "place_blend",
    "usable_mouths",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = {"elliptical_mask": "mask", "Motion": "motion"}.get(name, "blend")
    return getattr(import_module(f"{__name__}.{home}"), name)

"""The enhancement chain: a 96 x 96 mouth made to look like it was filmed at the crop's size."""

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mouths import Mouths
from gpu_lipsync.blend_kernels.patch import with_detail
from gpu_lipsync.blend_kernels.placement import Placement
from gpu_lipsync.ops import (
    bilateral_filter,
    canny,
    clahe,
    gaussian_blur,
    grey,
    interleaved,
    lightness,
    resize,
    resize_sharpened,
    with_lightness,
)

WORK_SIZE = (192, 192)
EDGE_LIGHT = 30 / 255
DEFAULT_SHARPEN = 0.7
TILES = (4, 4)
LOCAL = 0.12  # of the crop's shorter side: contrast over more than that is not local


def hd(faces: Tensor, mouths: Mouths, place: Placement, config: BlendConfig) -> Tensor:
    """Enhance the original patch in seven steps, then blend under the ellipse.

    The predecessor's but for one thing: of what CLAHE does to the lightness only the local part stays. The face around
    is not equalised, and a brighter mouth in it, by 10 to 30 levels in a dim picture, was an oval that anyone sees.

    Reference: the same steps in OpenCV, in float32 or each rounded to 8 bits: within 2 levels in the mean and 33 dB. On
    crops below 80 px within 4 levels and 30 dB where the sharpening is 3 or more, in 8 bits 1 or more: CLAHE of so
    small tiles jumps with single levels.
    """
    amount = config.sharpen_amount if config.sharpen_mouth else DEFAULT_SHARPEN
    # Steps 4 and 5: the crop's size, sharpened broadly, then finely.
    passes = ((0.5, 1.0, 7), (amount, 0.5, 3))
    patch = resize_sharpened(_cleaned(mouths.made), (place.height, place.width), passes).clamp_(0.0, 1.0)
    enhanced = with_detail(interleaved(_equalised(patch, place)), faces, mouths, place)
    # 0.85 of the enhanced patch and 0.15 of the source, under the mask.
    return torch.lerp(faces, enhanced, place.stencil.weight * 0.85, out=enhanced)


def _cleaned(mouths: Tensor) -> Tensor:
    """Steps 1 to 3: twice the size, edges lightened, then smooth between them. (B, 3, 192, 192) in [0, 1]."""
    patch = resize(mouths, WORK_SIZE, mode="bicubic").clamp_(0.0, 1.0)
    edges = gaussian_blur(canny(grey(patch), 30, 100), 3, sigma=1.0)
    patch = patch.add_(edges, alpha=EDGE_LIGHT).clamp_(0.0, 1.0)
    return bilateral_filter(patch, 5, sigma_color=50 / 255, sigma_space=50.0)


def _equalised(patch: Tensor, place: Placement) -> Tensor:
    """Step 6: local contrast. Its tiles cover the crop; the rest is done under each mask, which sees no other's."""
    light = lightness(patch)
    window = (slice(None), slice(None), slice(place.top, place.bottom), slice(place.left, place.right))
    added = place.cut(interleaved(clahe(light, 2.0, TILES, window=place.window).sub_(light[window])))
    shown, colours = (place.cut(interleaved(image[window])) for image in (light, patch))
    reach = min(round(LOCAL * min(place.height, place.width)), min(place.size) - 1)
    local = added - gaussian_blur(added.contiguous(), 2 * reach + 1) if reach else torch.zeros_like(added)
    return with_lightness(colours, local.add_(shown).clamp_(0.0, 1.0))

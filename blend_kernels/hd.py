"""The enhancement chain: a 96 x 96 mouth made to look like it was filmed at the crop's size."""

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.mask import Placement
from gpu_lipsync.ops import (
    bilateral_filter,
    canny,
    clahe,
    gaussian_blur,
    grey,
    lab_to_rgb,
    resize,
    rgb_to_lab,
    unsharp_mask,
)

WORK_SIZE = (192, 192)
EDGE_LIGHT = 30 / 255
DEFAULT_SHARPEN = 0.7
TILES = (4, 4)


def hd(faces: Tensor, mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Enhance the original patch in seven steps, then blend under the ellipse."""
    amount = config.sharpen_amount if config.sharpen_mouth else DEFAULT_SHARPEN
    patch = _sharpened(_cleaned(mouths), (place.height, place.width), amount)
    enhanced = _equalised(patch, place)
    # 0.85 of the enhanced patch and 0.15 of the source, under the mask.
    return torch.lerp(faces, enhanced, place.mask * 0.85, out=enhanced)


def _cleaned(mouths: Tensor) -> Tensor:
    """Steps 1 to 3: twice the size, edges lightened, then smooth between them. (B, 3, 192, 192) in [0, 1]."""
    patch = resize(mouths, WORK_SIZE, mode="bicubic").clamp_(0.0, 1.0)
    edges = gaussian_blur(canny(grey(patch), 30, 100), 3, sigma=1.0)
    patch = patch.add_(edges, alpha=EDGE_LIGHT).clamp_(0.0, 1.0)
    return bilateral_filter(patch, 5, sigma_color=50 / 255, sigma_space=50.0)


def _sharpened(patch: Tensor, size: tuple[int, int], amount: float) -> Tensor:
    """Steps 4 and 5: the crop's size, sharpened broadly, then finely."""
    patch = resize(patch, size, mode="lanczos4").clamp_(0.0, 1.0)
    patch = unsharp_mask(patch, 0.5, sigma=1.0)
    return unsharp_mask(patch, amount, sigma=0.5, kernel_size=3)


def _equalised(patch: Tensor, place: Placement) -> Tensor:
    """Step 6: local contrast. Its tiles cover the crop; only the window is turned back into RGB."""
    lab = rgb_to_lab(patch)
    lightness = clahe(lab[:, :1] * 0.01, 2.0, TILES)
    window = (..., slice(place.top, place.bottom), slice(place.left, place.right))
    lab = lab[window].clone()
    lab[:, :1] = lightness[window] * 100.0
    return lab_to_rgb(lab)

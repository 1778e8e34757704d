"""From the generator's 96 x 96 mouth to the crop's size."""

from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.placement import Placement
from gpu_lipsync.ops import interleaved, resize_window, unsharp_mask
from gpu_lipsync.ops.boxes import Window

SHARPEN_SIGMA = 2.0
SHARPEN_REACH = 6  # pixels to each side that the sharpening looks at: three sigmas


def mouth_patch(mouths: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """Resize the mouths to the crop, sharpen them if asked, and keep what lies under the mask.

    Args:
        mouths: (B, 3, 96, 96) in [0, 1].
        place: the crop's size and where in it the masks are.
        config: its `sharpen_mouth` and `sharpen_amount` count.

    Returns:
        (B, 3, rows, columns) in [0, 1], interleaved, as many as the mask has.
    """
    size = (place.height, place.width)
    if not config.sharpen_mouth:
        return place.cut(resize_window(mouths, size, place.window, mode="bicubic", interleave=True).clamp_(0.0, 1.0))
    top, bottom = max(0, place.top - SHARPEN_REACH), min(place.height, place.bottom + SHARPEN_REACH)
    left, right = max(0, place.left - SHARPEN_REACH), min(place.width, place.right + SHARPEN_REACH)
    patch = resize_window(mouths, size, Window(top, bottom, left, right), mode="bicubic").clamp_(0.0, 1.0)
    patch = unsharp_mask(patch, config.sharpen_amount, sigma=SHARPEN_SIGMA)
    patch = patch[:, :, place.top - top : place.bottom - top, place.left - left : place.right - left]
    return place.cut(interleaved(patch))

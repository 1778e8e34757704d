"""From the generator's 96 x 96 mouth to the crop's size."""

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.motion import moved
from gpu_lipsync.blend_kernels.mouths import Mouths
from gpu_lipsync.blend_kernels.placement import Placement
from gpu_lipsync.ops import interleaved, resize_window, unsharp_mask
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.ops.resize import ResizeMode

SHARPEN_SIGMA = 2.0
SHARPEN_REACH = 6  # pixels to each side that the sharpening looks at: three sigmas


def mouth_patch(faces: Tensor, mouths: Mouths, place: Placement, config: BlendConfig) -> Tensor:
    """Resize the mouths to the crop, sharpen them if asked, lay the detail that is kept over them.

    Args:
        faces: (B, 3, rows, columns) in [0, 1], interleaved: what lies under the mask.
        mouths: of the generator.
        place: the crop's size and where in it the masks are.
        config: its `sharpen_mouth` and `sharpen_amount` count.

    Returns:
        (B, 3, rows, columns) in [0, 1], interleaved: what is to be seen under the mask. A new tensor.
    """
    if config.sharpen_mouth or mouths.kept is None or mouths.change is None:
        return with_detail(plain_patch(mouths.made, place, config), faces, mouths, place)
    # As `with_detail` does it, in one picture less: what takes the place of the face, and what is added to it, are one.
    beside_the_face = torch.addcmul(mouths.made, mouths.made, mouths.kept, value=-1).add_(mouths.change)
    patch = _resized(beside_the_face, place)
    return patch.addcmul_(_as_moved(faces, mouths, place), _resized(mouths.kept, place)).clamp_(0.0, 1.0)


def plain_patch(made: Tensor, place: Placement, config: BlendConfig) -> Tensor:
    """The same of the mouths alone, (B, 3, 96, 96) in [0, 1]."""
    if not config.sharpen_mouth:
        return _resized(made, place).clamp_(0.0, 1.0)
    size = (place.height, place.width)
    top, bottom = max(0, place.top - SHARPEN_REACH), min(place.height, place.bottom + SHARPEN_REACH)
    left, right = max(0, place.left - SHARPEN_REACH), min(place.width, place.right + SHARPEN_REACH)
    patch = resize_window(made, size, Window(top, bottom, left, right), mode="bicubic").clamp_(0.0, 1.0)
    patch = unsharp_mask(patch, config.sharpen_amount, sigma=SHARPEN_SIGMA)
    patch = patch[:, :, place.top - top : place.bottom - top, place.left - left : place.right - left]
    return place.cut(interleaved(patch))


def with_detail(patch: Tensor, faces: Tensor, mouths: Mouths, place: Placement) -> Tensor:
    """Lay the faces' detail over patches, which are new ones, as far as it is kept.

    Where all of it is, the face is seen, changed by what the mouths differ from it but for detail.
    """
    if mouths.kept is None or mouths.change is None:
        return patch
    patch = patch.lerp_(_as_moved(faces, mouths, place), _resized(mouths.kept, place))
    return patch.add_(_resized(mouths.change, place)).clamp_(0.0, 1.0)


def _as_moved(faces: Tensor, mouths: Mouths, place: Placement) -> Tensor:
    """The faces, each detail where the mouths have it."""
    if mouths.shift is None:
        return faces
    shift = _resized(mouths.shift, place, mode="bilinear")  # nothing beyond the shifts of two lips where they meet
    return interleaved(moved(faces, shift, whole=(place.height, place.width)))


def _resized(pictures: Tensor, place: Placement, *, mode: ResizeMode = "bicubic") -> Tensor:
    """What lies under the mask of pictures (B, C, 96, 96) at the crop's size, interleaved."""
    size = (place.height, place.width)
    return place.cut(resize_window(pictures, size, place.window, mode=mode, interleave=True))

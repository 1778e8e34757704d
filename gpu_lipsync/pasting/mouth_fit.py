"""How the mask of a box is fitted to the mouth in it: beside its usual place, and wider over a wide mouth.

The mask's place is set for all faces: the middle of the box, 0.65 down. On a head turned aside the mouth is up to a
fifth of the box's width from there, and in most it is lower: lips meet at 0.65 to 0.77 (median 0.71 of 25 clips). A
small mask covered half of a turned mouth, and of others the moustache and the nose instead of the lower lip. So the
mask goes along, and what lies under it of the generated face with it. Where its feather leaves no room for that, or of
a small ellipse nothing opaque, it is narrower (`feather_over`).

Half a mouth's width is 0.13 to 0.2 of the box's, in a grin 0.23 (16 clips and pictures): a small mask left the corners
of a grin, teeth and all, beside the new mouth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels import BlendConfig, Placement, place_blend
from gpu_lipsync.models.wav2lip import FACE_SIZE

Fit = tuple[int, int, int]  # right, down, and half the mouth's width, in pixels of the generated face
NO_FIT: Fit = (0, 0, 0)


def fitted_masks(boxes: Tensor, fits: Tensor | None, config: BlendConfig, device: torch.device) -> list[Placement]:
    """Where blending works in each box: where and how wide `fits` say, as far as there is room.

    Args:
        boxes: (B, 4) int64 x1 y1 x2 y2 on the host.
        fits: (B, 3) int64 on the host, as `Heads` has them; by default masks are as the config states.
        config: mode and mask.
        device: where the masks are.

    Raises:
        TypeError: `fits` is not int64.
        ValueError: `fits` is not one for each box, or not on the host.
    """
    wanted = [NO_FIT] * len(boxes) if fits is None else _checked(fits, len(boxes)).tolist()
    fitted = []
    for (x1, y1, x2, y2), (right, down, half) in zip(boxes.tolist(), wanted, strict=True):
        height, width = y2 - y1, x2 - x1
        shift = _in_crop(right, width), _in_crop(down, height)
        place = place_blend(height, width, config, device, half_mouth=_in_crop(half, width), shift=shift)
        fitted.append(place.moved(*shift))
    return fitted


def _checked(fits: Tensor, n_boxes: int) -> Tensor:
    if not isinstance(fits, Tensor) or fits.dtype != torch.int64:
        raise TypeError(f"fits must be an int64 tensor, got {getattr(fits, 'dtype', type(fits).__name__)}")
    if fits.device.type != "cpu" or fits.shape != (n_boxes, 3):
        raise ValueError(f"fits must be ({n_boxes}, 3) on the host, got {tuple(fits.shape)} on {fits.device}")
    return fits


def _in_crop(pixels: int, length: int) -> int:
    """Pixels of the generated face as those of a crop's side of that length."""
    return round(pixels * length / FACE_SIZE)

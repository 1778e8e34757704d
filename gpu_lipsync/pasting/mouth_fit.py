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

import math

import numpy as np
import torch
from torch import Tensor

from gpu_lipsync.blend_kernels import BlendConfig, Placement, place_blend
from gpu_lipsync.blend_kernels.mask import CENTRE_DOWN
from gpu_lipsync.models.wav2lip import FACE_SIZE
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.tilted import rotated

AT_MOST = 0.25  # of the box's width: a mouth seen farther aside is a mistake, and half of one that is wider
AT_MOST_DOWN = 0.15  # of the box's height, and up: likewise
# Of the box's sides: how near the frame's edge, at which the box ends, a mouth is no more to be seen. In 7 clips they
# are 0.2 from below and 0.3 from the sides at least. Once it was gone, it has to come back by a little more.
# From above the face goes first that it is pasted in, and a mask can follow it no further.
EDGE_BELOW, EDGE_ASIDE, EDGE_ABOVE, EDGE_BACK = 0.13, 0.18, 0.27, 0.03
# Of the box's height: how far below where lips meet the mask belongs. A mouth opens downwards, and above it is the
# moustache, of which a mask of 0.4 replaced a half (mean of 15 faces; two fifths now), and covered less of the lips.
LIPS_BELOW = 0.02
HOLD_PX = 0.75  # a fit changes when the one wanted is farther than this from it

Fit = tuple[int, int, int]  # right, down, and half the mouth's width, in pixels of the generated face
NO_FIT: Fit = (0, 0, 0)


class MouthFits:
    """Fits for the frames of a clip, in order."""

    def __init__(self) -> None:
        self._segment = 0
        self._fit = NO_FIT

    def place(self, box: Rect, mouth: tuple[float, float], half_mouth: float, segment: int) -> Fit:
        """How far right of the box's middle, and below where it would be, the mask belongs, and over how wide a mouth.

        Args:
            box: x1 y1 x2 y2, as it is cut out.
            mouth: its middle, x y on the same scale.
            half_mouth: half its width, likewise; 0 where that is not known.
            segment: number of the scene's part that the face is followed in; what was before it does not count.
        """
        aside = (mouth[0] - (box[0] + box[2]) / 2) / (box[2] - box[0])
        below = (mouth[1] - box[1]) / (box[3] - box[1]) + LIPS_BELOW - CENTRE_DOWN
        wide = half_mouth / (box[2] - box[0])
        limited = (aside, AT_MOST), (below, AT_MOST_DOWN), (wide, AT_MOST)
        wanted = [min(max(value, -most), most) * FACE_SIZE for value, most in limited]
        anew, self._segment = segment != self._segment, segment
        right, down, half = (
            round(new) if anew or abs(new - old) > HOLD_PX else old for new, old in zip(wanted, self._fit, strict=True)
        )
        self._fit = right, down, half
        return self._fit


def is_cut_off(
    whole: Rect, mouth: tuple[float, float], size: tuple[int, int], *, shown: tuple[int, int], tilt: float, was: bool
) -> bool:
    """Whether a mouth lies at or beyond an edge of the frame, where a mask could only be put on nose, cheek or chin.

    Args:
        whole: x1 y1 x2 y2 of the face, as it would be if the frame were turned round its middle until it is upright.
        mouth: its middle, x y, in the frame as it is.
        size: height and width of the frame.
        shown: width and height of what is cut out of it.
        tilt: degrees, clockwise as seen, that the head lies.
        was: whether it did in the frame before.
    """
    more = EDGE_BACK if was else 0.0
    middle = (whole[0] + whole[2]) / 2, (whole[1] + whole[3]) / 2
    edges = ((-1, 0), 0), ((1, 0), size[1]), ((0, -1), 0), ((0, 1), size[0])  # the way there, how far that is from 0
    for (x, y), at in edges:
        aside, below = rotated(np.array([x, y], dtype=np.float64), -tilt)  # as the head has it
        # Of the ellipse in its box.
        reach = math.hypot(aside * (whole[2] - whole[0]) / 2, below * (whole[3] - whole[1]) / 2)
        along = (EDGE_BELOW if below > 0 else EDGE_ABOVE) + more
        needed = math.hypot(aside * (EDGE_ASIDE + more) * shown[0], below * along * shown[1])
        if x * middle[0] + y * middle[1] + reach > at and at - (x * mouth[0] + y * mouth[1]) < needed:
            return True
    return False


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

"""How far a turned head's mouth lies beside the middle of its box, where the mask would be.

The mask's place was set for faces that look into the camera: the middle of the box. On a head turned aside the mouth is
up to a fifth of the box's width from there, and a small mask misses half of it. So the mask goes along, sideways, and
what lies under it of the generated face with it. Upwards a mouth hardly moves in its box (by 4 % on 17 clips).
"""

from __future__ import annotations

import math

from gpu_lipsync.blend_kernels import Placement
from gpu_lipsync.models.wav2lip import FACE_SIZE

CENTRED = 0.04  # of the box's width: as far as faces that look into the camera have their mouths beside the middle
TURNED = 0.10  # of the box's width: from there on the mask lies on the mouth; between, it gets there gradually
AT_MOST = 0.25  # of the box's width: a mouth seen farther aside is a mistake
HOLD_PX = 0.75  # a shift changes when the one wanted is farther than this from it

Move = tuple[int, int]  # the same shift to the right in pixels of the generated face, and of the crop


class MouthShifts:
    """Shifts for the frames of a clip, in order."""

    def __init__(self) -> None:
        self._segment = 0
        self._shift = 0

    def place(self, box: tuple[int, int, int, int], mouth_x: float, segment: int) -> int:
        """How far right of the middle the mask belongs, in pixels of the generated face.

        Args:
            box: x1 y1 x2 y2, as it is cut out.
            mouth_x: the mouth's middle, on the same scale.
            segment: number of the scene's part that the face is followed in; what was before it does not count.
        """
        width = box[2] - box[0]
        aside = (mouth_x - (box[0] + box[2]) / 2) / width
        gradual = max(0.0, abs(aside) - CENTRED) * TURNED / (TURNED - CENTRED)
        wanted = math.copysign(min(abs(aside), gradual, AT_MOST), aside) * FACE_SIZE
        if segment != self._segment or abs(wanted - self._shift) > HOLD_PX:
            self._segment, self._shift = segment, round(wanted)
        return self._shift


def fitting_move(shift: int, place: Placement) -> Move:
    """A shift cut down to what keeps the mask's window in its crop, whole pixels in both."""
    left, right = (room * FACE_SIZE // place.width for room in (place.left, place.width - place.right))
    fitting = min(max(shift, -left), right)
    return fitting, round(fitting * place.width / FACE_SIZE)

"""How far a mouth lies beside the place in its box where the mask would be.

The mask's place is set for all faces: the middle of the box, 0.65 down. On a head turned aside the mouth is up to a
fifth of the box's width from there, and in most it is lower: lips meet at 0.65 to 0.77 (median 0.71 of 25 clips). A
small mask covered half of a turned mouth, and of others the moustache and the nose instead of the lower lip. So the
mask goes along, and what lies under it of the generated face with it.
"""

from __future__ import annotations

from gpu_lipsync.blend_kernels import Placement
from gpu_lipsync.blend_kernels.mask import CENTRE_DOWN
from gpu_lipsync.models.wav2lip import FACE_SIZE

AT_MOST = 0.25  # of the box's width: a mouth seen farther aside is a mistake
AT_MOST_DOWN = 0.15  # of the box's height, and up: likewise
HOLD_PX = 0.75  # a shift changes when the one wanted is farther than this from it

Shift = tuple[int, int]  # right and down, in pixels of the generated face
Move = tuple[Shift, Shift]  # the same shift in pixels of the generated face, and of the crop
NO_MOVE: Move = ((0, 0), (0, 0))


class MouthShifts:
    """Shifts for the frames of a clip, in order."""

    def __init__(self) -> None:
        self._segment = 0
        self._right = self._down = 0

    def place(self, box: tuple[int, int, int, int], mouth: tuple[float, float], segment: int) -> Shift:
        """How far right of the box's middle, and below where it would be, the mask belongs.

        Args:
            box: x1 y1 x2 y2, as it is cut out.
            mouth: its middle, x y on the same scale.
            segment: number of the scene's part that the face is followed in; what was before it does not count.
        """
        aside = (mouth[0] - (box[0] + box[2]) / 2) / (box[2] - box[0])
        right = min(max(aside, -AT_MOST), AT_MOST) * FACE_SIZE
        below = (mouth[1] - box[1]) / (box[3] - box[1]) - CENTRE_DOWN
        down = min(max(below, -AT_MOST_DOWN), AT_MOST_DOWN) * FACE_SIZE
        anew, self._segment = segment != self._segment, segment
        self._right = round(right) if anew or abs(right - self._right) > HOLD_PX else self._right
        self._down = round(down) if anew or abs(down - self._down) > HOLD_PX else self._down
        return self._right, self._down


def fitting_move(shift: Shift, place: Placement) -> Move:
    """A shift cut down to what keeps the mask's window in its crop, whole pixels in both."""
    right = _fitting(shift[0], place.left, place.width - place.right, place.width)
    down = _fitting(shift[1], place.top, place.height - place.bottom, place.height)
    return (right[0], down[0]), (right[1], down[1])


def _fitting(shift: int, before: int, after: int, length: int) -> tuple[int, int]:
    fitting = min(max(shift, -(before * FACE_SIZE // length)), after * FACE_SIZE // length)
    return fitting, round(fitting * length / FACE_SIZE)

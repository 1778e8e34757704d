"""How masks are to follow the mouths of a clip, and which mouths lie too near the frame's edge for one."""

from __future__ import annotations

import math

import numpy as np

from gpu_lipsync.blend_kernels.mask import CENTRE_DOWN
from gpu_lipsync.models.wav2lip import FACE_SIZE
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.mouth_fit import NO_FIT, Fit
from gpu_lipsync.pasting.tilted import rotated

AT_MOST = 0.25  # of the box's width: a mouth seen farther aside is a mistake, and half of one that is wider
AT_MOST_DOWN = 0.15  # of the box's height, and up: likewise
# Of the box's sides: how near the frame's edge, at which the box ends, a mouth is no more to be seen. In 7 clips they
# are 0.2 from below and 0.3 from the sides at least. Once it was gone, it has to come back by a little more.
# From above the face goes first that it is pasted in, and a mask can follow it no further.
EDGE_BELOW, EDGE_ASIDE, EDGE_ABOVE, EDGE_BACK = 0.13, 0.18, 0.27, 0.03
AT_EDGE = 0.02  # of the box's height: so near the frame's edge a face that the edge cuts is seen to end, or beyond it
# Of the box's height: how far below where lips meet the mask belongs. A mouth opens downwards, and above it is the
# moustache, of which a mask of 0.4 replaced a half (mean of 15 faces; two fifths now), and covered less of the lips.
LIPS_BELOW = 0.02
HOLD_PX = 0.75  # a fit changes when the one wanted is farther than this from it


class MouthFits:
    """Fits for the frames of a clip, in order."""

    def __init__(self) -> None:
        self._segment = 0
        self._fit = NO_FIT

    def fit(self, box: Rect, mouth: tuple[float, float], half_mouth: float, segment: int) -> Fit:
        """How far right of the box's middle, and below where it would be, the mask belongs, and over how wide a mouth.

        Args:
            box: as it is cut out.
            mouth: its middle, x y on the same scale.
            half_mouth: half its width, likewise; 0 where that is not known.
            segment: number of the scene's part that the face is followed in; what was before it does not count.
        """
        aside = (mouth[0] - (box.x1 + box.x2) / 2) / box.width
        below = (mouth[1] - box.y1) / box.height + LIPS_BELOW - CENTRE_DOWN
        wide = half_mouth / box.width
        limited = (aside, AT_MOST), (below, AT_MOST_DOWN), (wide, AT_MOST)
        wanted = [min(max(value, -most), most) * FACE_SIZE for value, most in limited]
        anew, self._segment = segment != self._segment, segment
        right, down, half = (
            round(new) if anew or abs(new - old) > HOLD_PX else old for new, old in zip(wanted, self._fit, strict=True)
        )
        self._fit = right, down, half
        return self._fit


def is_cut_off(
    face: Rect, mouth: tuple[float, float], frame_size: tuple[int, int], *, shown: Rect, tilt: float, was: bool
) -> bool:
    """Whether a mouth lies at or beyond an edge of the frame, where a mask could only be put on nose, cheek or chin.

    Args:
        face: all of it, as it would be if the frame were turned round its middle until it is upright.
        mouth: its middle, x y, in the frame as it is.
        frame_size: height and width.
        shown: what of the face is cut out of the frame; its sides count.
        tilt: degrees, clockwise as seen, that the head lies.
        was: whether it did in the frame before.
    """
    more = EDGE_BACK if was else 0.0
    middle = (face.x1 + face.x2) / 2, (face.y1 + face.y2) / 2
    height, width = frame_size
    # Each edge: the way there, and how far that way it lies.
    for (x, y), edge in (((-1, 0), 0), ((1, 0), width), ((0, -1), 0), ((0, 1), height)):
        across, down = rotated(np.array([x, y], dtype=np.float64), -tilt)  # the way there by the head's own axes
        face_reach = math.hypot(across * face.width / 2, down * face.height / 2)  # of the ellipse in its box
        along = (EDGE_BELOW if down > 0 else EDGE_ABOVE) + more
        margin = math.hypot(across * (EDGE_ASIDE + more) * shown.width, down * along * shown.height)
        face_ends = x * middle[0] + y * middle[1] + face_reach
        room = edge - (x * mouth[0] + y * mouth[1])
        if face_ends > edge - AT_EDGE * shown.height and room < margin:
            return True
    return False

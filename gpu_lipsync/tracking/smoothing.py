"""Boxes that follow the head without lead or lag, and whose size holds still."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.tilted import rotated
from gpu_lipsync.tracking.head_tilt import TURNED_FULLY_DEG, tilts_of, upright_sizes
from gpu_lipsync.tracking.tracked_box import CENTRE, MOUTH, Box, Floats

Point = tuple[float, float]  # x y
# The size is kept while the face's is within the first factor of it; then it follows up to the second. A mouth that is
# generated in another size is another mouth: steps of a tenth showed as a jerk, those of a hundredth do not.
SIZE_HOLD, SIZE_LAG = 1.05, 1.04
POSITION_HOLD_PX = 0.75  # an edge moves when its place is farther than this from where it is


class Placed(NamedTuple):
    """A face's final place.

    Attributes:
        corners: x1 y1 x2 y2 of its box in whole pixels, end exclusive; of a head that is turned upright as it would
            be if the frame were turned round the box's middle.
        mouth: its middle, x y, likewise.
        tilt: degrees that the head lies to the right, and is turned back by; 0: it is taken as it is.
    """

    corners: Rect
    mouth: Point
    tilt: float

    @property
    def middle(self) -> Floats:
        """Of the box, x y; it stays where it is as the frame is turned."""
        x1, y1, x2, y2 = self.corners
        return np.array([x1 + x2, y1 + y2]) / 2

    @property
    def mouth_in_frame(self) -> Point:
        """The mouth as it is."""
        if not self.tilt:
            return self.mouth
        x, y = self.middle + rotated(self.mouth - self.middle, self.tilt)
        return float(x), float(y)

    def padded(self, pads: tuple[int, int, int, int]) -> "Placed":
        """The same with more at the head's own top, bottom, left and right."""
        top, bottom, left, right = pads
        x1, y1, x2, y2 = self.corners
        corners, mouth = Rect(x1 - left, y1 - top, x2 + right, y2 + bottom), self.mouth
        if not self.tilt or (top == bottom and left == right):
            return self._replace(corners=corners)
        # Turned round another middle, it belongs elsewhere.
        aside = np.array([right - left, bottom - top]) / 2
        move = (rotated(aside, self.tilt) - aside).round().astype(int).tolist()
        x1, y1, x2, y2 = (at + by for at, by in zip(corners, move * 2, strict=True))
        return Placed(Rect(x1, y1, x2, y2), (mouth[0] + move[0], mouth[1] + move[1]), self.tilt)

    def trimmed(self, frame_size: tuple[int, int]) -> "Placed":
        """The same without what lies beyond the edges of a frame (height, width). The more a head is tilted the less is
        taken away, and nothing once it is turned fully.
        """
        height, width = frame_size
        x1, y1, x2, y2 = self.corners
        share = max(0.0, 1 - abs(self.tilt) / TURNED_FULLY_DEG)
        top, bottom, left, right = (round(-share * max(0, beyond)) for beyond in (-y1, y2 - height, -x1, x2 - width))
        return self.padded((top, bottom, left, right))


@lru_cache
def local_fit(before: int, after: int, half_window: int, *, degree: int = 2) -> Floats:
    """Weights of `before` + 1 + `after` consecutive values that give the middle of a parabola fitted through them, or
    their mean (degree 0).

    The values count less the farther away they are (Hann window of 2·`half_window` + 1). With as many before as after
    this is a symmetric filter, hence of zero phase; fewer on one side (the end of a segment) still follow a uniform
    motion without bias. Reference: Cleveland, "Robust locally weighted regression", 1979, without the robust part.
    """
    offsets = np.arange(-before, after + 1) / (half_window + 1)
    weight = np.cos(np.pi / 2 * offsets) ** 2
    powers = np.vander(offsets, min(degree, 2 if before and after else 1, before + after) + 1, increasing=True)
    normal = powers.T @ (powers * weight[:, None])
    result: Floats = np.linalg.solve(normal, (powers * weight[:, None]).T)[0]
    return result


class BoxSmoother:
    """Takes the followed boxes in order and gives each its final, whole-pixel place.

    Attributes:
        look_ahead: frames after a frame that must be known before its box is final.
    """

    def __init__(self, *, half_window: int, size_window: int) -> None:
        """Both in frames; half_window 0 passes every box through as it is, its size included."""
        self._half_window = half_window
        self._size_window = size_window
        self.look_ahead = max(half_window, size_window) if half_window else 0
        self._segment = 0
        self._size = np.zeros(2)
        self._corner = np.zeros(2)

    def place(self, boxes: Sequence[Box], segments: Sequence[int], frame: int) -> Placed:
        """Final place of a frame's face. For the frames in order.

        Args:
            boxes: of each known frame, at least up to `look_ahead` after `frame` unless the clip ends.
            segments: number of the segment each belongs to; nothing is taken from another one.
            frame: which one, with a face in it.
        """
        around = self._around(segments, frame, self._half_window)
        if not self._half_window:
            box = boxes[frame][None]
            tilts = tilts_of(box)
            (size,) = upright_sizes(box, tilts)
            self._size, self._corner = np.maximum(size.round(), 1), (box[0, CENTRE] - size / 2).round()
            return self._placed(box[0, MOUTH], float(tilts[0]))
        weights = local_fit(frame - around.start, around.stop - 1 - frame, self._half_window)
        smooth = weights @ np.asarray(boxes[around.start : around.stop])
        new_segment = segments[frame] != self._segment
        self._segment = segments[frame]
        new_size = self._hold_size(boxes, segments, frame, renew=new_segment)
        corner = smooth[CENTRE] - self._size / 2
        moved = np.abs(corner - self._corner) > POSITION_HOLD_PX
        self._corner = np.where(moved | new_segment | new_size, corner.round(), self._corner)
        return self._placed(smooth[MOUTH], float(tilts_of(smooth[None])[0]))

    def _placed(self, mouth: Floats, tilt: float) -> Placed:
        (left, top), (width, height) = self._corner, self._size
        middle = self._corner + self._size / 2
        x, y = middle + rotated(mouth - middle, -tilt) if tilt else mouth
        return Placed(Rect(int(left), int(top), int(left + width), int(top + height)), (float(x), float(y)), tilt)

    def _around(self, segments: Sequence[int], frame: int, window: int) -> range:
        """The frames of its segment within so many before and after a frame."""
        start, stop = frame, frame + 1
        while start > max(0, frame - window) and segments[start - 1] == segments[frame]:
            start -= 1
        while stop < min(len(segments), frame + window + 1) and segments[stop] == segments[frame]:
            stop += 1
        return range(start, stop)

    def _hold_size(self, boxes: Sequence[Box], segments: Sequence[int], frame: int, *, renew: bool) -> bool:
        """Choose a new size if the held one no longer fits, and say whether it was."""
        around = self._around(segments, frame, self._size_window)
        seen = np.asarray(boxes[around.start : around.stop])
        sizes = upright_sizes(seen, tilts_of(seen))
        weights = local_fit(frame - around.start, around.stop - 1 - frame, self._size_window, degree=0)
        size = np.exp(weights @ np.log(sizes))
        if renew:  # the first detections count for no more than those to come
            wanted = np.clip(np.median(sizes[frame - around.start :], axis=0), size / SIZE_HOLD, size * SIZE_HOLD)
        else:
            if np.abs(np.log(size / self._size)).max() <= np.log(SIZE_HOLD):
                return False
            wanted = np.clip(self._size, size / SIZE_LAG, size * SIZE_LAG)
        held, self._size = self._size, np.maximum(wanted.round(), 1)
        return bool((held != self._size).any())

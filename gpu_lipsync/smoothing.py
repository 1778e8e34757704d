"""Boxes that follow the head without lead or lag, and whose size holds still."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gpu_lipsync.face_paths import Box, Floats

Corners = tuple[int, int, int, int]  # x1 y1 x2 y2
Point = tuple[float, float]  # x y
# The size is kept while the face's is within the first factor of it; then it follows up to the second. A mouth that is
# generated in another size is another mouth: steps of a tenth showed as a jerk, those of a hundredth do not.
SIZE_HOLD, SIZE_LAG = 1.05, 1.04
POSITION_HOLD_PX = 0.75  # an edge moves when its place is farther than this from where it is


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

    def place(self, boxes: Sequence[Box], segments: Sequence[int], frame: int) -> tuple[Corners, Point]:
        """Final box of a frame, x1 y1 x2 y2 in whole pixels, end exclusive, and its mouth. For the frames in order.

        Args:
            boxes: centre, size and mouth of each known frame, at least up to `look_ahead` after `frame` unless the clip
                ends.
            segments: number of the segment each belongs to; nothing is taken from another one.
            frame: which one, with a face in it.
        """
        first, last = self._reach(segments, frame, self._half_window)
        if not self._half_window:
            centre, size, mouth = boxes[frame][:2], boxes[frame][2:4], boxes[frame][4:]
            left, top = (centre - size / 2).round()
            width, height = np.maximum(size.round(), 1)
            return (int(left), int(top), int(left + width), int(top + height)), (float(mouth[0]), float(mouth[1]))
        around = np.asarray(boxes[first : last + 1])
        smooth = local_fit(frame - first, last - frame, self._half_window) @ around
        new_segment = segments[frame] != self._segment
        self._segment = segments[frame]
        new_size = self._hold_size(boxes, segments, frame, renew=new_segment)
        corner = smooth[:2] - self._size / 2
        moved = np.abs(corner - self._corner) > POSITION_HOLD_PX
        self._corner = np.where(moved | new_segment | new_size, corner.round(), self._corner)
        (left, top), (width, height) = self._corner, self._size
        return (int(left), int(top), int(left + width), int(top + height)), (float(smooth[4]), float(smooth[5]))

    def _reach(self, segments: Sequence[int], frame: int, window: int) -> tuple[int, int]:
        """First and last frame of the segment within so many frames."""
        first = last = frame
        while first > max(0, frame - window) and segments[first - 1] == segments[frame]:
            first -= 1
        while last < min(len(segments) - 1, frame + window) and segments[last + 1] == segments[frame]:
            last += 1
        return first, last

    def _hold_size(self, boxes: Sequence[Box], segments: Sequence[int], frame: int, *, renew: bool) -> bool:
        """Choose a new size if the held one no longer fits, and say whether it was."""
        first, last = self._reach(segments, frame, self._size_window)
        sizes = np.asarray(boxes[first : last + 1])[:, 2:4]
        size = np.exp(local_fit(frame - first, last - frame, self._size_window, degree=0) @ np.log(sizes))
        if renew:  # the first detections count for no more than those to come
            wanted = np.clip(np.median(sizes[frame - first :], axis=0), size / SIZE_HOLD, size * SIZE_HOLD)
        else:
            if np.abs(np.log(size / self._size)).max() <= np.log(SIZE_HOLD):
                return False
            wanted = np.clip(self._size, size / SIZE_LAG, size * SIZE_LAG)
        held, self._size = self._size, np.maximum(wanted.round(), 1)
        return bool((held != self._size).any())

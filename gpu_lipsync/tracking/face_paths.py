"""Which way faces go: what tells two people apart while one of them passes before the other."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpu_lipsync.models.box_voting import FACE_SCORE
from gpu_lipsync.tracking.head_tilt import across
from gpu_lipsync.tracking.mouth_fits import EDGE_ABOVE, EDGE_ASIDE, EDGE_BELOW
from gpu_lipsync.tracking.tracked_box import CENTRE, MOUTH, SIZE, Box, Boxes, Detections, Floats

SAME_SCENE_SHIFT = 0.25, 0.05, 0.5  # of the face's size: what a face may move at once, per frame more, at most
WALKING_SHIFT = 0.25, 0.15, 1.0  # likewise, of one that is beside the followed, whose pace is not known
HURRY_SHIFT = 0.15  # of the face's size: who has moved this far has a pace, however short the time
SAME_FACE_ZOOM = 1.6
# Of the face's size: as well as this two faces can be told apart by where they should be, and by how large they are.
# Detections are within 0.02, an extrapolation over five frames within 0.05.
TOLD_APART = 0.1

# Of a detection: x y, x y of both eyes, of the mouth's corners.
DETECTED_EYES, DETECTED_MOUTH = slice(5, 9), slice(11, 15)


def centred(faces: Detections) -> Boxes:
    """The boxes of detections."""
    corners = faces[:, :4].astype(np.float64)
    eyes, mouth = (faces[:, part].astype(np.float64).reshape(-1, 2, 2) for part in (DETECTED_EYES, DETECTED_MOUTH))
    centre, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    return np.concatenate((centre, size, mouth.mean(axis=1), across(eyes, mouth)), axis=1)


class FacePath:
    """Where a face was seen of late, in ascending frames, and so where it should be next."""

    def __init__(self, frame: int, box: Box, *, pace_over: int) -> None:
        """Its pace is that of `pace_over` frames or a little more; who is seen for less long is thought to stay, unless
        he has moved far.
        """
        self._seen, self._pace_over = deque([(frame, box)]), max(1, pace_over)
        self._first = frame, box

    @property
    def last(self) -> tuple[int, Box]:
        """The frame in which it was last seen, and where."""
        return self._seen[-1]

    @property
    def has_pace(self) -> bool:
        (first_frame, first), (last_frame, last) = self._seen[0], self._seen[-1]
        return last_frame - first_frame >= self._pace_over or bool(shift(first, last[None])[0] >= HURRY_SHIFT)

    def came_up(self, frame: int) -> bool:
        """Whether it was there for the first time just before a frame, and has not walked since: it did not come in."""
        first, box = self._first
        return frame - first < self._pace_over and bool(shift(box, self.last[1][None])[0] <= SAME_SCENE_SHIFT[0])

    def has_come_back(self, left: int, place: Box, n_frames: int) -> bool:
        """Whether it was first seen after the frame `left`, at a place, so many frames ago or more, and is there."""
        first_frame, first = self._first
        boxes = np.stack((first, self.last[1]))
        there = (shift(place, boxes) <= SAME_SCENE_SHIFT[2]) & (zoom(place, boxes) <= SAME_FACE_ZOOM)
        return first_frame > left and self.last[0] - first_frame >= n_frames and bool(there.all())

    def see(self, frame: int, box: Box) -> None:
        """Take note of where it is; what is known of the frame, or of later ones, is left as it is."""
        if frame <= self._seen[-1][0]:
            return
        self._seen.append((frame, box))
        while frame - self._seen[1][0] >= self._pace_over:
            self._seen.popleft()

    def at(self, frame: int) -> Box:
        """Its box in a frame: as large as it was last seen, moved on as it moved."""
        (first_frame, first), (last_frame, last) = self._seen[0], self._seen[-1]
        if not self.has_pace:
            return last
        pace = (last - first) / (last_frame - first_frame)
        pace[SIZE] = 0
        moved: Box = last + (frame - last_frame) * pace
        return moved

    def costs(self, frame: int, boxes: Boxes, *, stays: bool = False) -> Floats:
        """How much each of the boxes of a frame is unlike the one that it should have, or the last one if it
        `stays`; infinity: another face's.
        """
        box, gap = self.last[1] if stays else self.at(frame), abs(frame - self._seen[-1][0])
        limits = SAME_SCENE_SHIFT if self.has_pace or stays else WALKING_SHIFT
        return np.where(may_be_same(box, boxes, gap, limits), unlikeness(box, boxes), np.inf)


def pair_up(paths: Sequence[FacePath], frame: int, boxes: Boxes, *, may_stay: bool = False) -> dict[int, int]:
    """Whose each of the boxes is, the most alike first and none twice: paths' numbers by boxes' numbers.

    Those that are left over may be of people who did not go on as they moved, but came back: they sway.
    """
    pairs: dict[int, int] = {}
    for stays in (False, True) if may_stay else (False,):
        if len(pairs) == min(len(paths), len(boxes)):
            break
        costs = np.stack([path.costs(frame, boxes, stays=stays) for path in paths])
        costs[list(pairs.values())], costs[:, list(pairs)] = np.inf, np.inf
        while np.isfinite(costs).any():
            path, box = np.unravel_index(np.argmin(costs), costs.shape)
            pairs[int(box)] = int(path)
            costs[path], costs[:, box] = np.inf, np.inf
    return pairs


def likely(faces: Detections) -> NDArray[np.bool_]:
    """Which faces a track may start on; it continues on any candidate."""
    return faces[:, 4] > FACE_SCORE


def largest_of(faces: Boxes) -> Box | None:
    """The largest of the faces (n, 8), if there is one."""
    return faces[np.argmax(faces[:, SIZE].prod(axis=1))] if len(faces) else None


def with_mouth(faces: Boxes, frame_size: tuple[int, int] | None) -> Boxes:
    """Those of the faces (n, 8) that have their mouths in the frame of this height and width; all, if none has."""
    if frame_size is None or not len(faces):
        return faces
    end = np.array(frame_size[::-1], dtype=np.float64)
    first, last = faces[:, CENTRE] - faces[:, SIZE] / 2, faces[:, CENTRE] + faces[:, SIZE] / 2
    shown_sides, mouth = np.minimum(last, end) - np.maximum(first, 0), faces[:, MOUTH]
    before, behind = shown_sides * (EDGE_ASIDE, EDGE_ABOVE), shown_sides * (EDGE_ASIDE, EDGE_BELOW)
    cut = ((first < 0) & (mouth < before)) | ((last > end) & (end - mouth < behind))  # as `is_cut_off`, of upright ones
    shown = ~cut.any(axis=1)
    return faces[shown] if shown.any() else faces


def shift(box: Box, others: Boxes) -> Floats:
    """How far it is from a box to others, as part of its size: (n,)."""
    way: Floats = np.hypot(*(others[:, CENTRE] - box[CENTRE]).T) / np.sqrt(box[SIZE].prod())
    return way


def zoom(box: Box, others: Boxes) -> Floats:
    """How many times as large or small others are as a box, by the side that differs more: (n,)."""
    times: Floats = np.exp(np.abs(np.log(others[:, SIZE] / box[SIZE])).max(axis=1))
    return times


def may_be_same(
    box: Box, others: Boxes, gap: int, limits: tuple[float, float, float] = SAME_SCENE_SHIFT
) -> NDArray[np.bool_]:
    """Which of others, seen `gap` frames from a box of the same scene, may be the same face: (n,)."""
    at_once, per_frame, at_most = limits
    near = shift(box, others) <= min(at_once + per_frame * gap, at_most)
    alike: NDArray[np.bool_] = near & (zoom(box, others) <= SAME_FACE_ZOOM)
    return alike


def unlikeness(box: Box, others: Boxes) -> Floats:
    """Of others and a box, by place and size: (n,)."""
    unlike: Floats = np.hypot(shift(box, others), np.log(zoom(box, others)))
    return unlike


def claims_of(paths: Sequence[FacePath], frame: int, faces: Boxes) -> Floats:
    """How little unlike each face is to the one that somebody's path leads to, if none is less so: (n,)."""
    claims = np.full(len(faces), np.inf)
    for path in paths:
        if len(faces):
            costs = path.costs(frame, faces)
            best = np.argmin(costs)
            claims[best] = min(claims[best], costs[best])
    return claims

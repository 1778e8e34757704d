"""Which of the faces seen in some frames is the one to follow, and where it is in every frame between."""

import numpy as np
from numpy.typing import NDArray

from gpu_lipsync.models.box_voting import FACE_SCORE

SAME_SCENE_SHIFT = 0.25, 0.05, 0.5  # of the face's size: what a face may move at once, per frame more, at most
SAME_FACE_ZOOM = 1.6
LIKE_THE_LARGEST = 0.5  # of its area: as large a face where the last scene's was is thought to be the same person's
STEADY_SHIFT = 0.15  # of the face's size: a straight line between two detections is exact enough
STEADY_ZOOM = 1.25

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Box = Floats  # centre x, centre y, width, height, and x and y of the mouth's middle, in pixels
NOBODY: Box = np.zeros(6)
MOUTH_COLUMNS = (11, 12, 13, 14)  # of a detection: x y, x y of the mouth's corners


class FaceFollower:
    """Turns detections in ascending frames into one box per frame, in segments that never cross a cut or a jump.

    The largest face at first, then the one that continues it. Frames in which it is missed are bridged when it comes
    back within `max_gap` frames; otherwise the segment ends before them, and they are looked at afresh. For `memory`
    frames from then on the faces that were beside it are not taken for it: who is hidden for a moment comes back. In a
    new scene the largest face counts again, but of faces of like size the one that is where the last was.

    Attributes:
        boxes: centre, size and mouth for each decided frame, from frame 0 on; zeros where there is no face.
        segments: for each decided frame the number of its segment, from 1 on; 0 where there is no face.
        n_cuts: scene changes so far.
    """

    def __init__(self, *, max_gap: int, memory: int = 0) -> None:
        self.boxes: list[Box] = []
        self.segments: list[int] = []
        self.n_cuts = 0
        self._max_gap, self._memory = max_gap, memory
        self._n_segments = 0
        self._lost: tuple[int, Box] | None = None  # where the last track ended, and its box there
        self._beside = np.zeros((0, 6))  # the other likely faces, when it was last seen and where they went
        self._new_scene = False
        self._last: tuple[int, Box] | None = None
        self._missed: list[tuple[int, Array]] = []

    def followed(self, frame: int) -> tuple[int, Box] | None:
        """The segment and the box of a frame, if it is the last in which the face was seen."""
        if self._last is None or self._last[0] != frame:
            return None
        return self._n_segments, self._last[1]

    def agrees(self, frame: int, faces: Array) -> bool:
        """Whether `faces`, (n, 15), go on from the last ones so that no frame between needs a look."""
        if self._last is None:
            return not likely(faces).any()
        if self._missed:
            return False
        best = self._match(frame, faces)
        if best is None:
            return False
        last = self._last[1]
        zoom = np.abs(np.log(best[2:4] / last[2:4])).max()
        return bool(_shift(last, best) < STEADY_SHIFT and zoom < np.log(STEADY_ZOOM))

    def feed(self, frame: int, faces: Array, *, cut: bool = False) -> None:
        """Take the faces of a frame after the last one fed; `cut` when a new scene begins with it."""
        if cut:
            self.n_cuts += 1
            self._end_track()
            self._pass_until(frame)
            self._new_scene = True
        self._observe(frame, faces)

    def close(self, n_frames: int) -> None:
        """No more frames: decide what is open, up to `n_frames` frames in all."""
        self._end_track()
        self._pass_until(n_frames)

    def _observe(self, frame: int, faces: Array) -> None:
        if self._last is None:
            chosen = self._choose(frame, _centred(faces[likely(faces)]))
            if chosen is None:
                self._pass_until(frame + 1)
            else:
                self._start(frame, chosen)
                self._remember_others(faces, chosen)
            return
        box = self._match(frame, faces)
        if box is not None:
            self._extend(frame, box)
            self._remember_others(faces, box)
            return
        self._missed.append((frame, faces))
        if frame - self._last[0] > self._max_gap:
            self._look_again()

    def _choose(self, frame: int, candidates: Box) -> Box | None:
        """Whom to follow from here on, of likely faces (n, 6); None if nobody, or none but others than before."""
        if self._lost is not None and frame - self._lost[0] > self._memory:
            self._lost = None
        if self._lost is None or not len(candidates):
            return _largest(candidates)
        # A cut that leaves another face quite where it was is none: something has covered a part of the picture.
        limits = (STEADY_SHIFT, STEADY_ZOOM) if self._new_scene else (SAME_SCENE_SHIFT[2], SAME_FACE_ZOOM)
        pairs = _pairs(candidates, self._beside, *limits)
        others = pairs.any(axis=1)
        if not others.all():
            candidates = candidates if self._new_scene else candidates[~others]
            largest = _largest(candidates)
            assert largest is not None
            last = self._lost[1][None]
            here = _pairs(candidates, last, SAME_SCENE_SHIFT[2], SAME_FACE_ZOOM)[:, 0]
            if self._new_scene:
                here &= candidates[:, 2:4].prod(axis=1) >= LIKE_THE_LARGEST * largest[2:4].prod()
            away = np.where(here, _shifts(candidates, last)[:, 0], np.inf)
            return candidates[np.argmin(away)] if here.any() else largest
        self._new_scene = False
        self._beside = np.concatenate((candidates, self._beside[~pairs.any(axis=0)]))
        return None

    def _remember_others(self, faces: Array, own: Box) -> None:
        seen = _centred(faces[likely(faces)])
        self._beside = seen[(seen != own).any(axis=1)]

    def _start(self, frame: int, box: Box) -> None:
        self._pass_until(frame)
        self._n_segments += 1
        self.boxes.append(box)
        self.segments.append(self._n_segments)
        self._last, self._new_scene = (frame, box), False

    def _extend(self, frame: int, box: Box) -> None:
        assert self._last is not None
        last_frame, last_box = self._last
        for step in range(1, frame - last_frame + 1):
            part = step / (frame - last_frame)
            self.boxes.append(last_box + part * (box - last_box))
            self.segments.append(self._n_segments)
        self._last, self._missed = (frame, box), []

    def _look_again(self) -> None:
        """The face did not come back: let the track end where it was last seen, and follow what was there since."""
        missed, self._missed, self._lost, self._last = self._missed, [], self._last, None
        for frame, faces in missed:
            self._observe(frame, faces)

    def _end_track(self) -> None:
        while self._last is not None:
            self._look_again()

    def _pass_until(self, frame: int) -> None:
        missing = frame - len(self.boxes)
        self.boxes += [NOBODY] * missing
        self.segments += [0] * missing

    def _match(self, frame: int, faces: Array) -> Box | None:
        """The face that continues the track; None if none lies near enough and is of like size."""
        assert self._last is not None
        if not len(faces):
            return None
        last_frame, last = self._last
        candidates = _centred(faces)
        shift = np.array([_shift(last, box) for box in candidates])
        zoom = np.exp(np.abs(np.log(candidates[:, 2:4] / last[2:4])).max(1))
        at_once, per_frame, at_most = SAME_SCENE_SHIFT
        limit = min(at_once + per_frame * (frame - last_frame), at_most)
        shift[(zoom > SAME_FACE_ZOOM) | (shift > limit)] = np.inf
        best = int(np.argmin(shift))
        return candidates[best] if np.isfinite(shift[best]) else None


def likely(faces: Array) -> NDArray[np.bool_]:
    """Which of faces (n, 15) a track may start on; it continues on any candidate."""
    return faces[:, 4] > FACE_SCORE


def _centred(faces: Array) -> Box:
    corners = faces[:, :4].astype(np.float64)
    mouth = faces[:, MOUTH_COLUMNS].astype(np.float64).reshape(-1, 2, 2).mean(axis=1)
    return np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2], mouth), axis=1)


def _largest(faces: Box) -> Box | None:
    return faces[np.argmax(faces[:, 2:4].prod(axis=1))] if len(faces) else None


def _pairs(faces: Box, others: Box, shift: float, zoom: float) -> NDArray[np.bool_]:
    """Which of faces (n, 6) may be the same as which of others (m, 6), some frames apart; (n, m)."""
    zooms = np.abs(np.log(faces[:, None, 2:4] / others[None, :, 2:4])).max(axis=2)
    return (_shifts(faces, others) <= shift) & (zooms <= np.log(zoom))


def _shifts(faces: Box, others: Box) -> Floats:
    """How far from faces (n, 6) to others (m, 6), as part of the faces' size; (n, m)."""
    way = np.hypot(*np.moveaxis(others[None, :, :2] - faces[:, None, :2], 2, 0))
    shifts: Floats = way / np.sqrt(faces[:, 2:4].prod(axis=1))[:, None]
    return shifts


def _shift(box: Box, other: Box) -> float:
    return float(np.hypot(*(other[:2] - box[:2])) / np.sqrt(box[2] * box[3]))

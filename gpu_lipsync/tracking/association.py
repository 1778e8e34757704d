"""Which of the faces seen in some frames is the one to follow, and where it is in every frame between."""

import numpy as np
from numpy.typing import NDArray

from gpu_lipsync.tracking.face_paths import (
    SAME_FACE_ZOOM,
    SAME_SCENE_SHIFT,
    TOLD_APART,
    FacePath,
    centred,
    claims_of,
    largest_of,
    likely,
    may_be_same,
    pair_up,
    shift,
    unlikeness,
    with_mouth,
    zoom,
)
from gpu_lipsync.tracking.head_tilt import tilts_of
from gpu_lipsync.tracking.matches import Match, Missed
from gpu_lipsync.tracking.tracked_box import SIZE, Box, Boxes, Detections

LIKE_THE_LARGEST = 0.5  # of its area: as large a face where the last scene's was is thought to be the same person's
STEADY_SHIFT = 0.15  # of the face's size: a straight line between two detections is exact enough
STEADY_ZOOM = 1.25
STEADY_TURN_DEG = 8  # of what a tilted head is turned by; landmarks are within 2 to 5 of it
HIDING = 0.6  # of the face's size: who is so near may hide another
NOBODY: Box = np.zeros(8)


class FaceFollower:
    """Turns detections in ascending frames into one box per frame, in segments that never cross a cut or a jump.

    The largest face at first, then the one that continues it, unless it continues another's way by far better: of two
    that cross, one is hidden for a moment. Frames in which the face is missed are bridged when it comes back within
    `max_gap` frames, all but those in which another is in its place, or a stranger elsewhere; otherwise the segment
    ends before them, and they are looked at afresh. For `memory` frames from then on the faces that were beside it are
    not taken for it: who is hidden for a moment comes back. Who is hidden for longer has the words again once he has
    been back at his place for as long. In a new scene the largest face counts again, but of faces of like size the one
    that is where the last was.

    Attributes:
        boxes: (8,) for each decided frame, from frame 0 on, as `centred` has them; zeros where there is no face.
        segments: for each decided frame the number of its segment, from 1 on; 0 where there is no face.
        n_cuts: scene changes so far.
        frame_size: height and width, if known: whose mouth is outside is chosen only where there is nobody else.
    """

    def __init__(self, *, max_gap: int, memory: int = 0) -> None:
        self.boxes: list[Box] = []
        self.segments: list[int] = []
        self.n_cuts = 0
        self.frame_size: tuple[int, int] | None = None
        self._max_gap, self._memory = max_gap, max(memory, max_gap)
        self._n_segments = 0
        self._target: FacePath | None = None  # of the face that is followed, where it is surely that
        self._last: tuple[int, Box] | None = None  # frame and box where it was last seen; nobody is followed: None
        self._rivals: list[FacePath] = []  # of the other likely faces
        # Frame and box likewise: where the last track ended, however long ago; and if within `memory`; and where one
        # ended who has the words again if he comes back, since one of his rivals has them.
        self._last_end: tuple[int, Box] | None = None
        self._recent_end: tuple[int, Box] | None = None
        self._previous: tuple[int, Box] | None = None
        self._missed: list[Missed] = []
        self._new_scene = False

    def followed(self, frame: int) -> tuple[int, Box] | None:
        """The segment and the box of a frame, if it is the last in which the face was seen."""
        if self._last is None or self._last[0] != frame:
            return None
        return self._n_segments, self._last[1]

    def agrees(self, frame: int, faces: Detections) -> bool:
        """Whether `faces`, (n, 15), go on from the last ones so that no frame between needs a look."""
        if self._last is None:
            return not likely(faces).any()
        if self._missed:
            return False
        match = self._match(frame, faces)
        if match.box is None:
            return False
        last, best = self._last[1], match.box[None]
        turn = abs((np.diff(tilts_of(np.stack((last, match.box))))[0] + 180) % 360 - 180)
        return bool(
            max(shift(last, best)[0] / STEADY_SHIFT, zoom(last, best)[0] / STEADY_ZOOM, turn / STEADY_TURN_DEG) < 1
        )

    def feed(self, frame: int, faces: Detections, *, cut: bool = False) -> None:
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

    def _observe(self, frame: int, faces: Detections) -> None:
        self._rivals = [path for path in self._rivals if frame - path.last[0] <= self._memory]
        seen = centred(faces[likely(faces)])
        if self._last is None:
            chosen = self._choose(frame, seen)
            if chosen is None:
                self._pass_until(frame + 1)
            else:
                self._start(frame, chosen, seen)
                self._see_others(frame, seen, own=chosen)
            return
        match = self._match(frame, faces)
        self._see_others(frame, seen, own=match.box)
        if match.box is not None and self._missed and self._has_jumped(match.box):
            self._end_and_replay()
            self._observe(frame, faces)
        elif match.box is not None:
            self._extend(frame, match.box, contested=match.contested)
            self._give_back(frame, match.box)
        else:
            elsewhere = len(pair_up(self._rivals, frame, seen, may_stay=True)) < len(seen)
            self._missed.append(Missed(frame, faces, match.hidden, elsewhere))
            if frame - self._last[0] > self._max_gap:
                self._end_and_replay()

    def _has_jumped(self, box: Box) -> bool:
        """Whether the face, missed until now, was where it is in the last frame already, too far off to be known."""
        frame, faces, hidden, _ = self._missed[-1]
        seen = centred(faces[likely(faces)])
        others = pair_up(self._rivals, frame, seen)
        return not hidden and any(i not in others for i in np.flatnonzero(may_be_same(box, seen, 1)))

    def _choose(self, frame: int, candidates: Boxes) -> Box | None:
        """Whom to follow from here on, of likely faces (n, 8); None if nobody, or none but others than before."""
        if self._recent_end is not None and frame - self._recent_end[0] > self._memory:
            self._recent_end = None
        last_one = self._recent_end or (self._last_end if self._new_scene else None)
        if last_one is None or not len(candidates):
            return largest_of(with_mouth(candidates, self.frame_size))
        others = self._others(frame, candidates)
        if self._recent_end is not None and others.all():
            self._new_scene = False
            self._see_others(frame, candidates)
            return None
        candidates = with_mouth(candidates if self._new_scene else candidates[~others], self.frame_size)
        largest = largest_of(candidates)
        assert largest is not None
        last = last_one[1]
        away = shift(last, candidates)
        here = (away <= SAME_SCENE_SHIFT[2]) & (zoom(last, candidates) <= SAME_FACE_ZOOM)
        if self._new_scene:
            here &= candidates[:, SIZE].prod(axis=1) >= LIKE_THE_LARGEST * largest[SIZE].prod()
        return candidates[np.argmin(np.where(here, away, np.inf))] if here.any() else largest

    def _others(self, frame: int, candidates: Boxes) -> NDArray[np.bool_]:
        """Which of the faces (n, 8) are those of people who were beside the one that is lost; (n,)."""
        others = np.zeros(len(candidates), dtype=bool)
        if not self._new_scene:
            others[list(pair_up(self._rivals, frame, candidates, may_stay=True))] = True
            return others
        # A cut that leaves another face quite where it was is none: something has covered a part of the picture.
        for path in self._rivals:
            there = path.at(frame)
            others |= (shift(there, candidates) <= STEADY_SHIFT) & (zoom(there, candidates) <= STEADY_ZOOM)
        return others

    def _see_others(self, frame: int, seen: Boxes, *, own: Box | None = None) -> None:
        """Take note of where those beside it are; of who is new there, too, where it is known who is not."""
        faces = seen if own is None else seen[(seen != own).any(axis=1)]
        pairs = pair_up(self._rivals, frame, faces, may_stay=own is None)
        for i, box in enumerate(faces):
            if i in pairs:
                self._rivals[pairs[i]].see(frame, box)
            elif own is not None:
                self._rivals.append(FacePath(frame, box, pace_over=self._max_gap))

    def _start(self, frame: int, box: Box, seen: Boxes) -> None:
        """Follow this one of the faces seen. If he was beside the last one, he is not his own rival from here on, but
        where he stands before that one's place and may hide him.
        """
        self._pass_until(frame)
        self._n_segments += 1
        self.boxes.append(box)
        self.segments.append(self._n_segments)
        own = {k for i, k in pair_up(self._rivals, frame, seen, may_stay=True).items() if (seen[i] == box).all()}
        if self._recent_end is None and self._previous is None and self._last_end is not None:
            # A newcomer's rival comes back after him, and not with him, a little later seen: as scenes fade in.
            self._previous = self._last_end if own else (frame + self._memory, self._last_end[1])
        own = set() if self._last_end is not None and shift(self._last_end[1], box[None])[0] < HIDING else own
        self._rivals = [path for k, path in enumerate(self._rivals) if not self._new_scene and k not in own]
        previous = self._previous
        if self._new_scene or (previous and may_be_same(previous[1], box[None], self._memory)[0]):
            self._previous = None
        self._target = FacePath(frame, box, pace_over=self._max_gap)
        self._last, self._new_scene = (frame, box), False

    def _extend(self, frame: int, box: Box, *, contested: bool) -> None:
        assert self._last is not None and self._target is not None
        last_frame, last_box = self._last
        hidden = {missed.frame for missed in self._missed if missed.hidden or missed.elsewhere}
        for between in range(last_frame + 1, frame + 1):
            part = (between - last_frame) / (frame - last_frame)
            self.boxes.append(NOBODY if between in hidden else last_box + part * (box - last_box))
            self.segments.append(0 if between in hidden else self._n_segments)
        self._last, self._missed = (frame, box), []
        if not contested:
            self._target.see(frame, box)

    def _give_back(self, frame: int, box: Box) -> None:
        """Let whoever had the words before the one in this box follow from the next frame on, if he is back."""
        for k, path in enumerate(self._rivals):
            previous = self._previous
            if previous and path.last[0] == frame and path.has_come_back(*previous, self._memory):
                self._rivals[k] = FacePath(frame, box, pace_over=self._max_gap)
                self._recent_end, self._last, self._previous = path.last, None, None

    def _end_and_replay(self) -> None:
        """The face did not come back: let the track end where it was last seen, and follow what was there since."""
        assert self._last is not None
        missed, self._missed, self._recent_end, self._last = self._missed, [], self._last, None
        self._last_end = self._recent_end
        # Who came up where he stands just before is of the next scene, which the last one has dissolved into.
        self._rivals = [path for path in self._rivals if not path.came_up(self._recent_end[0])]
        for one in missed:
            self._observe(one.frame, one.faces)

    def _end_track(self) -> None:
        while self._last is not None:
            self._end_and_replay()

    def _pass_until(self, frame: int) -> None:
        missing = frame - len(self.boxes)
        self.boxes += [NOBODY] * missing
        self.segments += [0] * missing

    def _match(self, frame: int, faces: Detections) -> Match:
        assert self._last is not None and self._target is not None
        last_frame, last = self._last
        seen = centred(faces)
        costs, claims = unlikeness(self._target.at(frame), seen), claims_of(self._rivals, frame, seen)
        near = np.flatnonzero(may_be_same(last, seen, frame - last_frame))
        for i in near[np.argsort(costs[near])]:
            if costs[i] - claims[i] <= TOLD_APART:
                return Match(seen[i], contested=bool(claims[i] - costs[i] < TOLD_APART))
        return Match(hidden=near.size > 0)

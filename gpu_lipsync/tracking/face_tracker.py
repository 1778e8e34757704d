"""One box per source frame, from sampled detections.

Streaming with bounded look-ahead: frames go in as they are decoded, boxes come out when nothing that follows can
change them.
"""

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from gpu_lipsync.decoding.frame_layout import RGB, FrameLayout
from gpu_lipsync.errors import ConfigError, FaceNotFoundError
from gpu_lipsync.face_config import MIN_BOX_PX, FaceConfig
from gpu_lipsync.models.face_mesh import FaceMesh
from gpu_lipsync.models.wav2lip import FACE_SIZE
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.heads import Heads, Pose
from gpu_lipsync.pasting.mouth_fit import NO_FIT, Fit
from gpu_lipsync.tracking.association import FaceFollower
from gpu_lipsync.tracking.detection import DetectionStream, Detector
from gpu_lipsync.tracking.face_paths import likely
from gpu_lipsync.tracking.head_tilt import HeadTilts
from gpu_lipsync.tracking.mouth_finder import MouthFinder
from gpu_lipsync.tracking.mouth_fits import MouthFits, is_cut_off
from gpu_lipsync.tracking.scene_cuts import is_cut, look_ahead
from gpu_lipsync.tracking.smoothing import BoxSmoother
from gpu_lipsync.tracking.tracked_box import Detections

MAX_GAP_S = 0.25  # a face missed for no longer is thought to be there all the same
LOOKS_APART_S = 0.12  # at a mouth: three in a row would all see the one sound that a shot begins with
MEMORY_S = 1.0  # a face hidden for no longer is not followed by another's that was beside it
SIZE_WINDOW_S = 0.5
SIGHTS_S = 0.5  # at the mouth, from a frame on, that say where it is: three looks at the usual stride

NO_FACE = Rect(0, 0, 0, 0)


class _Track(NamedTuple):
    """What is final about the face of a frame, as `Heads` has it."""

    box: Rect
    fit: Fit = NO_FIT
    pose: Pose | None = None
    scene: int = 0
    tilt: float = 0.0


class FaceTracker:
    """Boxes for a stream of frames.

    Between two detections that agree the box moves on a straight line; else the frames between are detected too.

    Frames are held, by reference, from the last decided detection on: at most one push and `look_ahead(fps)` +
    `det_stride` × (`det_batch_size` + 1). On a CPU `det_batch_size` is 4 at most; batches under way, two on
    CUDA, hold no more frames together than fit 256 MiB. A `det_stride` above 5 is cut to what fits 256 MiB; below 25
    frames a second it is shorter. `n_ready` trails by 0.5 s or a stronger smoothing's half window (not at all
    where nothing is smoothed and mouths are not looked for), and by 0.25 s more while a face is missed.

    Attributes:
        frames_without_face: ready frames that have none, or whose box is none.
        frames_cut_off: of those, the ones whose face has its mouth at an edge of the frame or beyond.
        tilts: how the faces that were followed lie.
    """

    def __init__(
        self,
        detector: Detector | None,
        config: FaceConfig,
        *,
        mesh: FaceMesh | None = None,
        fps: float = 25.0,
        layout: FrameLayout = RGB,
    ) -> None:
        """Follow faces through a clip.

        Args:
            detector: None where the config gives the box.
            config: how.
            mesh: the landmark network that finds mouths; by default they are where the detector sees them.
            fps: of the clip.
            layout: how its frames lie in memory.

        Raises:
            ValueError: no detector, and the config gives no box.
        """
        if detector is None and not config.has_box:
            raise ValueError("a detector is needed unless the box is given")
        self.frames_without_face, self.frames_cut_off, self.tilts, self._lost_to_pads = 0, 0, HeadTilts(), ""
        self._config, self._layout = config, layout
        self._frame_size, self._finished = (0, 0), False
        self._tracks: list[_Track] = []
        self._mouths, self._mouth_fits = MouthFinder(mesh, layout), MouthFits()
        self._look_ahead, self._looks_apart = look_ahead(fps), round(LOOKS_APART_S * fps)
        self._last_look = 0, 0  # its segment and frame
        self._changed = 0.0  # the picture, up to the last frame that is ready
        self._detections: DetectionStream | None = None
        if detector is not None and not config.has_box:
            self._detections = DetectionStream(
                detector,
                stride=config.stride(fps),
                batch_size=config.det_batch_size,
                look_ahead=self._look_ahead,
                layout=layout,
            )
        self._samples: deque[tuple[int, Detections]] = deque()  # detected, not yet fed to the follower
        self._last_sample = -1
        self._cut_off = 0  # the last frame's segment, if its face's mouth is beyond the frame's edge
        self._follower = FaceFollower(max_gap=round(MAX_GAP_S * fps), memory=round(MEMORY_S * fps))
        self._smoother = BoxSmoother(half_window=config.half_window(fps), size_window=round(SIZE_WINDOW_S * fps))
        self._reach = max(self._smoother.look_ahead, 0 if mesh is None else round(SIGHTS_S * fps))

    @property
    def n_ready(self) -> int:
        """Boxes of source frames [0, n_ready) are final."""
        return len(self._tracks)

    @property
    def n_cuts(self) -> int:
        """Scene changes so far."""
        return self._follower.n_cuts

    def push(self, frames: Tensor) -> None:
        """Take the next frames.

        Args:
            frames: (B, ...) uint8 in the layout given, on the detector's device; consecutive, all of one size.

        Raises:
            FaceNotFoundError: the box given lies outside the frame, or all but a sliver of it.
        """
        assert not self._finished, "push after finish"
        self._frame_size = self._follower.frame_size = self._layout.size(frames)
        if self._detections is None:
            self._tracks += [_Track(self._given_box())] * len(frames)
            return
        self._detections.push(frames)
        self._advance()

    def finish(self) -> None:
        """No more frames: decide the rest.

        Raises:
            ConfigError: negative pads leave nothing of any face.
        """
        if self._finished:
            return
        self._finished = True
        if self._detections is not None and self._detections.n_pushed:
            self._detections.finish()
            self._advance()
            self._detections.release(self._detections.n_pushed)
        if self._lost_to_pads and self.frames_without_face == self.n_ready:
            raise ConfigError(f"pads {self._config.pads} leave nothing of {self._lost_to_pads}; take less away")

    def heads(self, start: int, stop: int) -> Heads:
        """The final ones of source frames [start, stop); their scenes are numbers, 0 where there is no face or the box
        is given.

        Raises:
            IndexError: not all that is asked for is ready.
        """
        if not 0 <= start <= stop <= self.n_ready:
            raise IndexError(f"heads [{start}, {stop}) of {self.n_ready} that are ready")
        tracks = self._tracks[start:stop]
        return Heads(
            boxes=torch.tensor([track.box for track in tracks], dtype=torch.int64).reshape(-1, 4),
            fits=torch.tensor([track.fit for track in tracks], dtype=torch.int64).reshape(-1, 3),
            poses=tuple(track.pose for track in tracks),
            scenes=tuple(track.scene for track in tracks),
            frames=tuple(range(start, stop)),
            tilts=torch.tensor([track.tilt for track in tracks], dtype=torch.float64),
        )

    def _advance(self) -> None:
        """Feed what has been detected to the follower, and place the boxes that cannot change any more."""
        detections = self._detections
        assert detections is not None
        self._samples += detections.results(all_of_them=self._finished)
        while self._samples and (self._finished or self._samples[0][0] + self._look_ahead < len(detections.changes)):
            self._feed(*self._samples.popleft(), detections)
        if self._finished:
            self._follower.close(detections.n_pushed)
        detections.release(self._last_sample + 1)
        n_final = len(self._follower.boxes) - (0 if self._finished else self._reach)
        for frame in range(self.n_ready, n_final):
            self._changed += detections.changes[frame]
            self._tracks.append(self._place(frame))

    def _feed(self, sample: int, faces: Detections, detections: DetectionStream) -> None:
        between = range(self._last_sample + 1, sample)
        may_cut = any(is_cut(detections.changes, i, self._look_ahead, flash=True) for i in (*between, sample))
        if between and (may_cut or not self._follower.agrees(sample, faces)):
            for frame, seen in zip(between, detections.look(between), strict=True):
                self._follow(frame, seen, detections)
        self._follow(sample, faces, detections)
        self._last_sample = sample

    def _follow(self, frame: int, faces: Detections, detections: DetectionStream) -> None:
        no_face = not likely(faces).any()
        self._follower.feed(frame, faces, cut=is_cut(detections.changes, frame, self._look_ahead, flash=no_face))
        followed = self._follower.followed(frame)
        if followed is not None:
            self.tilts.see(followed[1])
            segment, last = self._last_look
            if followed[0] != segment or frame - last >= self._looks_apart:
                self._last_look = followed[0], frame
                self._mouths.look(detections.held(frame), *followed, frame=frame)

    def _place(self, frame: int) -> _Track:
        segment = self._follower.segments[frame]
        if not segment:
            self.frames_without_face += 1
            return _Track(NO_FACE)
        placed = self._smoother.place(self._follower.boxes, self._follower.segments, frame)
        known = frame + self._reach  # and no later, even if later ones have come: as it would be, pushed one by one
        whole = placed._replace(mouth=self._mouths.corrected(placed.mouth, placed.corners, segment, known=known))
        seen, was = whole.trimmed(self._frame_size), self._cut_off == segment
        where, tilt = whole.mouth_in_frame, whole.tilt
        gone = is_cut_off(whole.corners, where, self._frame_size, shown=seen.corners, tilt=tilt, was=was)
        self._cut_off = segment if gone else 0
        box, mouth, _ = whole.padded(self._config.pads).trimmed(self._frame_size)
        if gone or min(box.width, box.height) < MIN_BOX_PX:
            self.frames_without_face, self.frames_cut_off = self.frames_without_face + 1, self.frames_cut_off + gone
            if not gone and min(self._config.pads) < 0:
                self._lost_to_pads = f"the {whole.corners.width}x{whole.corners.height} face in frame {frame}"
            return _Track(NO_FACE)
        x, y = (mouth[0] - box.x1) * FACE_SIZE / box.width, (mouth[1] - box.y1) * FACE_SIZE / box.height
        half_mouth = self._mouths.half_width(segment, known=known) * whole.corners.width
        fit = self._mouth_fits.fit(box, mouth, half_mouth, segment)
        return _Track(box, fit, Pose(x, y, self._changed), segment, tilt)

    def _given_box(self) -> Rect:
        top, bottom, left, right = self._config.box
        box = self._clip(Rect(left, top, right, bottom))
        if min(box.width, box.height) < MIN_BOX_PX:
            height, width = self._frame_size
            where = f"has only {box.width}x{box.height} px in" if box != NO_FACE else "lies outside"
            raise FaceNotFoundError(
                f"box {self._config.box} {where} the {width}x{height} frame; give top bottom left right in its pixels"
            )
        return box

    def _clip(self, box: Rect) -> Rect:
        """To the frame; NO_FACE if nothing is left."""
        height, width = self._frame_size
        x1, y1, x2, y2 = max(0, box.x1), max(0, box.y1), min(width, box.x2), min(height, box.y2)
        return Rect(x1, y1, x2, y2) if x2 > x1 and y2 > y1 else NO_FACE

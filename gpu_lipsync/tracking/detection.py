"""Detections of every n-th frame of a stream, and a second look at any frame still held.

The detector and the scene changes run where the frames are. Their results come to the host in one copy per detection
batch, and with CUDA that copy is read when the next batch is under way.
"""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gpu_lipsync.decoding.frame_layout import RGB, FrameLayout, box_scale
from gpu_lipsync.models.box_voting import CANDIDATE_SCORE, vote
from gpu_lipsync.models.face_detector import network_size
from gpu_lipsync.process.device import HostCopy
from gpu_lipsync.tracking.face_paths import likely
from gpu_lipsync.tracking.scene_cuts import LEAST_LOOK_AHEAD, SAMPLES, SceneChanges
from gpu_lipsync.tracking.tracked_box import Detections, Floats

FINE_SIDE_PX = 640  # resolution at which a frame is looked at again when no face is found
SMALL = 0.1  # of the frame's longer side: a face of this height is seen without, too (from a fifteenth on)
# Of frames at once: those of a clip that is shown again; those from one that is looked at to the next; those of the
# batches under way.
HELD_BYTES = 256 << 20
_USUAL_STRIDE = 5  # however large frames are, memory never makes the stride shorter than this
CPU_BATCH = 4  # larger ones only overflow the CPU's caches and lengthen the look-ahead


class Detector(Protocol):
    """What is needed of a face detector; see CenterFace."""

    long_side_px: int

    def candidates(self, frames: Tensor, *, long_side_px: int | None = None) -> Tensor:
        """(B, 3, H, W) uint8 to (B, K, 15) on the same device, without a look at the values."""
        ...


@dataclass(frozen=True)
class _Batch:
    frames: range
    fine: bool  # looked at at FINE_SIDE_PX
    candidates_shape: tuple[int, ...]
    copy: HostCopy  # the candidates, then the scene changes known by then, flat


class DetectionStream:
    """Takes frames in order; gives the faces of every `stride`-th, in order.

    Holds references to the frames given until `release`; nothing is copied.

    Attributes:
        changes: scene change of each frame known so far, as SceneChanges gives it.
        n_pushed: frames taken so far.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        stride: int,
        batch_size: int,
        look_ahead: int = LEAST_LOOK_AHEAD,
        layout: FrameLayout = RGB,
    ) -> None:
        """A frame's faces are held back until the scene changes of the `look_ahead` frames after it are known."""
        self.changes: list[float] = []
        self.n_pushed = 0
        self._detector = detector
        self._stride, self._look_ahead = stride, look_ahead
        self._batch_size = self._at_once = batch_size
        self._layout = layout
        self._fine = False  # a face is small: look at FINE_SIDE_PX from the start
        self._all_small = False  # the faces of the last frame looked at
        self._looked_fine: dict[int, bool] = {}  # by sample, of those not released
        self._found: list[tuple[int, Detections]] = []
        self._size = (0, 0)
        self._scenes = SceneChanges()
        self._new_changes: list[Tensor] = []
        self._held: deque[tuple[int, Tensor]] = deque()  # number of the first, frames
        self._next_sample = 0
        self._under_way: deque[_Batch] = deque()

    def push(self, frames: Tensor) -> None:
        """Take frames (B, ...) uint8; detect when a batch is full."""
        if not self.n_pushed:
            self._stride = min(self._stride, max(_USUAL_STRIDE, HELD_BYTES // frames[0].numel()))
        first, self.n_pushed = self.n_pushed, self.n_pushed + len(frames)
        self._size = self._layout.size(frames)
        self._held.append((first, frames))
        self._new_changes.append(self._scenes.update(self._layout.sampled(frames, SAMPLES)))
        batch_size = self._at_once = min(self._batch_size, self._most_at_once(frames))
        # A frame is due when the changes that tell whether a scene begins there can come over with its faces.
        while self._next_sample + self._stride * (batch_size - 1) + self._look_ahead < self.n_pushed:
            self._submit(range(self._next_sample, self._next_sample + self._stride * batch_size, self._stride))
            self._next_sample += self._stride * batch_size

    def _most_at_once(self, frames: Tensor) -> int:
        """Every frame up to the last batch under way is held, of which there are two on CUDA."""
        at_once = HELD_BYTES // (self._stride * frames[0].numel())
        return max(1, at_once // 2 if frames.is_cuda else min(at_once, CPU_BATCH))

    def finish(self) -> None:
        """Detect what is left, the very last frame included."""
        left = range(self._next_sample, self.n_pushed, self._stride)
        for first in range(0, len(left), self._at_once):
            self._submit(left[first : first + self._at_once])
        last = self.n_pushed - 1
        if last % self._stride:
            self._submit(range(last, last + 1))

    def results(self, *, all_of_them: bool = False) -> list[tuple[int, Detections]]:
        """Frame numbers and faces, (n, 15), that have come in since the last call; waits for all but one batch."""
        self._take(all_of_them=all_of_them)
        found, self._found = self._found, []
        return found

    def _take(self, *, all_of_them: bool) -> None:
        while self._under_way and (all_of_them or len(self._under_way) > 1 or self._under_way[0].copy.is_there()):
            batch = self._under_way.popleft()
            values = batch.copy.wait()
            n_values = int(np.prod(batch.candidates_shape))
            self.changes += values[n_values:].tolist()
            faces = _vote(values[:n_values].reshape(batch.candidates_shape))
            fine = (
                [True] * len(faces) if batch.fine else self._look_closer(batch.frames, faces, all_small=self._all_small)
            )
            self._fine = any(self._has_small(seen) for seen, closely in zip(faces, fine, strict=True) if closely)
            self._all_small = self._has_small(faces[-1]) and not self._has_large(faces[-1])
            self._looked_fine |= dict(zip(batch.frames, fine, strict=True))
            self._found += zip(batch.frames, faces, strict=True)

    def look(self, frames: range) -> list[Detections]:
        """Faces of the given frames, now, in batches, looked at as the sample after them; each must still be held."""
        fine = self._looked_fine.get(frames.stop, False)
        seen: list[Detections] = []
        for start in range(frames.start, frames.stop, self._at_once):
            part = range(start, min(start + self._at_once, frames.stop))
            faces = _vote(HostCopy(self._candidates(part, fine=fine)).wait())
            if not fine:
                self._look_closer(part, faces)
            seen += faces
        return seen

    def held(self, frame: int) -> Tensor:
        """One of the frames still held, (1, ...)."""
        return self._gather(range(frame, frame + 1))

    def release(self, frame: int) -> None:
        """Let go of the frames before this one."""
        while self._held and self._held[0][0] + len(self._held[0][1]) <= frame:
            self._held.popleft()
        self._looked_fine = {sample: fine for sample, fine in self._looked_fine.items() if sample >= frame}

    def _submit(self, frames: range) -> None:
        candidates = self._candidates(frames, fine=self._fine)
        packed = torch.cat((candidates.flatten(), *self._new_changes))
        self._new_changes = []
        self._under_way.append(_Batch(frames, self._fine, tuple(candidates.shape), HostCopy(packed)))
        if not candidates.is_cuda:  # how the next ones are looked at follows from these, however many have been pushed
            self._take(all_of_them=True)

    def _candidates(self, frames: range, *, fine: bool) -> Tensor:
        """Of frames that are held, in their own pixels."""
        long_side_px = FINE_SIDE_PX if fine else None
        held = self._gather(frames)
        size = self._layout.size(held)
        seen = self._layout.reduced(held, network_size(*size, long_side_px or self._detector.long_side_px))
        candidates = self._detector.candidates(seen, long_side_px=long_side_px)
        seen_size = (int(seen.shape[2]), int(seen.shape[3]))
        if seen_size == size:
            return candidates
        return candidates * box_scale(seen_size, size, candidates.shape[2], candidates.device)

    def _gather(self, frames: range) -> Tensor:
        parts = []
        for first, held in self._held:
            start = max(0, -(-(first - frames.start) // frames.step)) * frames.step + frames.start - first
            stop = min(len(held), frames.stop - first)
            if start < stop:
                parts.append(held[start : stop : frames.step])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _look_closer(self, frames: range, faces: list[Detections], *, all_small: bool = False) -> list[bool]:
        """Look again at full resolution where a fast look found nothing, or only large faces though the last ones were
        `all_small`: somebody has come beside one whom it misses. What it finds goes into `faces`.

        Returns:
            Which of them it has looked at; where that found a small face, it is kept to while there is one.
        """
        closely, found = [False] * len(frames), False
        for i, frame in enumerate(frames if self._detector.long_side_px < FINE_SIDE_PX else ()):
            closely[i] = not likely(faces[i]).any() or ((all_small or found) and not self._has_small(faces[i]))
            if closely[i]:
                one = _vote(HostCopy(self._candidates(range(frame, frame + 1), fine=True)).wait())[0]
                # A track goes on with what is hardly likely, too: not taken away unless there is better.
                faces[i] = one if likely(one).any() or not len(faces[i]) else faces[i]
                found = found or self._has_small(one)
            all_small = self._has_small(faces[i]) and not self._has_large(faces[i])
        return closely

    def _has_small(self, faces: Detections) -> bool:
        """Whether a likely one of the faces (n, 15) is so small that a fast look may miss it."""
        return bool((self._heights(faces) < SMALL * max(self._size)).any())

    def _has_large(self, faces: Detections) -> bool:
        return bool((self._heights(faces) >= SMALL * max(self._size)).any())

    def _heights(self, faces: Detections) -> Floats:
        some = faces[likely(faces)].astype(np.float64)
        return some[:, 3] - some[:, 1]


def _vote(candidates: Tensor) -> list[Detections]:
    return [faces.numpy() for faces in vote(candidates, min_score=CANDIDATE_SCORE)]

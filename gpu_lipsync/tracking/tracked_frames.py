"""Source frames with their heads, lined up with the output: decoded, followed and brought along in a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import torch
from torch import Tensor

from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.models import FaceMesh
from gpu_lipsync.ops import upload
from gpu_lipsync.pasting.heads import Heads
from gpu_lipsync.process.cores import use_one_core
from gpu_lipsync.process.device import staged, taken_over
from gpu_lipsync.process.threads import prefetch
from gpu_lipsync.report import Report
from gpu_lipsync.timeline import Timeline
from gpu_lipsync.tracking.detection import Detector
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.video import Video

T = TypeVar("T")

_READY_AHEAD = 2  # batches


def tracked_frames(
    video: Video, timeline: Timeline, tracker: FaceTracker, report: Report, *, hold_bytes: int = 0
) -> Generator[tuple[range, Tensor, Heads], None, None]:
    """Decode the clip once per pass of the timeline and line up frames with their heads, in a thread of its own.

    A clip whose frames fit `hold_bytes` is decoded once, however often it is shown: a short one under long speech, as
    avatars have, would spend more on it than on the mouths.

    Yields:
        Consecutive output frames, at most a batch: their indices, frames (n, ...) uint8 that are the caller's to
        change, and their heads, whose scenes are those of their pass.
    """
    first, size = timeline.source[0], report.batch_size
    passes = tuple(timeline.passes())
    held = HeldFrames(hold_bytes if len(passes) > 1 else 0)
    decoded = _decoded(video, timeline, passes, size, tracker, report, held)
    with closing(prefetch(staged(decoded, video.device), depth=_READY_AHEAD, initializer=use_one_core)) as coming:
        for (i, batch), frames in taken_over(_timed(coming, "waiting for frames", report)):
            report.n_source_frames = max(report.n_source_frames, batch.stop - first)
            heads = tracker.heads(batch.start - first, batch.stop - first).in_pass(i)
            shown = timeline.showing(passes[i], batch)
            for start in range(shown.start, shown.stop, size):
                part = range(start, min(start + size, shown.stop))
                picks = [timeline.source[k] - batch.start for k in part]
                yield part, _pick(frames, picks, shared=len(shown) != len(batch)), heads.picked(picks)
            del frames  # here and in what it came through: else it would be kept until the next one has come


class HeldFrames:
    """The frames of a clip's first pass, as they were decoded, if all of them fit."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._batches = most_bytes, list[tuple[range, Tensor]]()
        self.fit = False  # known from the first batch on; once the pass is over, whether they are here

    def kept(self, decoded: Iterable[tuple[range, Tensor]], n_frames: int) -> Iterator[tuple[range, Tensor]]:
        """The same batches, n_frames in all, of each of which a copy stays here: whoever gets them may change them."""
        for batch, frames in decoded:
            self.fit = n_frames * frames[0].nbytes <= self._most_bytes
            if self.fit:
                self._batches.append((batch, frames.clone()))
            yield batch, frames
            del frames

    def batches(self, sources: range) -> Iterator[tuple[range, Tensor]]:
        """Consecutive source frames, copies again, in the batches that they came in."""
        for batch, frames in self._batches:
            part = range(max(batch.start, sources.start), min(batch.stop, sources.stop))
            if part:
                yield part, frames[part.start - batch.start : part.stop - batch.start].clone()


def _decoded(
    video: Video,
    timeline: Timeline,
    passes: Sequence[range],
    size: int,
    tracker: FaceTracker,
    report: Report,
    held: HeldFrames,
) -> Iterator[tuple[tuple[int, range], Tensor]]:
    """The source frames of each pass, tracked in the first. The next begins while the last one's are being used.

    A clip without any face is not played again: there is nothing to change in it.
    """
    for i, outputs in enumerate(passes):
        if i and tracker.frames_without_face == tracker.n_ready:
            return
        sources = range(timeline.source[outputs.start], timeline.source[outputs.stop - 1] + 1)
        again = bool(i) and held.fit
        batches = _timed(held.batches(sources) if again else video.batches(sources, size), "decode", report)
        if not i:
            batches = held.kept(_track(batches, tracker, report, sources.start), len(sources))
        for batch, frames in batches:
            yield (i, batch), frames
            del frames


def _track(
    decoded: Iterator[tuple[range, Tensor]], tracker: FaceTracker, report: Report, first: int
) -> Iterator[tuple[range, Tensor]]:
    """Hold frames back until their boxes are final: a bounded number, set by the tracker's look-ahead."""
    waiting: deque[tuple[range, Tensor]] = deque()
    for batch, frames in decoded:
        with report.timed("faces"):
            tracker.push(frames)
        waiting.append((batch, frames))
        del frames
        while waiting and waiting[0][0].stop - first <= tracker.n_ready:
            yield waiting.popleft()
    with report.timed("faces"):
        tracker.finish()
    yield from waiting


def _timed(items: Iterator[T], stage: str, report: Report) -> Iterator[T]:
    """The same items; what each takes to come counts for the stage."""
    while True:
        with report.timed(stage):
            item = next(items, None)
        if item is None:
            return
        yield item
        del item


def _pick(frames: Tensor, picks: list[int], *, shared: bool) -> Tensor:
    """The frames picked, copied if they are `shared` with other picks."""
    if not shared and picks == list(range(len(frames))):
        return frames
    return frames[upload(torch.tensor(picks), frames.device)]  # as interleaved as they are; index_select is not


def track_faces(
    frames: Iterable[Tensor],
    detector: Detector | None,
    config: FaceConfig,
    *,
    mesh: FaceMesh | None = None,
    fps: float = 25.0,
) -> Heads:
    """The heads of a whole clip at once; `frames` are batches of (B, 3, H, W) uint8 RGB."""
    tracker = FaceTracker(detector, config, mesh=mesh, fps=fps)
    for batch in frames:
        tracker.push(batch)
    tracker.finish()
    return tracker.heads(0, tracker.n_ready)

"""Frames lined up with what is known of them, in every pass."""

import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.frame_layout import RGB
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.pasting.heads import Heads, Pose
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.tracked_frames import tracked_frames
from gpu_lipsync.video import Video, open_video
from tests.clips import write_clip
from tests.reports import fresh_report


class Numbered:
    """A tracker whose answers say which frame they are about."""

    n_ready = frames_without_face = 0

    def push(self, frames: Tensor) -> None:
        self.n_ready += len(frames)

    def finish(self) -> None:
        pass

    def heads(self, start: int, stop: int) -> Heads:
        if not 0 <= start <= stop <= self.n_ready:
            raise IndexError(f"heads [{start}, {stop}) of {self.n_ready}")
        numbers = torch.arange(start, stop)[:, None]
        return Heads(
            boxes=numbers.expand(-1, 4),
            fits=numbers.expand(-1, 3),
            poses=tuple(Pose(float(i), 0.0) for i in range(start, stop)),
            scenes=tuple(range(start, stop)),
            frames=tuple(range(start, stop)),
            tilts=numbers[:, 0].double(),
        )


def test_what_is_known_of_a_frame_goes_with_it(tmp_path: Path) -> None:
    """At an uneven rate: frames that are left out, held, and shown again as the clip repeats."""
    path = write_clip(tmp_path / "a.mkv", n_frames=8, pts=[0, 40, 80, 120, 240, 400, 440, 480])
    passes: list[int] = []
    with open_video(path, FrameConfig()) as video:
        timeline = video.timeline(30)
        tracker = cast(FaceTracker, Numbered())
        for outputs, frames, heads in tracked_frames(video, timeline, tracker, fresh_report(4)):
            source = list(timeline.source[outputs.start : outputs.stop])
            numbers, scenes = zip(*cast(tuple[tuple[int, int], ...], heads.scenes), strict=True)
            known: list[Any] = [
                heads.boxes[:, 0].tolist(),
                heads.fits[:, 1].tolist(),
                list(scenes),
                list(heads.frames),
                heads.tilts.tolist(),
            ]
            assert known == [source] * 5 and [pose and int(pose.x) for pose in heads.poses] == source
            assert len(frames) == len(heads) == len(source)
            passes += numbers
    assert passes == [i for i, part in enumerate(timeline.passes()) for _ in part] and passes[-1] >= 1


def test_what_comes_before_the_first_frame_shown_is_not_counted(tmp_path: Path) -> None:
    """The second comes on screen 5 ms after the first, which has no output frame: the tracker never sees it."""
    path = write_clip(tmp_path / "a.mkv", n_frames=8, pts=[0, 5, 40, 80, 120, 160, 200, 240])
    report = fresh_report(4)
    with open_video(path, FrameConfig()) as video:
        timeline = video.timeline(12)
        assert timeline.source[0] == 1
        for outputs, frames, heads in tracked_frames(video, timeline, cast(FaceTracker, Numbered()), report):
            seen_by_the_tracker = [source - 1 for source in timeline.source[outputs.start : outputs.stop]]
            assert heads.boxes[:, 0].tolist() == list(heads.frames) == seen_by_the_tracker
            assert len(frames) == len(seen_by_the_tracker)
    assert report.n_source_frames == 7


@pytest.mark.parametrize("batch_size", [2, 4])
def test_a_batch_is_the_caller_s_to_change(batch_size: int, tmp_path: Path) -> None:
    """A frame that is held comes in several: what is made of it in one must not be seen in the next."""
    path = write_clip(tmp_path / "a.mkv", n_frames=8, pts=[0, 40, 80, 120, 240, 400, 440, 480])
    n_black = n_seen = 0
    with open_video(path, FrameConfig()) as video:
        tracker, report = cast(FaceTracker, Numbered()), fresh_report(batch_size)
        for _, frames, _ in tracked_frames(video, video.timeline(30), tracker, report):
            n_black += sum(not frame.any() for frame in frames)
            n_seen += len(frames)
            frames.zero_()
    assert (n_seen, n_black) == (30, 0)


@pytest.mark.parametrize("static", [True, False])
def test_what_shows_a_single_frame_says_so(static: bool, tmp_path: Path) -> None:
    """In any number of batches; the generator looks at such a face once (test_generate.py)."""
    path = write_clip(tmp_path / "a.mp4", n_frames=20)
    config = FaceConfig(box=(20, 90, 20, 90))
    with open_video(path, FrameConfig(static=static)) as video:
        tracker = FaceTracker(None, config)
        shown = tracked_frames(video, video.timeline(20), tracker, fresh_report(8))
        assert [(len(heads), heads.of_one_frame()) for _, _, heads in shown] == [(8, static), (8, static), (4, static)]


class Faceless(Numbered):
    """A tracker that finds nobody."""

    def push(self, frames: Tensor) -> None:
        super().push(frames)
        self.frames_without_face = self.n_ready


@pytest.mark.parametrize(("kind", "n_shown"), [(Numbered, 30), (Faceless, 8)])
def test_a_clip_without_a_face_is_played_once(tmp_path: Path, kind: type[Numbered], n_shown: int) -> None:
    """However long the sound is: what is shown of it is not written in the end (test_flags.py)."""
    path = write_clip(tmp_path / "a.mp4", n_frames=8)
    with open_video(path, FrameConfig()) as video:
        coming = tracked_frames(video, video.timeline(30), cast(FaceTracker, kind()), fresh_report(4))
        assert sum(len(frames) for _, frames, _ in coming) == n_shown


def test_a_batch_that_is_done_with_is_let_go_before_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all that it passes through, in both threads: on a GPU each that is kept is 100 MB of 1080p."""
    made: list[weakref.ref[Tensor]] = []
    asked_for = threading.Semaphore()
    left_over: list[int] = []

    class Source:
        name, layout = "made up", RGB

        def batches(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
            for first in range(start, stop, size):
                assert asked_for.acquire(timeout=60)
                deadline = time.monotonic() + 5  # the other thread may not have gone on yet
                while any(batch() is not None for batch in made) and time.monotonic() < deadline:
                    time.sleep(0.01)
                left_over.append(sum(batch() is not None for batch in made))
                batch = torch.zeros(min(size, stop - first), 3, 96, 128, dtype=torch.uint8)
                made.append(weakref.ref(batch))
                yield batch
                del batch

    monkeypatch.setattr("gpu_lipsync.video.edit", lambda frames, *_: frames)
    with open_video(write_clip(tmp_path / "a.mp4", n_frames=20), FrameConfig()) as video:
        monkeypatch.setattr(video, "_decoder", Source())
        coming = tracked_frames(video, video.timeline(20), cast(FaceTracker, Numbered()), fresh_report(4))
        for _, frames, _ in coming:
            del frames
            asked_for.release()
    assert left_over == [0] * 5


def test_frames_that_are_picked_stay_as_interleaved_as_they_are(tmp_path: Path) -> None:
    """Stages that follow would copy planes: here frames of a clip at an uneven rate, which are left out and held."""
    path = write_clip(tmp_path / "a.mkv", n_frames=8, pts=[0, 40, 80, 120, 240, 400, 440, 480])
    with open_video(path, FrameConfig()) as video:
        tracker = cast(FaceTracker, Numbered())
        for _, frames, _ in tracked_frames(video, video.timeline(30), tracker, fresh_report(4)):
            assert frames.permute(0, 2, 3, 1).is_contiguous()


def test_a_short_clip_under_long_speech_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And shown as if it were decoded each time, whatever has been made of the frames that were given before."""
    path = write_clip(tmp_path / "a.mp4", n_frames=11)
    read: list[range] = []
    batches = Video.batches

    def counted(video: Video, frames: range, size: int) -> Iterator[tuple[range, Tensor]]:
        read.append(frames)
        return batches(video, frames, size)

    monkeypatch.setattr(Video, "batches", counted)

    def shown(hold_bytes: int) -> list[tuple[range, Tensor]]:
        read.clear()
        out = []
        with open_video(path, FrameConfig(), as_decoded=True) as video:
            timeline, tracker = video.timeline(37), cast(FaceTracker, Numbered())
            for outputs, frames, heads in tracked_frames(
                video, timeline, tracker, fresh_report(4), hold_bytes=hold_bytes
            ):
                assert heads.boxes[:, 0].tolist() == list(timeline.source[outputs.start : outputs.stop])
                out.append((outputs, frames.clone()))
                frames.zero_()
        return out

    frame_bytes = 96 * 3 // 2 * 128
    once, n_once = shown(11 * frame_bytes), len(read)
    each_time, n_each_time = shown(11 * frame_bytes - 1), len(read)
    assert (n_once, n_each_time) == (1, 4)
    assert [outputs for outputs, _ in once] == [outputs for outputs, _ in each_time]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(once, each_time, strict=True))

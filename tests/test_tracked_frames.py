"""Frames lined up with what is known of them, in every pass."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.heads import Heads, Pose
from gpu_lipsync.tracked_frames import tracked_frames
from gpu_lipsync.tracking import FaceTracker
from gpu_lipsync.video import open_video
from tests.clips import write_clip
from tests.reports import fresh_report


class Numbered:
    """A tracker whose answers say which frame they are about."""

    n_ready = 0

    def push(self, frames: Tensor) -> None:
        self.n_ready += len(frames)

    def finish(self) -> None:
        pass

    def heads(self, start: int, stop: int) -> Heads:
        numbers = torch.arange(start, stop)[:, None]
        return Heads(
            boxes=numbers.expand(-1, 4),
            fits=numbers.expand(-1, 3),
            poses=tuple(Pose(float(i), 0.0) for i in range(start, stop)),
            scenes=tuple(range(start, stop)),
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
            known: list[Any] = [heads.boxes[:, 0].tolist(), heads.fits[:, 1].tolist(), list(scenes)]
            assert known == [source] * 3 and [pose and int(pose.x) for pose in heads.poses] == source
            assert len(frames) == len(heads) == len(source)
            passes += numbers
    assert passes == [i for i, part in enumerate(timeline.passes()) for _ in part] and passes[-1] >= 1

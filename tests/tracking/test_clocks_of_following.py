"""What following waits for is told in seconds, whatever the clip's rate: faces missed, and who is remembered."""

import numpy as np
import pytest

from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.tracking.face_tracker import FaceTracker
from tests.scripted_faces import NO_PADS, Face, ScriptedDetector, scripted_frames, sizes
from tests.tracking.test_several_faces import OTHER, OWN


def frames_without_face(script: list[list[Face]], *, fps: float, det_stride: int) -> int:
    tracker = FaceTracker(ScriptedDetector(script), FaceConfig(pads=NO_PADS, det_stride=det_stride), fps=fps)
    tracker.push(scripted_frames(len(script)))
    tracker.finish()
    return tracker.frames_without_face


@pytest.mark.parametrize(
    ("fps", "n_missed", "bridged"), [(10.0, 2, True), (10.0, 3, False), (50.0, 12, True), (50.0, 13, False)]
)
def test_misses_are_bridged_for_a_quarter_of_a_second(fps: float, n_missed: int, bridged: bool) -> None:
    script = [[] if 30 <= i < 30 + n_missed else [OWN] for i in range(75)]
    assert frames_without_face(script, fps=fps, det_stride=1) == (0 if bridged else n_missed)


@pytest.mark.parametrize("fps", [12.0, 50.0])
def test_who_is_lost_is_remembered_for_a_second(fps: float) -> None:
    """Then the one beside is followed."""
    script = [[OWN, OTHER]] * 40 + [[OTHER]] * 80
    assert frames_without_face(script, fps=fps, det_stride=5) == round(fps)


def test_sizes_hold_still_by_half_a_second_to_each_side() -> None:
    """A face that breathes, as in test_the_size_holds_still, at 100 frames a second."""
    fps, n_frames = 100.0, 301
    breathing = [1 + 0.06 * np.sin(i / fps * 25 / 3) for i in range(n_frames)]
    script = [[(200.0, 220.0, 100 * k, 130 * k)] for k in breathing]
    tracker = FaceTracker(ScriptedDetector(script), FaceConfig(pads=NO_PADS), fps=fps)
    tracker.push(scripted_frames(n_frames))
    tracker.finish()
    boxes = tracker.heads(0, n_frames).boxes.numpy().astype(float)
    assert len(sizes(boxes[52:-52])) == 1  # half a second from the ends there is less to know it by

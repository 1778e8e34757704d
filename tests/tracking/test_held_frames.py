"""How many frames are held at once until it is known what becomes of the faces in them."""

import pytest

from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.tracking.face_tracker import FaceTracker
from tests.scripted_faces import ScriptedDetector, batches, scripted_frames, swinging


@pytest.mark.parametrize("det_batch_size", [1, 4, 16])
def test_frames_are_let_go_once_they_are_decided(det_batch_size: int) -> None:
    """Of a long clip all would be held else, gigabytes of them, though boxes come out in time (test_tracking.py)."""
    push, stride, look_ahead = 8, 5, 3
    tracker = FaceTracker(ScriptedDetector(swinging(250)), FaceConfig(det_batch_size=det_batch_size))
    assert tracker._detections is not None
    most = 0
    for batch in batches(scripted_frames(250), push):
        tracker.push(batch)
        most = max(most, sum(len(frames) for _, frames in tracker._detections._held))
    # What the class promises: a push, what cuts are told by, and a detection batch (4 at most on a CPU) and a sample.
    assert push <= most <= push + look_ahead + stride * (min(det_batch_size, 4) + 1)
    tracker.finish()
    assert not tracker._detections._held

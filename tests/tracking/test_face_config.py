"""How often and over how long faces are looked for, in frames of a clip's rate, and the least that is taken."""

import pytest

from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.tracking.tracked_frames import track_faces
from tests.scripted_faces import NO_PADS, Face, scripted_frames, track


def test_detections_are_as_near_in_time_in_slow_clips_and_never_farther_apart_in_frames() -> None:
    """Five frames at 25 a second are 0.2 s, to the nearest frame; of more frames a second each fifth is looked at."""
    strides = {fps: FaceConfig().stride(fps) for fps in (1.0, 10.0, 12.0, 24.0, 25.0, 50.0, 60.0, 120.0)}
    assert strides == {1.0: 1, 10.0: 2, 12.0: 2, 24.0: 5, 25.0: 5, 50.0: 5, 60.0: 5, 120.0: 5}


@pytest.mark.parametrize(
    ("config", "half_window"),
    [
        (FaceConfig(smooth=False), 0),
        (FaceConfig(), 6),  # 0.25 s
        (FaceConfig(temporal_smooth=True), 10),  # one and a half times as long and a frame, of 3 / 2
        (FaceConfig(temporal_smooth=True, smooth=False), 10),  # which does not need the other
        (FaceConfig(temporal_smooth=True, smooth_mode="medium", smooth_window=5), 14),  # twice, and two
        (FaceConfig(temporal_smooth=True, smooth_mode="strong"), 20),  # three times, and one
    ],
)
def test_how_far_boxes_are_smoothed(config: FaceConfig, half_window: int) -> None:
    """At 25 frames a second."""
    assert config.half_window(25.0) == half_window


def test_a_face_of_sixteen_pixels_is_one() -> None:
    """Given or found: the least that the generator is fed with."""
    boxes = track_faces([scripted_frames(4)], None, FaceConfig(box=(0, 16, 0, 16))).boxes
    assert boxes.tolist() == [[0, 0, 16, 16]] * 4
    for side, has_box in ((16.0, True), (15.0, False)):
        face: Face = (240.0, 240.0, side, side)
        found, tracker = track([[face]] * 20, config=FaceConfig(pads=NO_PADS))
        assert found.any(axis=1).all() == has_box and tracker.frames_without_face == (0 if has_box else 20)

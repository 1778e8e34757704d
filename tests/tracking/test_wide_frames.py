"""Frames wider than high, as most are: a height that is taken for a width is seen, which in squares it is not."""

import pytest

from gpu_lipsync.errors import FaceNotFoundError
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.tracking.tracked_frames import track_faces
from tests.scripted_faces import NO_PADS, Face, ScriptedDetector, scripted_frames

N_FRAMES = 20


def boxes_in_wide_frames(faces: list[Face], config: FaceConfig) -> list[list[int]]:
    """The boxes, each once, of frames 480 wide and 240 high that all show these faces."""
    frames = scripted_frames(N_FRAMES)[:, :, :240]
    detector = None if config.has_box else ScriptedDetector([faces] * N_FRAMES)
    boxes: list[list[int]] = track_faces([frames], detector, config).boxes.unique(dim=0).tolist()
    return boxes


def test_the_largest_face_speaks_on_the_right_of_a_wide_frame_as_well() -> None:
    """Where in one as wide as high it would have its mouth outside, and the smaller one would be chosen."""
    faces: list[Face] = [(400.0, 120.0, 80.0, 104.0), (100.0, 120.0, 60.0, 78.0)]
    assert boxes_in_wide_frames(faces, FaceConfig(pads=NO_PADS)) == [[360, 68, 440, 172]]


@pytest.mark.parametrize(
    ("face", "box"),
    [
        ((440.0, 60.0, 100.0, 130.0), [390, 0, 480, 125]),  # 10 px of it are beyond the right edge, 5 above the frame
        ((240.0, 185.0, 100.0, 130.0), [190, 120, 290, 240]),  # 10 px below it
    ],
)
def test_boxes_end_at_each_edge_of_a_wide_frame(face: Face, box: list[int]) -> None:
    assert boxes_in_wide_frames([face], FaceConfig(pads=NO_PADS)) == [box]


def test_a_given_box_ends_at_each_edge_of_a_wide_frame() -> None:
    assert boxes_in_wide_frames([], FaceConfig(box=(20, 300, 300, 900))) == [[300, 20, 480, 240]]
    with pytest.raises(FaceNotFoundError, match="lies outside the 480x240"):
        boxes_in_wide_frames([], FaceConfig(box=(250, 400, 300, 400)))

"""Mouths at or beyond the frame's edge get no mask, which could only lie on the nose or the cheek."""

import numpy as np
import pytest

from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.models import load_face_detector, load_face_mesh
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.tilted import rotated
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.mouth_fits import is_cut_off
from gpu_lipsync.tracking.tracked_frames import track_faces
from tests.scripted_faces import Face, ScriptedDetector, scripted_frames, track
from tests.talkers import sample_frame


@pytest.mark.parametrize(
    ("whole", "mouth", "cut_off"),
    [
        ((100, 100, 200, 220), (150, 190), False),
        ((100, 150, 200, 290), (150, 215), False),  # the chin is gone, the mouth is not
        ((100, 150, 200, 290), (150, 230), True),
        ((100, 150, 200, 290), (150, 260), True),
        ((-60, 100, 40, 220), (5, 190), True),
        ((-60, 100, 40, 220), (20, 190), False),
        ((270, 100, 370, 220), (296, 190), True),
        ((100, -60, 200, 40), (150, 20), False),  # above nothing of the mouth is lost
        ((100, -80, 200, 40), (150, 5), True),  # but of the face that it is pasted in all but the chin
    ],
)
def test_a_mouth_beyond_the_frame_s_edge_is_none(
    whole: tuple[int, int, int, int], mouth: tuple[float, float], cut_off: bool
) -> None:
    """In a frame of 300 x 240. A mask for it would lie on the nose, or half on the cheek."""
    shown = Rect(max(0, whole[0]), max(0, whole[1]), min(300, whole[2]), min(240, whole[3]))
    assert is_cut_off(Rect(*whole), mouth, (240, 300), shown=shown, tilt=0.0, was=False) == cut_off


@pytest.mark.parametrize(
    ("middle", "tilt", "cut_off"),
    [
        ((150, 120), 90.0, False),
        ((30, 120), 90.0, True),  # its chin is at the left edge
        ((30, 120), -90.0, False),  # its forehead is
        ((150, 30), 180.0, True),  # at the upper edge, upside down
        ((150, 210), 180.0, False),
        ((150, 230), 54.0, True),
        ((100, 190), 54.0, False),  # the cheek is cut, the mouth is 40 px above the edge
    ],
)
def test_of_a_tilted_head_every_edge_may_cut_the_mouth_off(
    middle: tuple[float, float], tilt: float, cut_off: bool
) -> None:
    """A face of 100 x 140, its mouth 0.7 down, in a frame of 300 x 240."""
    x, y = middle
    whole = Rect(round(x - 50), round(y - 70), round(x + 50), round(y + 70))
    down = rotated(np.array([0.0, 28.0]), tilt)
    mouth = x + float(down[0]), y + float(down[1])
    assert is_cut_off(whole, mouth, (240, 300), shown=whole, tilt=tilt, was=False) == cut_off


@pytest.mark.parametrize("was", [False, True])
@pytest.mark.parametrize(
    ("face", "shown", "edge", "share"),
    [  # of a face that is cut off there by half: how near the edge its mouth may be, of what is seen of it
        (Rect(-60, 100, 40, 220), Rect(0, 100, 40, 220), "left", 0.18),
        (Rect(260, 100, 360, 220), Rect(260, 100, 300, 220), "right", 0.18),
        (Rect(100, -60, 200, 60), Rect(100, 0, 200, 60), "top", 0.27),
        (Rect(100, 180, 200, 300), Rect(100, 180, 200, 240), "bottom", 0.13),
    ],
)
def test_how_near_each_edge_a_mouth_may_be(face: Rect, shown: Rect, edge: str, share: float, was: bool) -> None:
    """Once it was gone, 0.03 more is needed on every side, or a mouth would come and go with a pixel of noise."""
    side = shown.width if edge in ("left", "right") else shown.height
    limit = (share + 0.03 * was) * side
    for near, gone in ((limit - 0.3, True), (limit + 0.3, False)):
        mouth = {
            "left": (near, 170.0),
            "right": (300 - near, 170.0),
            "top": (150.0, near),
            "bottom": (150.0, 240 - near),
        }
        assert is_cut_off(face, mouth[edge], (240, 300), shown=shown, tilt=0.0, was=was) == gone


def test_a_corner_of_a_tilted_box_beyond_the_edge_is_no_part_of_the_face() -> None:
    """Faces are ellipses in their boxes, which at 45 degrees reach a quarter less far than their corners."""
    face = Rect(50, 70, 150, 170)  # in the middle of it a circle of 50 px
    for beyond, gone in ((52, False), (48, True)):
        moved = Rect(beyond - 50, 70, beyond + 50, 170)
        assert is_cut_off(moved, (4.0, 120.0), (240, 300), shown=face, tilt=45.0, was=False) == gone


def test_a_mouth_that_was_gone_has_to_come_back_by_more() -> None:
    def gone(below: float, *, was: bool) -> bool:
        face, shown = Rect(100, 150, 200, 290), Rect(100, 150, 200, 240)
        return is_cut_off(face, (150, below), (240, 300), shown=shown, tilt=0.0, was=was)

    at = {below: [gone(below, was=was) for was in (False, True)] for below in (222, 227, 230)}
    assert at == {222: [False, False], 227: [False, True], 230: [True, True]}


def test_a_close_up_whose_chin_leaves_the_frame_gets_no_mouth_on_its_nose() -> None:
    """The sample cut off ever higher: its mouth is at row 276."""
    picture = sample_frame()
    for bottom, has_face in ((400, True), (330, True), (284, False)):
        tracker = FaceTracker(load_face_detector(), FaceConfig(), mesh=load_face_mesh())
        tracker.push(picture[:, :, :bottom].contiguous())
        tracker.finish()
        assert tracker.heads(0, 1).with_face() == ([0] if has_face else [])
        assert tracker.frames_without_face == (not has_face)


def test_a_mouth_that_bobs_at_the_edge_does_not_come_and_go() -> None:
    """Over the line that it goes at by up to 4 px either way, and never by what it has to come back."""
    heights = 442 + 4 * np.sin(2 * np.pi * np.arange(200) / 20)
    boxes, _ = track([[(240.0, y, 100.0, 130.0)] for y in heights])
    assert not np.diff(boxes.any(axis=1)).any()


@pytest.mark.parametrize("y", [20.0, 30.0])
def test_a_head_on_its_side_at_the_upper_edge_keeps_its_mouth(y: float) -> None:
    """Half of the cheek is beyond it; of an upright head so high up all but the chin would be."""
    face: Face = (240.0, y, 140.0, 100.0, 90.0)
    heads = track_faces([scripted_frames(20)], ScriptedDetector([[face]] * 20), FaceConfig())
    assert heads.with_face() == list(range(20)) and (heads.tilts > 70).all()

"""What a followed face's frames are given: places when it moves fast, sizes in a zoom, poses, fits, and small boxes."""

import numpy as np
import pytest
import torch

from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.mouth_finder import MouthFinder
from gpu_lipsync.tracking.smoothing import Point
from tests.heads import held_still
from tests.scripted_faces import NO_PADS, PLACE, Face, ScriptedDetector, centres, scripted_frames, sizes, track

FACE: Face = (200.0, 220.0, 100.0, 130.0)
SIZE = float(np.sqrt(100 * 130))


@pytest.mark.parametrize(("moved", "n_without"), [(0.4, 0), (0.55, 5)])
def test_a_face_missed_for_longer_may_have_moved_farther(moved: float, n_without: int) -> None:
    """By a quarter of its size at once and a twentieth more each frame, up to half: 0.5 after five and more."""
    away: Face = (200 + moved * SIZE, 220.0, 100.0, 130.0)
    script = [[FACE] if i <= 30 else [away] if i >= 36 else [] for i in range(61)]
    boxes, tracker = track(script)
    assert tracker.frames_without_face == n_without
    assert (boxes[:20, 2] == 250).all() and (boxes[50:, 2] == round(250 + moved * SIZE)).all()


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("moved", [0.29, 0.35, 0.4, 0.45, 0.49, 0.52, 0.6])
def test_a_face_that_jumps_is_where_it_is_seen(moved: float, smooth: bool) -> None:
    """As calls that freeze do; it is plainly there, though too far off to be known at once for the same."""
    away = 200 + moved * SIZE
    script = [[FACE] if i < 52 else [(away, 220.0, 100.0, 130.0)] for i in range(101)]
    boxes, tracker = track(script, config=FaceConfig(pads=NO_PADS, smooth=smooth))
    assert tracker.frames_without_face == 0
    off = np.abs(centres(boxes)[:, 0] - [faces[0][0] for faces in script])
    # A jump that counts as motion is smoothed over, by half of its height at most.
    assert off.max() <= (1 if moved > 0.3 or not smooth else 0.15 * SIZE)


@pytest.mark.parametrize(("fps", "period_s"), [(25.0, 1.0), (12.0, 1.0), (10.0, 1.0), (6.0, 1.2), (5.0, 1.0)])
def test_a_head_that_sways_is_followed_at_any_rate(fps: float, period_s: float) -> None:
    """Every fifth frame of a slow clip is a whole sway away, and looks as if nothing had moved."""
    n = round(8 * fps)
    x = 200 + 12 * np.sin(2 * np.pi * np.arange(n) / (fps * period_s) + 0.3)
    detector = ScriptedDetector([[(at, 220.0, 100.0, 130.0)] for at in x])
    tracker = FaceTracker(detector, FaceConfig(pads=NO_PADS), fps=fps)
    tracker.push(scripted_frames(n))
    tracker.finish()
    off = np.abs(centres(tracker.heads(0, n).boxes.numpy().astype(float))[:, 0] - x)
    assert (
        off[2:-2].max() < 3.5 and len(detector.seen) < 8 * 25 / 5 * 1.6
    )  # of 24 px; some frames between are seen, too


@pytest.mark.parametrize("pads", [(0, 0, 20, 20), (0, 0, 50, 50), (0, 0, 200, 200), (200, 0, 0, 0)])
def test_pads_take_no_mouth_away(pads: tuple[int, int, int, int]) -> None:
    """A face that the picture holds, near its left edge and its bottom."""
    face: Face = (52.0, 413.0, 100.0, 130.0)
    tracker = FaceTracker(ScriptedDetector([[face]] * 30), FaceConfig(pads=pads))
    tracker.push(scripted_frames(30))
    tracker.finish()
    assert tracker.frames_without_face == 0


@pytest.mark.parametrize(("zoom", "looked_between"), [(1.2, False), (1.4, True)])
def test_a_quick_zoom_is_looked_at_in_every_frame(zoom: float, looked_between: bool) -> None:
    """One of a quarter or less between two samples is a straight line exactly enough."""
    near: Face = (200.0, 220.0, 100 * zoom, 130 * zoom)
    detector = ScriptedDetector([[FACE] if i < 32 else [near] for i in range(61)])
    tracker = FaceTracker(detector, FaceConfig(pads=NO_PADS))
    tracker.push(scripted_frames(61))
    tracker.finish()
    assert ({31, 32, 33, 34} <= set(detector.seen)) is looked_between


def test_a_zoom_is_followed_in_steps_that_nobody_sees() -> None:
    """In and out twice, with three per cent of noise. A mouth generated in another size is another mouth."""
    rng = np.random.default_rng(0)
    zoom = 1.15 - 0.15 * np.cos(np.arange(301) * 2 * np.pi / 150)
    script = [[(240.0, 240.0, 150 * k * n, 195 * k * n)] for k, n in zip(zoom, rng.normal(1, 0.03, 301), strict=True)]
    boxes, _ = track(script)
    size = boxes[:, 2:] - boxes[:, :2]
    steps = np.abs(np.diff(np.log(size), axis=0))
    # A hundredth, of the noise that two neighbouring half seconds do not share a half more, and a pixel of rounding.
    assert steps.max() <= 0.015 + 1 / 150
    ratio = size / (np.array([150, 195]) * zoom[:, None])
    assert ratio.min() > 1 / 1.09 and ratio.max() < 1.09  # held within 5 %, which is found over a second of noise


def test_a_new_size_is_that_of_the_frames_to_come() -> None:
    """Of half a second: a face first seen a little too large would be held at that."""
    script: list[list[Face]] = [[(200.0, 220.0, 108.0, 140.0)], *([FACE] for _ in range(60))]
    boxes, _ = track(script, config=FaceConfig(pads=NO_PADS, det_stride=1))
    assert sizes(boxes) == {(100.0, 130.0)}


def test_poses_add_up_how_much_the_picture_has_changed() -> None:
    """By NumPy's means of the frames, each a level brighter than the one before."""
    frames = scripted_frames(61)
    frames[:, :, 2:] += torch.arange(61, dtype=torch.uint8)[:, None, None, None]
    tracker = FaceTracker(ScriptedDetector([[FACE]] * 61), FaceConfig(pads=NO_PADS))
    tracker.push(frames)
    tracker.finish()
    means = frames[:, :, 2:].numpy().mean((1, 2, 3))
    expected = np.concatenate(([0], np.abs(np.diff(means)).cumsum()))
    changed = [pose.changed for pose in tracker.heads(0, 61).poses if pose is not None]
    # The frame's number, in two pixels of 96 x 96 that are looked at, may add or take a little.
    np.testing.assert_allclose(changed, expected, atol=0.7)


def test_a_mouth_s_width_is_a_part_of_the_face_and_not_of_its_pads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MouthFinder, "half_width", lambda *_, **__: 0.2)
    tracker = FaceTracker(ScriptedDetector([[FACE]] * 11), FaceConfig(pads=(0, 0, 30, 30)))
    tracker.push(scripted_frames(11))
    tracker.finish()
    assert (tracker.heads(0, 11).fits[:, 2] == round(0.2 * 100 / 160 * 96)).all()


def test_a_mask_s_place_in_a_new_scene_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds still for less than 0.75 of the box's 96 px: 1.6 px would be 1 after 1.4, and is 2 by itself."""
    right = {1: 1.4, 2: 1.6}  # by segment

    def corrected(_: MouthFinder, mouth: Point, box: Rect, segment: int, *, known: int) -> Point:
        return mouth[0] + right[segment] * box.width / 96, mouth[1]

    monkeypatch.setattr(MouthFinder, "corrected", corrected)
    _, after_another = track([[FACE]] * 40, cuts=[20])
    right[1] = 1.6
    _, alone = track([[FACE]] * 20)
    both, second = after_another.heads(0, 40).fits, alone.heads(0, 20).fits
    assert (both[:20, 0] == 1).all() and (second[:, 0] == 2).all()
    assert torch.equal(both[20:], second)


@pytest.mark.parametrize(("score", "n_without"), [(0.55, 0), (0.45, 30)])
def test_a_face_is_one_from_a_score_of_a_half_on(score: float, n_without: int) -> None:
    _, tracker = track([[FACE]] * 30, scores=dict.fromkeys(range(30), score))
    assert tracker.frames_without_face == n_without


def test_a_box_is_large_enough_from_sixteen_pixels_on() -> None:
    boxes = torch.tensor([[0, 0, 16, 16], [0, 0, 15, 40], [0, 0, 16, 40], [0, 0, 40, 15], [0, 0, 0, 0]])
    assert held_still(boxes).with_face() == [0, 2]


def test_who_comes_up_as_a_scene_dissolves_is_followed_at_once() -> None:
    """A dissolve is no cut, and both are seen in its midst; who was beside the lost one is kept out for a second."""
    coming: Face = (290.0, 220.0, 100.0, 130.0)
    script = [[FACE]] * 26 + [[FACE, coming]] * 5 + [[coming]] * 50
    boxes, tracker = track(script)
    assert tracker.frames_without_face == 0
    assert (boxes[:26] == PLACE).all() and (boxes[-30:] == [240, 155, 340, 285]).all()


@pytest.mark.parametrize("n_inserted", [1, 2, 3])
def test_no_mouth_stands_on_an_insert_between_two_scenes(n_inserted: int) -> None:
    """Its two edges are as high as each other; the next scene's face is near enough to be taken for the last one's."""
    coming: Face = (220.0, 230.0, 120.0, 150.0)
    script = [[FACE]] * 31 + [[]] * n_inserted + [[coming]] * 40
    boxes, tracker = track(script, cuts=[31, 31 + n_inserted])
    assert (boxes[:31] == PLACE).all(), "the first scene's boxes know nothing of the second's"
    assert not boxes[31 : 31 + n_inserted].any() and tracker.frames_without_face == n_inserted
    assert (boxes[31 + n_inserted :] == [160, 155, 280, 305]).all()


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_a_short_shot_of_somebody_elsewhere_has_no_mouth_where_he_is_not(n_frames: int) -> None:
    """Too short for a scene, and for a track: it passes as it is, and who was followed before is afterwards."""
    script = [[FACE]] * 31 + [[(380.0, 160.0, 80.0, 100.0)]] * n_frames + [[FACE]] * 40
    boxes, tracker = track(script, cuts=[31, 31 + n_frames])
    assert not boxes[31 : 31 + n_frames].any() and tracker.frames_without_face == n_frames
    assert (np.delete(boxes, range(31, 31 + n_frames), axis=0) == PLACE).all()

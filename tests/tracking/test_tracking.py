"""Tracking on clips whose faces are known, since their detections are written down."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync.errors import ConfigError, FaceNotFoundError
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.scene_cuts import look_ahead
from gpu_lipsync.tracking.smoothing import local_fit
from gpu_lipsync.tracking.tracked_frames import track_faces
from tests.scripted_faces import (
    NO_PADS,
    PLACE,
    Face,
    ScriptedDetector,
    batches,
    best_lag,
    centres,
    scripted_frames,
    sizes,
    swinging,
    track,
)


def test_no_lead_and_no_lag_on_a_known_motion() -> None:
    truth = np.array([faces[0][:2] for faces in swinging(201, noise_px=0)])
    script = swinging(201)
    boxes, _ = track(script)
    assert best_lag(centres(boxes), truth) == 0
    # 2 % of the face's width: a straight line over five frames cuts up to 3 px off the turn of so wide a swing; 1 px of
    # noise and the whole pixels, 0.75 px until an edge moves, are below that.
    assert np.sqrt(((centres(boxes) - truth) ** 2).mean(0)).max() < 2.0
    # The measure can tell: the predecessor's mean over the five sampled boxes from a frame's own on runs ahead.
    sampled = np.array([faces[0][:2] for faces in script])[::5]
    ahead = np.array([sampled[i // 5 : i // 5 + 5].mean(0) for i in range(201)])
    assert -10 <= best_lag(ahead, truth) <= -6


def test_jitter_is_a_fraction_of_the_detections() -> None:
    boxes, _ = track(swinging(201))
    jitter = np.abs(np.diff(centres(boxes), 2, axis=0)).max(1) / 130
    assert np.median(jitter) <= 0.01
    unsmoothed = np.array([faces[0][:2] for faces in swinging(201)])
    assert np.median(np.abs(np.diff(unsmoothed, 2, axis=0)).max(1) / 130) > 0.01


@pytest.mark.parametrize("push", [1, 7, 64])
@pytest.mark.parametrize("det_batch_size", [1, 16])
def test_boxes_do_not_depend_on_how_frames_arrive(push: int, det_batch_size: int) -> None:
    script = swinging(120)
    script[43:77] = [[]] * 34
    expected, _ = track(script, cuts=[100])
    config = FaceConfig(pads=NO_PADS, det_batch_size=det_batch_size)
    np.testing.assert_array_equal(track(script, cuts=[100], push=push, config=config)[0], expected)


class ShortSightedDetector(ScriptedDetector):
    """Without being told to look at full resolution it sees a face in few frames, as one for CPUs does small ones."""

    long_side_px = 384

    def candidates(self, frames: Tensor, *, long_side_px: int | None = None) -> Tensor:
        found = super().candidates(frames, long_side_px=long_side_px)
        seen = torch.tensor([long_side_px == 640 or i % 4 == 0 < i for i in self.seen[-len(frames) :]])
        return found * seen[:, None, None]


@pytest.mark.parametrize("push", [1, 16])
def test_small_faces_are_found_however_frames_arrive(push: int) -> None:
    """One push submits several batches, before the first of them has told that the face is small."""
    config = FaceConfig(pads=NO_PADS, det_stride=1)
    tracker = FaceTracker(ShortSightedDetector([[FACE]] * 48), config, fps=4)  # so that no miss is bridged
    for batch in batches(scripted_frames(48), push):
        tracker.push(batch)
    tracker.finish()
    assert tracker.frames_without_face == 0
    assert tracker.heads(0, 48).boxes.tolist() == [PLACE] * 48


@pytest.mark.parametrize("det_batch_size", [1, 4, 16])
def test_look_ahead_is_bounded(det_batch_size: int) -> None:
    """Decided after a detection batch and the next sample; ready half a second (12 frames at 25 fps) later."""
    push, stride = 8, 5
    tracker = FaceTracker(ScriptedDetector(swinging(250)), FaceConfig(det_batch_size=det_batch_size))
    for i, batch in enumerate(batches(scripted_frames(250), push)):
        tracker.push(batch)
        held = min((i + 1) * push, 250) - tracker.n_ready
        assert held <= stride * (min(det_batch_size, 4) + 1) + 3 + push + 12
    assert tracker.n_ready > 200
    with pytest.raises(IndexError):
        tracker.heads(0, 250)


FACE: Face = (200.0, 220.0, 100.0, 130.0)


@pytest.mark.parametrize("first, last", [(13, 38), (0, 1), (10, 20), (58, 63), (0, 63), (62, 63)])
def test_a_box_in_just_the_frames_with_a_face(first: int, last: int) -> None:
    """63 frames, of which every fifth and the last are sampled; faces in [first, last)."""
    script = [[FACE] if first <= i < last else [] for i in range(63)]
    boxes, tracker = track(script)
    np.testing.assert_array_equal(boxes[first:last], np.tile(PLACE, (last - first, 1)))
    assert not boxes[:first].any() and not boxes[last:].any()
    assert tracker.frames_without_face == 63 - (last - first)


@pytest.mark.parametrize("n_missed, bridged", [(1, True), (4, True), (6, True), (7, False), (20, False)])
def test_short_misses_are_bridged(n_missed: int, bridged: bool) -> None:
    """Up to a quarter of a second, 6 frames at 25 fps, wherever they fall among the samples."""
    for start in range(19, 25):
        script = [[] if start <= i < start + n_missed else [FACE] for i in range(61)]
        boxes, tracker = track(script)
        detected = {frame for frame in range(start, start + n_missed) if frame % 5 == 0}
        if detected:  # between two samples nothing is missed
            assert tracker.frames_without_face == (0 if bridged else n_missed), start
        assert (boxes[boxes.any(1)] == PLACE).all()


def test_a_weak_detection_continues_a_track_but_starts_none() -> None:
    weak = {i: 0.4 for i in range(61)}
    assert track([[FACE]] * 61, scores=weak)[1].frames_without_face == 61
    assert track([[FACE]] * 61, scores=weak | {0: 0.9})[1].frames_without_face == 0


@pytest.mark.parametrize("cut", [2, 5, 32, 34, 35, 60])
@pytest.mark.parametrize("other, place", [((260.0, 240.0, 120.0, 150.0), [200, 165, 320, 315]),
                                          ((212.0, 220.0, 100.0, 130.0), [162, 155, 262, 285])])  # fmt: skip
def test_nothing_crosses_a_cut(cut: int, other: Face, place: list[int]) -> None:
    """The faces on both sides overlap, the second pair so much that only the picture tells."""
    boxes, tracker = track([[FACE] if i < cut else [other] for i in range(61)], cuts=[cut])
    np.testing.assert_array_equal(boxes[:cut], np.tile(PLACE, (cut, 1)))
    np.testing.assert_array_equal(boxes[cut:], np.tile(place, (61 - cut, 1)))
    assert tracker.n_cuts == 1


def test_a_jump_without_a_change_of_scene_is_not_smoothed_over() -> None:
    far: Face = (360.0, 300.0, 100.0, 130.0)
    boxes, tracker = track([[FACE] if i < 33 else [far] for i in range(61)])
    np.testing.assert_array_equal(boxes[:33], np.tile(PLACE, (33, 1)))
    np.testing.assert_array_equal(boxes[33:], np.tile([310, 235, 410, 365], (28, 1)))
    assert tracker.n_cuts == 0


def test_a_face_twice_as_large_is_another() -> None:
    """Where the other was: somebody steps in front, and the box does not grow on the way."""
    large: Face = (200.0, 220.0, 200.0, 260.0)
    boxes, _ = track([[FACE] if i < 33 else [large] for i in range(61)])
    np.testing.assert_array_equal(boxes[:33], np.tile(PLACE, (33, 1)))
    np.testing.assert_array_equal(boxes[33:], np.tile([100, 90, 300, 350], (28, 1)))


@pytest.mark.parametrize(("levels", "n_cuts"), [(3, 0), (6, 1)])
def test_jump_cuts_of_one_shot_are_slight(levels: int, n_cuts: int) -> None:
    """They change a thumbnail by 6 to 16 levels at once; less than 4 is any head's."""
    frames, tracker = scripted_frames(61), FaceTracker(ScriptedDetector([[FACE]] * 61), FaceConfig())
    frames[33:, :, 2:] += levels
    tracker.push(frames)
    tracker.finish()
    assert tracker.n_cuts == n_cuts


def test_the_window_of_temporal_smoothing_counts() -> None:
    windows = [FaceConfig(temporal_smooth=True, smooth_window=window).half_window(40.0) for window in (1, 3, 31)]
    assert windows[1] - windows[0] == 1 and windows[2] - windows[0] == 15


def test_a_flash_is_no_cut() -> None:
    boxes, tracker = track([[FACE]] * 61, flashes=[31])
    assert tracker.n_cuts == 0 and tracker.frames_without_face == 0
    assert (boxes == PLACE).all()


@pytest.mark.parametrize(
    ("fps", "times"), [(25.0, 2), (50.0, 4), (60.0, 5), (100.0, 8), (25.0, 4), (30.0, 5), (30.0, 6), (60.0, 12)]
)
def test_cuts_are_cut_even_among_repeated_frames(fps: float, times: int) -> None:
    """A clip of 12 fps stored at 25, 50, ..., or a call of 5: frames repeat, and a motion must not look like a cut."""
    detector = ScriptedDetector([[FACE]] * 61)
    tracker = FaceTracker(detector, FaceConfig(), fps=fps)
    frames = scripted_frames(61, cuts=[40])
    for i in range(61):
        frames[i, :, 2:] += 12 * ((i // times) % 2)  # each move changes all pixels by more than heads ever do
    tracker.push(frames)
    tracker.finish()
    # The first move of all, among frames that repeat for longer than is looked ahead, has nothing to be compared with.
    assert tracker.n_cuts == 1 + (times > look_ahead(fps))


@pytest.mark.parametrize("times", [4, 6, 9])
def test_pictures_that_hold_still_are_cut_from_each_other(times: int) -> None:
    """A montage of photographs: what is looked back for is a move, not the cut before."""
    cuts = range(20, 60, times)
    boxes, tracker = track([[FACE]] * 61, cuts=cuts)
    assert tracker.n_cuts == len(cuts)


def test_the_size_holds_still() -> None:
    breathing = [1 + 0.06 * np.sin(i / 3) for i in range(151)]
    boxes, _ = track([[(200.0, 220.0, 100 * k, 130 * k)] for k in breathing])
    assert len(sizes(boxes[13:-13])) == 1  # half a second from the ends there is less to know it by
    assert len(sizes(boxes)) <= 3
    zoom = np.linspace(1, 2, 151)
    boxes, _ = track([[(240.0, 240.0, 100 * k, 130 * k)] for k in zoom])
    ratio = (boxes[:, 2] - boxes[:, 0]) / (100 * zoom)
    assert ratio.min() > 1 / 1.07 and ratio.max() < 1.07  # held within 5 %, and a pixel of rounding


def test_without_smoothing_boxes_are_the_detections() -> None:
    script = swinging(61)
    boxes, _ = track(script, config=FaceConfig(pads=NO_PADS, smooth=False, det_stride=1))
    expected = np.array([faces[0] for faces in script])
    assert np.abs(centres(boxes) - expected[:, :2]).max() <= 1.01  # two roundings
    coarse, _ = track(script, config=FaceConfig(pads=NO_PADS, smooth=False))
    every_fifth = np.stack([np.interp(np.arange(61), np.arange(0, 61, 5), expected[::5, i]) for i in range(2)], 1)
    still = [i for i in range(5, 56) if abs(expected[i // 5 * 5 + 5, 0] - expected[i // 5 * 5, 0]) < 12]
    assert len(still) > 10  # elsewhere it moves fast, and is looked at in every frame
    assert np.abs(centres(coarse) - every_fifth)[still].max() <= 1.01


def test_temporal_smoothing_is_stronger_and_as_timely() -> None:
    truth = np.array([faces[0][:2] for faces in swinging(201, period=100, noise_px=0)])
    script = swinging(201, period=100, noise_px=3)
    path_lengths = []
    for temporal_smooth, mode in ((False, "medium"), (True, "light"), (True, "medium"), (True, "strong")):
        config = FaceConfig(pads=NO_PADS, temporal_smooth=temporal_smooth, smooth_mode=mode)  # type: ignore[arg-type]
        boxes, _ = track(script, config=config)
        # 3 px of noise on a motion of up to 2.5 px a frame leave the best shift uncertain by one frame.
        assert abs(best_lag(centres(boxes), truth)) <= 1
        path_lengths.append(np.abs(np.diff(centres(boxes)[:, 1])).sum() / np.abs(np.diff(truth[:, 1])).sum())
    assert path_lengths == sorted(path_lengths, reverse=True)
    assert path_lengths[0] > 1.5 and path_lengths[-1] < 1.2  # noise makes a path longer; 1 is the head's own


@pytest.mark.parametrize("before, after", [(6, 6), (0, 6), (6, 0), (2, 6), (1, 1), (0, 1), (0, 0)])
def test_local_fit_is_numpys_weighted_polyfit(before: int, after: int) -> None:
    values = np.random.default_rng(1).normal(size=before + 1 + after)
    offsets = np.arange(-before, after + 1)
    degree = min(2 if before and after else 1, before + after)
    root_weight = np.cos(np.pi / 2 * offsets / 7)  # polyfit squares it: the Hann window
    expected = np.polyval(np.polyfit(offsets, values, degree, w=root_weight), 0)
    np.testing.assert_allclose(local_fit(before, after, 6) @ values, expected, atol=1e-9)


def test_pads_are_added_and_boxes_clipped() -> None:
    config = FaceConfig(pads=(5, 10, 15, 20))
    assert (track([[FACE]] * 11, config=config)[0] == [135, 150, 270, 295]).all()
    at_the_edge: Face = (30.0, 420.0, 100.0, 130.0)
    assert (track([[at_the_edge]] * 11)[0] == [0, 355, 80, 480]).all()
    mouth_beyond_it: Face = (30.0, 460.0, 100.0, 130.0)
    assert not track([[mouth_beyond_it]] * 11)[0].any()
    with pytest.raises(ConfigError, match="pads"):
        track([[FACE]] * 11, config=FaceConfig(pads=(0, 0, -60, -60)))


def test_a_mouth_that_was_gone_says_nothing_of_the_next_face() -> None:
    """Which lies where one that was gone would have to come back by a little more."""
    gone: Face = (300.0, 460.0, 100.0, 130.0)
    near: Face = (150.0, 437.0, 100.0, 130.0)  # its mouth is 0.157 of what is left of its box above the frame's edge
    boxes, _ = track([[gone]] * 20 + [[near]] * 20, cuts=[20])
    assert not boxes[:20].any() and (boxes[20:] == [100, 372, 200, 480]).all()


def test_negative_pads_that_leave_nothing_of_one_face_spare_the_others() -> None:
    """Somebody gets up: of the face above the frame there are only mouth and chin, which the pads cut off."""
    above: Face = (200.0, -10.0, 100.0, 130.0)
    script = [[above] if i >= 30 else [FACE] for i in range(61)]
    boxes, tracker = track(script, cuts=[30], config=FaceConfig(pads=(0, -45, 0, 0)))
    assert (boxes[:30] == [150, 155, 250, 240]).all() and not boxes[30:].any()
    assert tracker.frames_without_face == 31
    sliver, _ = track([[above] if i >= 30 else [FACE] for i in range(61)], cuts=[30])
    assert (sliver[30:] == [150, 0, 250, 55]).all(), "without pads there is something left"


def test_a_given_box_needs_no_detector() -> None:
    frames = batches(scripted_frames(11))
    boxes = track_faces(
        frames, None, FaceConfig(box=(100, 300, 50, 600))
    ).boxes  # top bottom left right; pads are not added
    assert boxes.tolist() == [[50, 100, 480, 300]] * 11
    for box, left in (((500, 600, 0, 100), "lies outside"), ((100, 300, 470, 900), "only 10x200 px in")):
        with pytest.raises(FaceNotFoundError, match=f"{left} the 480x480"):
            track_faces(batches(scripted_frames(1)), None, FaceConfig(box=box))
    with pytest.raises(ValueError, match="detector"):
        FaceTracker(None, FaceConfig())


@pytest.mark.parametrize("wrong", [{"box": (100, 50, 0, 10)}, {"box": (0, 10, -1, 10)}, {"det_stride": 0},
                                   {"det_batch_size": 0}, {"smooth_window": 32}, {"smooth_mode": "soft"},
                                   {"pads": (1, 2, 3)}])  # fmt: skip
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FaceConfig(**wrong)  # type: ignore[arg-type]


def test_no_frames_no_boxes() -> None:
    assert track_faces([], ScriptedDetector([]), FaceConfig()).boxes.shape == (0, 4)

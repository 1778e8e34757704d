"""Whose mouth moves where a picture shows several people."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.models import load_face_detector
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.video import open_video
from tests.scripted_faces import PLACE, Face, centres, track

OWN: Face = (200.0, 220.0, 100.0, 130.0)
OTHER: Face = (340.0, 200.0, 90.0, 110.0)
Place = Callable[[int], float]  # across the picture, by frame


def test_of_several_faces_the_largest_then_the_same() -> None:
    grow = np.linspace(0.6, 1.6, 61)
    boxes, _ = track([[(340.0, 200.0, 90 * k, 110 * k), OWN] for k in grow])  # the other outgrows the followed one
    assert (boxes == PLACE).all()


def test_who_is_hidden_for_a_moment_comes_back() -> None:
    """Longer than misses are bridged (6 frames at 25 a second): nobody is followed meanwhile, and nobody else after."""
    boxes, tracker = track([[OWN, OTHER] if not 40 <= i < 55 else [OTHER] for i in range(101)])
    assert (boxes[:40] == PLACE).all() and (boxes[55:] == PLACE).all()
    assert not boxes[40:55].any() and tracker.frames_without_face == 15


def test_who_was_hidden_for_long_has_the_words_again_once_he_has_been_back() -> None:
    """Looking down at notes, or behind a hand: after a second the other speaks, and a second after he is back, he."""
    boxes, _ = track([[OWN, OTHER]] * 40 + [[OTHER]] * 40 + [[OWN, OTHER]] * 70)
    own = (boxes == PLACE).all(axis=1)
    assert own[:40].all() and own[110:].all() and not own[40:100].any()
    assert boxes[:40].any(axis=1).all() and boxes[66:].any(axis=1).all()


def test_who_was_alone_and_hidden_for_long_has_the_words_again_from_who_came_in_meanwhile() -> None:
    """A presenter turns to the board, somebody comes in, the presenter turns back."""
    boxes, _ = track([[OWN]] * 40 + [[]] * 40 + [[OTHER]] * 30 + [[OWN, OTHER]] * 70)
    own = (boxes == PLACE).all(axis=1)
    assert own[:40].all() and own[140:].all() and not own[40:130].any()
    assert np.abs(centres(boxes)[84:130, 0] - 340).max() < 3


def test_after_a_long_cutaway_faces_of_like_size_do_not_change_places() -> None:
    """A pixel of the detector's noise is no reason to give the other the words."""
    own, other = (150.0, 220.0, 100.0, 130.0), (340.0, 220.0, 99.0, 129.0)
    grown = (340.0, 220.0, 101.0, 131.0)
    boxes, _ = track([[own, other]] * 40 + [[]] * 50 + [[own, grown]] * 40, cuts=[40, 90])
    assert np.abs(centres(boxes)[90:, 0] - 150).max() < 3


@pytest.mark.parametrize(
    "cut_off",
    [
        (500.0, 220.0, 160.0, 200.0),
        (-20.0, 220.0, 160.0, 200.0),
        (150.0, 440.0, 160.0, 200.0),
        (150.0, -34.0, 160.0, 200.0),  # above the frame but for mouth and chin
    ],
)
def test_the_largest_face_does_not_speak_where_its_mouth_is_outside(cut_off: Face) -> None:
    """A shoulder shot's foreground, say; whoever shows his mouth does."""
    boxes, tracker = track([[cut_off, (330.0, 160.0, 90.0, 110.0)]] * 40)
    assert tracker.frames_without_face == 0 and np.abs(centres(boxes)[:, 0] - 330).max() < 3


def test_a_place_that_nobody_took_the_words_from_is_nobody_s() -> None:
    """One fades to black, another fades in elsewhere, with a smaller face where the first was."""
    smaller: Face = (205.0, 215.0, 80.0, 100.0)
    new: Face = (360.0, 220.0, 100.0, 130.0)
    for later in (0, 1, 8):  # frames, until the smaller one is seen as well
        boxes, _ = track([[OWN]] * 40 + [[]] * 40 + [[new]] * later + [[new, smaller]] * (70 - later))
        assert np.abs(centres(boxes)[80:, 0] - 360).max() < 3


def test_who_was_close_beside_all_along_has_not_come_back() -> None:
    """Cheek to cheek with the one who bends down; the third, larger, has the words till then."""
    cheek: Face = (245.0, 225.0, 80.0, 104.0)
    third: Face = (380.0, 220.0, 96.0, 125.0)
    boxes, _ = track([[OWN, third, cheek]] * 40 + [[third, cheek]] * 70)
    assert np.abs(centres(boxes)[70:, 0] - 380).max() < 3


@pytest.mark.parametrize("pace", [4, 8, 12])
def test_who_only_passes_where_one_was_does_not_get_his_words(pace: float) -> None:
    passing = [(pace * (i - 80), 220.0, 100.0, 130.0) for i in range(80, 150)]
    script = [[OWN, OTHER]] * 40 + [[OTHER]] * 40 + [[face, OTHER] if face[0] < 270 else [OTHER] for face in passing]
    boxes, _ = track(script)
    assert np.abs(centres(boxes)[66:, 0] - 340).max() < 3


@pytest.mark.parametrize("pace", [0, 0.5, 1, 2, 4])
def test_who_takes_over_may_move(pace: float) -> None:
    """The other had a way of his own while he was beside: to him it is nobody's else."""
    alone = [[(340.0 - pace * max(0, i - 50), 200.0, 90.0, 110.0)] for i in range(33, 121)]
    boxes, tracker = track([[OWN, OTHER]] * 33 + alone)
    assert tracker.frames_without_face == 25 and boxes[58:].any(axis=1).all()
    assert np.abs(centres(boxes)[64:-6, 0] - [faces[0][0] for faces in alone[31:-6]]).max() < 10


def test_where_the_other_walks_meanwhile_it_is_the_other_still() -> None:
    walking = [(340.0 - 4 * i, 200.0, 90.0, 110.0) for i in range(25)]  # to where the followed one is hidden, nearly
    script = [[OWN, OTHER]] * 40 + [[face] for face in walking[:20]] + [[OWN]] * 41
    boxes, _ = track(script)
    assert not boxes[40:60].any() and (boxes[60:] == PLACE).all()


def crossing(own: Place, other: Place, *, own_in_front: bool, n_frames: int = 101) -> list[list[Face]]:
    """Two who are where these say; who is behind is not seen while their faces overlap by two fifths and more."""
    script = []
    for i in range(n_frames):
        mine, theirs = (own(i), 220.0, 100.0, 130.0), (other(i), 212.0, 95.0, 122.0)
        front, back = (mine, theirs) if own_in_front else (theirs, mine)
        script.append([front] if abs(mine[0] - theirs[0]) < 58 else [front, back])
    return script


@pytest.mark.parametrize("pace", range(20, 45, 2))
def test_who_hurries_past_in_front_does_not_take_the_words(pace: int) -> None:
    """A fifth of his size a frame: seen in four frames, one after the other, before he hides the other."""
    mine: Face = (240.0, 240.0, 150.0, 190.0)
    script: list[list[Face]] = []
    for i in range(80):
        passer: Face = (-60.0 + pace * (i - 20), 235.0, 150.0, 190.0)
        there = 0 <= passer[0] < 480
        script.append([passer] if there and abs(passer[0] - 240) < 87 else [mine, passer] if there else [mine])
    boxes, _ = track(script)
    hidden = [i for i in range(80) if mine not in script[i]]
    beside = [i for i in range(80) if i not in hidden]
    off = np.abs(boxes - [165, 145, 315, 335]).max(axis=1)
    assert len(hidden) in range(4, 10) and off[beside].max() <= 16  # nearer than a tenth of its size none can be told
    assert not off[: hidden[0] - 6].any() and not off[hidden[-1] + 7 :].any()


def walk(start: float, pace: float) -> Place:
    """From the tenth frame on."""
    return lambda i: start + pace * max(0, i - 10)


@pytest.mark.parametrize("phase", range(8))
@pytest.mark.parametrize(("sway", "period"), [(12, 30), (15, 30), (20, 50)])
def test_who_sways_beside_and_is_back_first_does_not_take_the_words(sway: float, period: float, phase: int) -> None:
    """Both are hidden for a while. Moved on by the pace of a sway he would be far away, and a newcomer where he is."""
    script: list[list[Face]] = []
    for i in range(121):
        beside = (340 + sway * np.sin(2 * np.pi * (i / period + phase / 8)), 240.0, 95.0, 124.0)
        script.append([OWN] * (not 36 <= i < 52) + [beside] * (not 30 <= i < 46))
    boxes, _ = track(script)
    seen = boxes.any(axis=1)
    assert np.abs(centres(boxes)[seen, 0] - 200).max() < 10 and seen[:36].all() and seen[52:].all()


@pytest.mark.parametrize("pace", [-5, -6, -8, -12])
def test_who_walks_past_before_a_face_does_not_take_its_words(pace: float) -> None:
    """The mouth that is hidden is not drawn on the other's face either, once that can be told: from 0.1 of its size."""
    boxes, _ = track(crossing(walk(200, 0), walk(420, pace), own_in_front=False))
    theirs = np.array([walk(420, pace)(i) for i in range(101)])
    hidden, seen = np.abs(theirs - 200) < 58, boxes.any(axis=1)
    assert seen[~hidden].all() and not seen[hidden].all()
    assert np.abs(centres(boxes)[seen, 0] - 200).max() <= 0.25 * 100


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pace", [-2, -3, -4])
def test_who_passes_slowly_is_not_followed_for_what_was_learnt_of_him(pace: float, seed: int) -> None:
    """Detections err by a hundredth, as real ones do: for a while either may be the one, and is nobody's example."""
    errors = np.random.default_rng(seed)
    script = crossing(walk(220, 0), walk(420, pace), own_in_front=False, n_frames=int(400 / -pace) + 40)
    width, height = np.array([1, 0, 1, 0]), np.array([0, 1, 0, 1])
    noisy = [
        [
            tuple(face + errors.normal(0, 0.01, 4) * (face[2] * width + face[3] * height))
            for face in map(np.array, faces)
        ]
        for faces in script
    ]
    boxes, _ = track(noisy)
    assert abs(centres(boxes)[-1, 0] - 220) < 15


def test_no_mouth_is_drawn_on_who_passes_quickly() -> None:
    """Four frames hidden would be bridged."""
    script = crossing(walk(200, 0), walk(460, -12), own_in_front=False)
    hidden = [i for i, faces in enumerate(script) if len(faces) == 1]
    early, late = hidden[0] + 2, hidden[-1] - 3
    boxes, _ = track(
        [[OWN, *faces] if i < early or late < i <= hidden[-1] else faces for i, faces in enumerate(script)]
    )
    assert late - early < 6 and not boxes[early : late + 1].any()
    assert (boxes[: early - 1] == PLACE).all() and (boxes[hidden[-1] + 1 :] == PLACE).all()


def test_a_face_that_is_seen_twice_once_is_not_its_own_rival() -> None:
    script = [[(200.0 + 7 * min(max(i - 20, 0), 5), 220.0, 100.0, 130.0)] for i in range(61)]
    script[20] = [OWN, (235.0, 220.0, 100.0, 130.0)]
    boxes, tracker = track(script)
    assert tracker.frames_without_face == 0 and np.abs(centres(boxes)[30:] - [235, 220]).max() <= 1


def test_those_of_the_scene_before_are_nobody_s_neighbours() -> None:
    """A jump cut after a cut, to where somebody had been beside the one who was followed then."""
    script = [[OWN, OTHER]] * 40 + [[(120.0, 240.0, 120.0, 150.0)]] * 8 + [[OTHER]] * 32
    boxes, tracker = track(script, cuts=[40])
    assert tracker.frames_without_face == 0 and np.abs(centres(boxes)[48:] - [340, 200]).max() <= 1


def test_what_covers_a_part_of_the_picture_is_no_cut_for_who_walks_there() -> None:
    """The followed one is hidden by it, the other goes on, 40 pixels from one sample to the next."""
    walking = [(420.0 - 8 * max(0, i - 10), 200.0, 90.0, 110.0) for i in range(45)]
    boxes, _ = track([[OWN, other] if i < 31 else [other] for i, other in enumerate(walking)], cuts=[31])
    assert (boxes[:31] == PLACE).all() and not boxes[31:].any()


@pytest.mark.parametrize("pace", [2, 4, 8, 12])
def test_who_walks_past_behind_a_face_changes_nothing(pace: float) -> None:
    boxes, _ = track(crossing(walk(200, 0), walk(420, -pace), own_in_front=True))
    assert (boxes == PLACE).all()


@pytest.mark.parametrize("pace", [3, 4, 6])
def test_two_who_pass_each_other_keep_their_own_words(pace: int) -> None:
    n_frames = 11 + 240 // pace
    boxes, _ = track(crossing(walk(120, pace), walk(360, -pace), own_in_front=False, n_frames=n_frames))
    mine = np.array([walk(120, pace)(i) for i in range(n_frames)])
    seen = boxes.any(axis=1)
    assert np.abs(centres(boxes)[-10:, 0] - mine[-10:]).max() <= 1.5
    assert (np.abs(centres(boxes)[:, 0] - mine)[seen] <= 30).all()


@pytest.mark.parametrize("left_at", [31, 33])
def test_when_it_does_not_come_back_the_other_is_followed(left_at: int) -> None:
    boxes, tracker = track([[OWN, OTHER] if i < left_at else [OTHER] for i in range(101)])
    assert (boxes[:left_at] == PLACE).all()
    assert tracker.frames_without_face == 25  # a second at 25 frames, from the last in which it was seen
    assert np.abs(centres(boxes)[left_at + 25 :] - [340, 200]).max() <= 1


def test_a_newcomer_elsewhere_is_followed_at_once() -> None:
    """Nobody was beside the one that is gone: it has jumped."""
    boxes, tracker = track([[OWN] if i < 33 else [OTHER] for i in range(61)])
    assert tracker.frames_without_face == 0 and np.abs(centres(boxes)[33:] - [340, 200]).max() <= 1


def test_nobody_else_speaks_in_the_last_frames_before_a_cut_or_the_end() -> None:
    script = [[OWN, OTHER] if i < 57 else [OTHER] for i in range(61)]
    boxes, _ = track(script)
    assert not boxes[57:].any()
    boxes, _ = track([*script, *[[(300.0, 240.0, 120.0, 150.0)]] * 40], cuts=[61])
    assert not boxes[57:61].any() and np.abs(centres(boxes)[61:] - [300, 240]).max() <= 1


@pytest.mark.parametrize(("width", "same"), [(104.0, True), (138.0, True), (145.0, False), (150.0, False)])
def test_over_a_cut_faces_of_like_size_do_not_change_places(width: float, same: bool) -> None:
    """As in interviews with jump cuts; where another is twice as large, from 141 px of width on, it is another shot."""
    script = [[OWN, OTHER]] * 40 + [[OWN, (360.0, 220.0, width, 1.3 * width)]] * 40
    boxes, tracker = track(script, cuts=[40])
    assert tracker.n_cuts == 1 and (boxes[:40] == PLACE).all()
    assert (boxes[40:] == PLACE).all() == same and (np.abs(centres(boxes)[40:] - [360, 220]).max() <= 1) != same


def test_a_cut_to_nobody_is_long_past_when_somebody_is_hidden() -> None:
    """What held at the cut does not hold at a later loss, where the others are no new scene's."""
    script = [[OWN]] * 20 + [[]] * 40 + [[OWN, OTHER]] * 40 + [[(320.0, 210.0, 90.0, 110.0)]] * 15 + [[OWN, OTHER]] * 30
    boxes, _ = track(script, cuts=[20])
    assert not boxes[100:115].any() and (boxes[116:] == PLACE).all()


def test_a_hand_before_a_face_gives_nobody_else_its_words(media: Path) -> None:
    """Nine frames of the left of two people, covered."""
    with torch.inference_mode(), open_video(media / "video" / "two_faces_side_by_side.mp4", FrameConfig()) as video:
        tracker = FaceTracker(load_face_detector(), FaceConfig(), fps=float(video.source_fps))
        for indices, frames in video.batches(range(40), 8):
            for i, frame in zip(indices, frames, strict=True):
                if 20 <= i < 29:
                    frame[:, 40:490, 130:440] = 120
            tracker.push(frames)
        tracker.finish()
    boxes = tracker.heads(0, 40).boxes
    assert not boxes[21:28].any()
    assert int(boxes[:20, 2].max()) < 480 and 0 < int(boxes[30:, 2].min()) <= int(boxes[30:, 2].max()) < 480

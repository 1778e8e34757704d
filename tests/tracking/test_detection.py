"""At which resolution frames are looked at, on CPUs, whose detector sees no small faces at first."""

import pytest
import torch
from torch import Tensor

from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.tracking.detection import FINE_SIDE_PX, DetectionStream
from gpu_lipsync.tracking.scene_cuts import LEAST_LOOK_AHEAD
from gpu_lipsync.tracking.tracked_frames import track_faces
from tests.scripted_faces import NO_PADS, Face, ScriptedDetector, batches, scripted_frames

LARGE: Face = (240.0, 240.0, 150.0, 200.0)
SMALL: Face = (240.0, 240.0, 20.0, 26.0)  # a twentieth of the frame


class Looks(ScriptedDetector):
    """Counts looks of both kinds; of some frames the fast one is given a score of its own."""

    long_side_px = 384

    def __init__(self, face: Face, coarse_scores: dict[int, float]) -> None:
        super().__init__([[face]] * 240)
        self.n_coarse = self.n_fine = 0
        self._coarse_scores = coarse_scores

    def candidates(self, frames: Tensor, *, long_side_px: int | None = None) -> Tensor:
        found = super().candidates(frames, long_side_px=long_side_px)
        if long_side_px == FINE_SIDE_PX:
            self.n_fine += len(frames)
            return found
        self.n_coarse += len(frames)
        for row, frame in enumerate(self.seen[-len(frames) :]):
            if frame in self._coarse_scores:
                found[row, 0, 4] = self._coarse_scores[frame]
        return found


def detected(
    detector: ScriptedDetector, frames: Tensor | None = None, *, of: float | None = None, push: int = 8, stride: int = 5
) -> dict[int, float]:
    """The best score of each frame that was looked at, or the score that is nearest to `of`, to a hundredth."""
    stream = DetectionStream(detector, stride=stride, batch_size=4)
    found = []
    for batch in batches(scripted_frames(240) if frames is None else frames, push):
        stream.push(batch)
        found += stream.results()
    stream.finish()
    found += stream.results(all_of_them=True)
    if of is not None:
        return {frame: round(min(faces[:, 4], key=lambda score: abs(score - of)), 2) for frame, faces in found}
    return {frame: float(faces[:, 4].max()) if len(faces) else 0.0 for frame, faces in found}


def test_one_weak_frame_of_a_large_face_does_not_slow_down_the_rest() -> None:
    detector = Looks(LARGE, {40: 0.0})
    assert min(detected(detector).values()) > 0.8
    assert detector.n_coarse == 49 and detector.n_fine == 1


def test_no_batch_is_larger_than_asked_for_not_even_the_last() -> None:
    sizes = []

    class Counted(Looks):
        def candidates(self, frames: Tensor, *, long_side_px: int | None = None) -> Tensor:
            sizes.append(len(frames))
            return super().candidates(frames, long_side_px=long_side_px)

    stream = DetectionStream(Counted(LARGE, {}), stride=1, batch_size=2)
    for batch in batches(scripted_frames(21)):
        stream.push(batch)
    stream.finish()
    assert len(stream.results(all_of_them=True)) == sum(sizes) == 21 and max(sizes) == 2


@pytest.mark.parametrize(("holds", "stride"), [(12, 12), (2, 5), (1 << 20, 240)])
def test_no_more_frames_lie_between_two_looks_than_memory_holds(
    monkeypatch: pytest.MonkeyPatch, holds: int, stride: int
) -> None:
    """However long the stride asked for, but for the usual one."""
    monkeypatch.setattr("gpu_lipsync.tracking.detection.HELD_BYTES", holds * scripted_frames(1).numel())
    detector = Looks(LARGE, {})
    stream = DetectionStream(detector, stride=1 << 40, batch_size=1)
    for batch in batches(scripted_frames(240)):
        stream.push(batch)
    stream.finish()
    assert sorted(frame for frame, _ in stream.results(all_of_them=True)) == sorted({*range(0, 240, stride), 239})


def test_a_small_face_is_looked_for_closely_still_when_a_larger_one_comes_beside_it() -> None:
    beside: Face = (100.0, 240.0, 60.0, 80.0)
    detector = Looks(SMALL, dict.fromkeys(range(240), 0.0))  # the fast look misses the first face
    detector.script = [[SMALL]] * 120 + [[SMALL, beside]] * 120
    assert min(detected(detector, of=0.9).values()) == 0.9


def test_a_small_face_that_fast_looks_see_is_looked_for_closely_when_one_no_longer_does() -> None:
    beside: Face = (100.0, 240.0, 60.0, 80.0)
    detector = Looks(SMALL, dict.fromkeys(range(120, 240), 0.0))
    detector.script = [[SMALL]] * 120 + [[SMALL, beside]] * 120
    assert min(detected(detector, of=0.9).values()) == 0.9
    assert detector.n_coarse >= 24


@pytest.mark.parametrize("at_once", [1, 3, 16, 240])
def test_how_frames_are_looked_at_does_not_depend_on_how_they_arrive(at_once: int) -> None:
    looks = []
    for size in (8, at_once):
        detector = Looks(SMALL, dict.fromkeys(range(30, 200), 0.0))
        detected(detector, push=size, stride=2)
        looks.append((detector.n_coarse, detector.n_fine))
    assert looks[0] == looks[1]


@pytest.mark.parametrize("held", [12, 40])
def test_large_strides_hold_no_more_than_memory_does(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr("gpu_lipsync.tracking.detection.HELD_BYTES", held * scripted_frames(1).numel())
    stream, most = DetectionStream(Looks(LARGE, {}), stride=1 << 40, batch_size=16), 0
    for batch in batches(scripted_frames(240), 1):
        stream.push(batch)
        most = max(most, sum(len(frames) for _, frames in stream._held))
        for frame, _ in stream.results():
            stream.release(frame + 1)
    assert most <= held + LEAST_LOOK_AHEAD + 2


def test_a_small_face_is_looked_for_closely_from_the_start() -> None:
    detector = Looks(SMALL, dict.fromkeys(range(240), 0.0))
    assert min(detected(detector).values()) > 0.8
    assert detector.n_coarse <= 8 and detector.n_fine >= 45  # of 49


@pytest.mark.parametrize(
    ("coarse", "fine", "kept"), [(0.4, 0.0, 0.4), (0.4, 0.38, 0.4), (0.4, 0.9, 0.9), (0.0, 0.4, 0.4)]
)
def test_a_closer_look_that_finds_no_better_takes_nothing_away(coarse: float, fine: float, kept: float) -> None:
    """A track goes on with faces that are hardly likely."""

    class Weak(Looks):
        def candidates(self, frames: Tensor, *, long_side_px: int | None = None) -> Tensor:
            found = super().candidates(frames, long_side_px=long_side_px)
            if long_side_px == FINE_SIDE_PX:
                found[:, 0, 4] = fine
            return found

    scores = detected(Weak(LARGE, {100: coarse}))
    assert scores[100] == pytest.approx(kept, abs=0.01) and scores[105] > 0.8


def test_frames_between_two_samples_are_looked_at_closely_where_a_fast_look_finds_nobody() -> None:
    """A head moves by two fifths of its width at once, which calls for a look at them: the fast one misses it."""
    moved: Face = (300.0, 240.0, 150.0, 200.0)
    detector = Looks(LARGE, dict.fromkeys(range(31, 35), 0.0))
    detector.script = [[LARGE]] * 33 + [[moved]] * 28
    boxes = track_faces(batches(scripted_frames(61)), detector, FaceConfig(pads=NO_PADS)).boxes
    assert boxes[28:38, 0].tolist() == [165] * 5 + [225] * 5, "not missed, and so no straight line from there to there"


def test_frames_between_two_samples_are_looked_at_as_the_sample_after_them() -> None:
    """Fast looks, which miss so small a face, would only be made in vain."""
    detector = Looks(SMALL, dict.fromkeys(range(240), 0.0))
    right, left = (240.0 + 8, *SMALL[1:]), (240.0 - 8, *SMALL[1:])
    detector.script = [[SMALL]] * 23 + [[right]] * 10 + [[left]] * 7
    assert track_faces(batches(scripted_frames(40)), detector, FaceConfig()).boxes.any(dim=1).all()
    assert set(range(21, 25)) | set(range(31, 35)) <= set(detector.seen), "the moves are looked at"
    assert detector.n_coarse == 4, "the first batch"


@pytest.fixture(scope="module")
def wide() -> Tensor:
    """Forty black frames of 720p, numbered as scripted ones are."""
    frames = torch.zeros(40, 3, 720, 1280, dtype=torch.uint8)
    frames[:, :, 0, 0] = torch.arange(40, dtype=torch.uint8)[:, None]
    return frames


@pytest.mark.parametrize(("height", "n_coarse"), [(60, 4), (100, 4), (120, 4), (140, 9)])
def test_small_is_less_than_a_tenth_of_the_frame_s_longer_side(wide: Tensor, height: float, n_coarse: int) -> None:
    """128 px. After the first batch no fast look is wasted on what one may miss."""
    detector = Looks((640.0, 360.0, 0.75 * height, height), dict.fromkeys(range(40), 0.0))
    found = detected(detector, wide)
    assert list(found) == [*range(0, 40, 5), 39] and min(found.values()) > 0.8
    assert (detector.n_fine, detector.n_coarse) == (9, n_coarse)


def test_what_is_small_for_a_wide_frame_is_looked_for_closely_when_one_comes_beside_it(wide: Tensor) -> None:
    """A face of 100 px, which is large in what is 720 px high, is no longer seen by a fast look then."""
    small, beside = (900.0, 360.0, 75.0, 100.0), (400.0, 360.0, 225.0, 300.0)
    detector = Looks(small, dict.fromkeys(range(20, 40), 0.0))
    detector.script = [[small]] * 20 + [[small, beside]] * 20
    assert min(detected(detector, wide, of=0.9).values()) == 0.9

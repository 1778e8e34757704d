"""At which resolution frames are looked at, on CPUs, whose detector sees no small faces at first."""

import pytest
from torch import Tensor

from gpu_lipsync.tracking.detection import FINE_SIDE_PX, DetectionStream
from tests.scripted_faces import Face, ScriptedDetector, batches, scripted_frames

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


def detected(detector: ScriptedDetector) -> dict[int, float]:
    """The best score of each frame that was looked at."""
    stream = DetectionStream(detector, stride=5, batch_size=4)
    found = []
    for batch in batches(scripted_frames(240)):
        stream.push(batch)
        found += stream.results()
    stream.finish()
    found += stream.results(all_of_them=True)
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

"""Where the mask lies does not depend on how many frames come, or are detected, at once."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.models import load_face_mesh
from gpu_lipsync.tracking import mouth_finder
from gpu_lipsync.tracking.face_tracker import FaceTracker
from tests.scripted_faces import NO_PADS, ScriptedDetector, batches, scripted_frames

N_FRAMES, CUT = 120, 15


@pytest.fixture
def numbers_seen(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Each look sees the mouth elsewhere, and some see none; which frames were looked at."""
    seen: set[int] = set()

    def found(frames: Tensor, boxes: Tensor, mesh: object, *, tilts: Tensor) -> Tensor:
        number = int(frames[0, 0, 0, 0])  # the window around the face begins with the frame's own first pixel
        seen.add(number)
        x, points = 0.5 + 0.01 * (number % 7), torch.zeros(1, 468, 3)
        points[0, mouth_finder.MOUTH_CORNERS, 0] = torch.tensor([x - 0.1, x + 0.1]) + 0.02 * (number % 3)
        points[0, (0, 17), 1] = torch.tensor([0.6, 0.7]) + (0.5 if number % 4 == 1 else 0.02 * (number % 5))
        return points

    monkeypatch.setattr(mouth_finder, "find_landmarks", found)
    return seen


def fits(config: FaceConfig, push: int, cuts: Sequence[int] = (CUT,)) -> Tensor:
    face = (100.0, 110.0, 100.0, 130.0)
    detector = ScriptedDetector([[face]] * N_FRAMES)
    tracker = FaceTracker(detector, config, mesh=load_face_mesh())
    for batch in batches(scripted_frames(N_FRAMES, cuts=cuts), push):
        tracker.push(batch)
    tracker.finish()
    return tracker.heads(0, N_FRAMES).fits


@pytest.mark.parametrize(
    "config",
    [
        lambda n: FaceConfig(pads=NO_PADS, det_batch_size=n),
        lambda n: FaceConfig(pads=NO_PADS, det_batch_size=n, smooth=False),
        lambda n: FaceConfig(pads=NO_PADS, det_batch_size=n, det_stride=12),
    ],
)
def test_masks_do_not_depend_on_batches(numbers_seen: set[int], config: Callable[[int], FaceConfig]) -> None:
    one_by_one = fits(config(1), 1)
    assert min(sum(number < CUT for number in numbers_seen), sum(number >= CUT for number in numbers_seen)) > 1
    assert len(one_by_one.unique(dim=0)) > 1
    for n, push in ((4, 8), (2, 50), (1, 120), (4, 120)):
        assert torch.equal(fits(config(n), push), one_by_one)


def test_what_three_looks_see_holds_from_the_first_frame_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie within half a second; unsmoothed boxes need not wait so long, but the first look alone may be wrong."""
    rights = iter([0.1, 0.02, 0.02])  # what each sees, of the box's width

    def found(frames: Tensor, boxes: Tensor, mesh: object, *, tilts: Tensor) -> Tensor:
        right, points = next(rights), torch.zeros(1, 468, 3)
        points[0, mouth_finder.MOUTH_CORNERS, 0] = torch.tensor([0.4, 0.6]) + right
        points[0, (0, 17), 1] = torch.tensor([0.6, 0.8])
        return points

    monkeypatch.setattr(mouth_finder, "find_landmarks", found)
    at = fits(FaceConfig(pads=NO_PADS, smooth=False), push=8, cuts=[])[:, 0]
    assert at.tolist() == [round(0.02 * 96)] * N_FRAMES

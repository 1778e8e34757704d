"""The mask goes along with the mouth of a turned head: where to, and what is pasted there."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, elliptical_mask, place_blend
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.faces import mask_moves, paste_faces
from gpu_lipsync.models import load_face_detector, load_face_mesh
from gpu_lipsync.mouth_shift import MouthShifts, fitting_move
from gpu_lipsync.tracking import FaceConfig, FaceTracker
from gpu_lipsync.video import open_video
from tests import pictures

CPU = torch.device("cpu")
BOX = (100, 50, 292, 290)  # 192 px wide: two for each of the generated face's
SIZE = (320, 400)
MASKED = [name for name in BLENDS if name != "original"]


MIDDLE = (196.0, 206.0)  # where the mask is by itself: 0.65 down


def shift_of(aside: float = 0.0, below: float = 0.0) -> tuple[int, int]:
    """Of a mouth so much of the box's sides beside the mask's middle."""
    return MouthShifts().place(BOX, (MIDDLE[0] + 192 * aside, MIDDLE[1] + 240 * below), 1)


def test_a_mouth_beside_it_takes_the_mask_along_on_its_side() -> None:
    asides = (-0.19, -0.07, -0.02, 0.0, 0.004, 0.04, 0.19)
    assert [shift_of(aside) for aside in asides] == [(shift, 0) for shift in (-18, -7, -2, 0, 0, 4, 18)]
    assert shift_of(9) == (24, 0) and shift_of(-9) == (-24, 0), "a quarter of the box at most"


def test_a_mouth_below_it_takes_the_mask_down() -> None:
    assert [shift_of(below=below) for below in (-0.03, 0.01, 0.06, 0.1)] == [(0, -3), (0, 1), (0, 6), (0, 10)]
    assert shift_of(below=0.5) == (0, 14) and shift_of(below=-0.5) == (0, -14), "a seventh of the box at most"


def test_small_changes_do_not_move_it_and_another_scene_does() -> None:
    shifts = MouthShifts()
    mouths = [226.0, 226.8, 227.2, 228.0, 227.2, 226.4]  # two pixels here are one of the generated face
    assert [shifts.place(BOX, (x, 206.0), 1) for x in mouths] == [(x, 0) for x in (15, 15, 15, 16, 16, 15)]
    heights = [216.0, 217.5, 218.1, 216.8]  # two and a half
    assert [shifts.place(BOX, (196.0, y), 2) for y in heights] == [(0, y) for y in (4, 4, 5, 5)]
    assert shifts.place(BOX, (224.8, 206.0), 3) == (14, 0), "nothing is held over a cut"


@pytest.mark.parametrize("region", [0.1, 0.4, 0.6, 1.0])
@pytest.mark.parametrize("size", [(48, 48), (77, 61), (240, 192), (1080, 900)])
def test_the_mask_stays_in_its_crop(size: tuple[int, int], region: float) -> None:
    for method in BLENDS:
        place = place_blend(*size, BlendConfig(method=method, mouth_region_size=region), CPU)
        for shift in ((-24, 12), (-7, 0), (0, 6), (3, -12), (24, 3)):
            patch, crop = fitting_move(shift, place)
            assert place.left + crop[0] >= 0 and place.right + crop[0] <= size[1]
            assert place.top + crop[1] >= 0 and place.bottom + crop[1] <= size[0]
            for wanted, fitting, pixels, length in zip(shift, patch, crop, reversed(size), strict=True):
                assert abs(fitting) <= abs(wanted) and abs(fitting * length / 96 - pixels) <= 0.5
                assert fitting == 0 or (fitting > 0) == (wanted > 0)


def frames_and_mouths(device: str) -> tuple[Tensor, Tensor]:
    frame, mouth = pictures.face_like(*SIZE), pictures.face_like(96, 96, seed=1)
    frames = torch.from_numpy(np.stack([frame] * 4)).permute(0, 3, 1, 2).to(device)
    return frames, pictures.batch(*[mouth] * 4, device=device)


def test_what_is_pasted_lies_where_it_would_have_under_another_mask(device: str) -> None:
    """OpenCV: the mouth enlarged in its place, the mask moved over it."""
    frames, mouths = frames_and_mouths(device)
    config, shifts = BlendConfig(mouth_region_size=0.4), [(-9, 0), (0, 0), (4, 6), (24, -12)]
    boxes = torch.tensor([BOX] * 4)
    result = paste_faces(frames, mouths, boxes, config, shifts=torch.tensor(shifts))
    x1, y1, x2, y2 = BOX
    mask = elliptical_mask(y2 - y1, x2 - x1, config)[0, 0].numpy()
    enlarged = cv2.resize(pictures.levels(mouths), (x2 - x1, y2 - y1), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    moves = mask_moves(boxes, torch.tensor(shifts), config, CPU)
    assert moves[:3] == [((-9, 0), (-18, 0)), ((0, 0), (0, 0)), ((4, 6), (8, 15))] and 8 < moves[3][0][0] < 24
    for i, (_, move) in enumerate(moves):
        moved = np.roll(mask, move, axis=(1, 0))[..., None]
        expected = frames[i].permute(1, 2, 0).cpu().numpy().astype(np.float32)
        expected[y1:y2, x1:x2] = moved * enlarged + (1 - moved) * expected[y1:y2, x1:x2]
        difference = np.abs(result[i].permute(1, 2, 0).cpu().numpy() - expected)
        assert difference.max() <= 1  # rounding


@pytest.mark.parametrize("method", MASKED)
def test_nothing_outside_the_moved_mask_changes(method: str, device: str) -> None:
    frames, mouths = frames_and_mouths(device)
    config = BlendConfig(method=method, mouth_region_size=0.4)  # type: ignore[arg-type]
    boxes = torch.tensor([BOX, (10, 20, 110, 140), (0, 0, 61, 77), BOX])
    shifts = torch.tensor([(-13, 7), (11, -9), (-24, 12), (0, 0)])
    result = paste_faces(frames, mouths, boxes, config, shifts=shifts)
    for i, (_, move) in enumerate(mask_moves(boxes, shifts, config, CPU)):
        x1, y1, x2, y2 = boxes[i].tolist()
        may_change = torch.zeros(SIZE, dtype=torch.bool, device=device)
        mask = elliptical_mask(y2 - y1, x2 - x1, config, device)[0, 0]
        may_change[y1:y2, x1:x2] = mask.roll(move, dims=(1, 0)) > 0
        changed = (result[i] != frames[i]).any(0)
        assert changed.any() and not (changed & ~may_change).any()


def test_a_paste_without_a_mask_has_nothing_to_move(device: str) -> None:
    frames, mouths = frames_and_mouths(device)
    config, boxes = BlendConfig(method="original"), torch.tensor([BOX] * 4)
    moved = paste_faces(frames, mouths, boxes, config, shifts=torch.tensor([(5, 3), (-5, -3), (24, 12), (0, 0)]))
    assert torch.equal(moved, paste_faces(frames, mouths, boxes, config))


@pytest.mark.parametrize(
    ("shifts", "error", "message"),
    [
        (torch.zeros(4, 2), TypeError, "shifts must be an int64 tensor, got torch.float32"),
        (torch.zeros(4, dtype=torch.int64), ValueError, r"shifts must be \(4, 2\) on the host, got \(4,\)"),
        ([0, 0, 0, 0], TypeError, "got list"),
    ],
)
def test_shifts_that_do_not_fit(shifts: Tensor, error: type[Exception], message: str) -> None:
    frames, mouths = frames_and_mouths("cpu")
    with pytest.raises(error, match=message):
        paste_faces(frames, mouths, torch.tensor([BOX] * 4), BlendConfig(), shifts=shifts)


def tracked(path: Path, *, n_frames: int, config: FaceConfig | None = None) -> FaceTracker:
    with torch.inference_mode(), open_video(path, FrameConfig()) as video:
        config = config or FaceConfig()
        tracker = FaceTracker(load_face_detector(), config, mesh=load_face_mesh(), fps=float(video.fps))
        for _, frames in video.batches(range(n_frames), 8):
            tracker.push(frames)
        tracker.finish()
    return tracker


def test_a_head_that_turns_takes_its_mask_along(media: Path) -> None:
    """Looked at: into the camera until frame 30, turned to the picture's left with the mouth at its cheek at 37."""
    shifts = tracked(media / "video" / "sadtalker_woman_headmotion_mpeg4.mp4", n_frames=60).shifts(0, 60)
    assert int(shifts[:30, 0].abs().max()) <= 3 and -19 <= int(shifts[37, 0]) <= -13
    assert int(shifts.diff(dim=0).abs().max()) <= 5, "it goes there in steps of a few pixels"


def test_a_given_box_has_no_mouth_to_follow() -> None:
    sample = Path(__file__).parent.parent / "samples" / "face.mp4"
    tracker = tracked(sample, n_frames=8, config=FaceConfig(box=(100, 400, 100, 400)))
    assert not tracker.shifts(0, 8).any()
    with pytest.raises(IndexError):
        tracker.shifts(0, 9)

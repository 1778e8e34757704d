"""The mask goes along with the mouth of a turned head, and is as wide as a grin: where to, and what is pasted there."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, Placement, elliptical_mask, place_blend
from gpu_lipsync.blend_kernels.mask import feather_over, semi_axes
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.faces import paste_faces
from gpu_lipsync.models import load_face_detector, load_face_mesh
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.mouth_fit import fitted_masks
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.mouth_fits import MouthFits
from gpu_lipsync.video import open_video
from tests import pictures
from tests.places import FACE

CPU = torch.device("cpu")
BOX = Rect(100, 50, 292, 290)  # 192 px wide: two for each of the generated face's
ODD_BOX = Rect(61, 50, 264, 267)  # 203 x 217 px
SIZE = (320, 400)
MASKED = [name for name in BLENDS if name != "original"]


MIDDLE = (196.0, 206.0 - 4.8)  # lips over which the mask stays where it is by itself, 0.65 down: 0.02 below them


def fit_of(aside: float = 0.0, below: float = 0.0, half: float = 0.0) -> tuple[int, int, int]:
    """Of a mouth so much of the box's sides beside the mask's middle, and half of it so wide."""
    return MouthFits().fit(BOX, (MIDDLE[0] + 192 * aside, MIDDLE[1] + 240 * below), 192 * half, 1)


def feathered(config: BlendConfig, height: int, width: int, fit: tuple[int, int, int]) -> BlendConfig:
    """The settings with the feather that masks over such a mouth have."""
    if not any(fit):  # not known
        return config
    half_mouth, shift = round(fit[2] * width / 96), (round(fit[0] * width / 96), round(fit[1] * height / 96))
    axes = semi_axes(height, width, config.mouth_region_size, half_mouth)
    return replace(config, blur_intensity=feather_over(height, width, axes, config.blur_intensity, shift))


def test_a_mouth_beside_it_takes_the_mask_along_on_its_side() -> None:
    asides = (-0.19, -0.07, -0.02, 0.0, 0.004, 0.04, 0.19)
    assert [fit_of(aside) for aside in asides] == [(shift, 0, 0) for shift in (-18, -7, -2, 0, 0, 4, 18)]
    assert fit_of(9) == (24, 0, 0) and fit_of(-9) == (-24, 0, 0), "a quarter of the box at most"


def test_a_mouth_below_it_takes_the_mask_down() -> None:
    belows = {-0.03: -3, 0.01: 1, 0.06: 6, 0.1: 10}
    assert [fit_of(below=below) for below in belows] == [(0, shift, 0) for shift in belows.values()]
    assert fit_of(below=0.5) == (0, 14, 0) and fit_of(below=-0.5) == (0, -14, 0), "a seventh of the box at most"


def test_a_mouth_s_width_is_told_with_it() -> None:
    assert [fit_of(half=half) for half in (0.0, 0.13, 0.227, 0.9)] == [(0, 0, half) for half in (0, 12, 22, 24)]


def test_small_changes_do_not_move_it_and_another_scene_does() -> None:
    fits = MouthFits()
    mouths = [226.0, 226.8, 227.2, 228.0, 227.2, 226.4]  # two pixels here are one of the generated face
    assert [fits.fit(BOX, (x, MIDDLE[1]), 0, 1) for x in mouths] == [(x, 0, 0) for x in (15, 15, 15, 16, 16, 15)]
    heights = [211.2, 212.7, 213.3, 212.0]  # two and a half
    assert [fits.fit(BOX, (196.0, y), 0, 2) for y in heights] == [(0, y, 0) for y in (4, 4, 5, 5)]
    halves = [40.0, 41.2, 42.0, 41.0]
    assert [fits.fit(BOX, MIDDLE, half, 3)[2] for half in halves] == [20, 20, 21, 21]
    assert fits.fit(BOX, (MIDDLE[0] + 1.3, MIDDLE[1]), 42.4, 4) == (1, 0, 21), "nothing is held over a cut"


@pytest.mark.parametrize("region", [0.1, 0.4, 0.6, 1.0])
@pytest.mark.parametrize("size", [(48, 48), (77, 61), (240, 192), (1080, 900)])
def test_the_mask_stays_in_its_crop(size: tuple[int, int], region: float) -> None:
    for method in BLENDS:
        place = place_blend(*size, BlendConfig(method=method, mouth_region_size=region), CPU)
        for shift in ((-24, 12), (-7, 0), (0, 6), (3, -12), (24, 3)):
            moved = place.moved(*shift)
            assert moved.left >= 0 and moved.right <= size[1] and moved.top >= 0 and moved.bottom <= size[0]
            assert moved.stencil is place.stencil
            for wanted, found, before, after in (
                (shift[0], moved.left - place.left, place.left, size[1] - place.right),
                (shift[1], moved.top - place.top, place.top, size[0] - place.bottom),
            ):
                room = min(0, 1 - before), max(0, after - 1)
                assert found == sorted((wanted, *room))[1], "the move, or as much of it as there is room for"


@pytest.mark.parametrize("region", [0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("feather", [5, 51])
def test_a_mask_that_is_moved_ends_inside_its_crop_too(region: float, feather: int) -> None:
    """As one that is not: a border less transparent than 1/255 draws a box."""
    for size in ((77, 61), (240, 192), (340, 250)):
        config = BlendConfig(mouth_region_size=region, blur_intensity=feather)
        for shift in ((-99, 0), (99, 0), (0, -99), (0, 99), (99, 99)):
            place = place_blend(*size, config, CPU).moved(*shift)
            whole = np.zeros(size, np.float32)
            whole[place.top : place.bottom, place.left : place.right] = place.stencil.values
            border = np.concatenate((whole[[0, -1]].ravel(), whole[:, [0, -1]].ravel()))
            assert border.max() <= 1 / 255 and place.stencil.values.max() == whole.max()


def masks(boxes: Tensor, fits: list[tuple[int, int, int]], config: BlendConfig) -> list[Placement]:
    return fitted_masks(boxes, torch.tensor(fits), config, CPU)


def move_of(place: Placement, config: BlendConfig, fit: tuple[int, int, int]) -> tuple[int, int]:
    """To the right and down, from where the mask would be without its shift."""
    half_mouth, config = round(fit[2] * place.width / 96), feathered(config, place.height, place.width, fit)
    usual = place_blend(place.height, place.width, config, CPU, half_mouth=half_mouth)
    return place.left - usual.left, place.top - usual.top


def frames_and_mouths(device: str) -> tuple[Tensor, Tensor]:
    frame, mouth = pictures.face_like(*SIZE), pictures.face_like(96, 96, seed=1)
    frames = torch.from_numpy(np.stack([frame] * 4)).permute(0, 3, 1, 2).to(device)
    return frames, pictures.batch(*[mouth] * 4, device=device)


@pytest.mark.parametrize("box", [BOX, ODD_BOX])
def test_what_is_pasted_lies_where_it_would_have_under_another_mask(device: str, box: tuple[int, ...]) -> None:
    """OpenCV: the mouth enlarged in its place, the mask moved over it, whatever the sizes."""
    frames, mouths = frames_and_mouths(device)
    config, fits = BlendConfig(mouth_region_size=0.4), [(-9, 0, 0), (0, 0, 0), (5, 7, 22), (24, -12, 18)]
    boxes = torch.tensor([box] * 4)
    result = paste_faces(frames, mouths, boxes, config, fits=torch.tensor(fits))
    x1, y1, x2, y2 = box
    enlarged = cv2.resize(pictures.levels(mouths), (x2 - x1, y2 - y1), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    moves = [move_of(place, config, fit) for place, fit in zip(masks(boxes, fits, config), fits, strict=True)]
    wanted = [tuple(round(s * n / 96) for s, n in zip(fit, (x2 - x1, y2 - y1), strict=False)) for fit in fits]
    assert moves[:3] == wanted[:3] and 20 < moves[3][0] < wanted[3][0]
    for i, move in enumerate(moves):
        half_mouth = round(fits[i][2] * (x2 - x1) / 96)
        narrower = feathered(config, y2 - y1, x2 - x1, fits[i])
        mask = elliptical_mask(y2 - y1, x2 - x1, narrower, half_mouth=half_mouth)[0, 0].numpy()
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
    fits = torch.tensor([(-13, 7, 20), (11, -9, 0), (-24, 12, 24), (0, 0, 24)])
    result = paste_faces(frames, mouths, boxes, config, fits=fits)
    for i, place in enumerate(masks(boxes, fits.tolist(), config)):
        move = move_of(place, config, fits[i].tolist())
        x1, y1, x2, y2 = boxes[i].tolist()
        may_change = torch.zeros(SIZE, dtype=torch.bool, device=device)
        half_mouth = round(int(fits[i, 2]) * (x2 - x1) / 96)
        narrower = feathered(config, y2 - y1, x2 - x1, fits[i].tolist())
        mask = elliptical_mask(y2 - y1, x2 - x1, narrower, device, half_mouth=half_mouth)[0, 0]
        may_change[y1:y2, x1:x2] = mask.roll(move, dims=(1, 0)) > 0
        changed = (result[i] != frames[i]).any(0)
        assert changed.any() and not (changed & ~may_change).any()


@pytest.mark.parametrize("keep_detail", [False, True])
@pytest.mark.parametrize("feather", [1, 51])
@pytest.mark.parametrize("tilt", [0.0, 30.0])
@pytest.mark.parametrize("method", MASKED)
def test_a_face_is_the_same_whoever_is_in_the_batch(
    method: str, tilt: float, feather: int, keep_detail: bool, device: str
) -> None:
    """Batches are as large as memory and cores let them be: masks that lie elsewhere, and heads held otherwise."""
    frames, mouths = frames_and_mouths(device)
    config = BlendConfig(
        method=method,  # type: ignore[arg-type]
        mouth_region_size=0.6,
        blur_intensity=feather,
        keep_detail=keep_detail,
    )
    boxes, fits = torch.tensor([BOX] * 4), torch.tensor([(0, 0, 0), (8, 4, 0), (1, 0, 0), (-9, 7, 0)])
    tilts = torch.tensor([tilt, 1.5 * tilt, tilt, -tilt], dtype=torch.float64)
    together = paste_faces(frames, mouths, boxes, config, fits=fits, tilts=tilts)
    for i in range(4):
        one = slice(i, i + 1)
        alone = paste_faces(frames[one], mouths[one], boxes[one], config, fits=fits[one], tilts=tilts[one])
        # A tilted head's window has another size alone, and another rounding.
        assert (together[one].int() - alone.int()).abs().max() <= (1 if tilt or device != "cpu" else 0)


def test_a_paste_without_a_mask_has_nothing_to_move(device: str) -> None:
    frames, mouths = frames_and_mouths(device)
    config, boxes = BlendConfig(method="original"), torch.tensor([BOX] * 4)
    moved = paste_faces(
        frames, mouths, boxes, config, fits=torch.tensor([(5, 3, 0), (-5, -3, 20), (24, 12, 24), (0, 0, 0)])
    )
    assert torch.equal(moved, paste_faces(frames, mouths, boxes, config))


@pytest.mark.parametrize(
    ("fits", "error", "message"),
    [
        (torch.zeros(4, 3), TypeError, "fits must be an int64 tensor, got torch.float32"),
        (torch.zeros(4, dtype=torch.int64), ValueError, r"fits must be \(4, 3\) on the host, got \(4,\)"),
        ([0, 0, 0, 0], TypeError, "got list"),
    ],
)
def test_fits_that_do_not_fit(fits: Tensor, error: type[Exception], message: str) -> None:
    frames, mouths = frames_and_mouths("cpu")
    with pytest.raises(error, match=message):
        paste_faces(frames, mouths, torch.tensor([BOX] * 4), BlendConfig(), fits=fits)


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
    fits = tracked(media / "video" / "sadtalker_woman_headmotion_mpeg4.mp4", n_frames=60).heads(0, 60).fits
    assert int(fits[:30, 0].abs().max()) <= 3 and -19 <= int(fits[37, 0]) <= -13
    assert int(fits.diff(dim=0).abs().max()) <= 5, "it goes there in steps of a few pixels"


def test_the_corners_of_a_grin_are_covered_and_a_moustache_is_left_alone(media: Path) -> None:
    """Looked at: teeth from 0.23 of the box left of the middle to as much right of it; 0.4 left them there."""
    config = BlendConfig(mouth_region_size=0.4)
    found = {}
    for name in ("obama_official_portrait.jpg", "einstein_moustache_portrait.jpg"):
        tracker = tracked(media / "image" / name, n_frames=1)
        head = tracker.heads(0, 1)
        (place,) = masks(head.boxes, head.fits.tolist(), config)
        narrower = feathered(config, place.height, place.width, head.fits[0].tolist())
        usual = place_blend(place.height, place.width, narrower, CPU)
        found[name] = int(head.fits[0, 2]) / 96, place.stencil is usual.stencil
    assert found["obama_official_portrait.jpg"] == (pytest.approx(0.23, abs=0.015), False)
    assert found["einstein_moustache_portrait.jpg"] == (pytest.approx(0.145, abs=0.02), True)


def test_a_given_box_has_no_mouth_to_follow() -> None:
    tracker = tracked(FACE, n_frames=8, config=FaceConfig(box=(100, 400, 100, 400)))
    assert not tracker.heads(0, 8).fits.any()
    with pytest.raises(IndexError):
        tracker.heads(0, 9)

"""Tilted heads cut out upright, and their mouths put back aslant: against OpenCV, and quarters of whole pixels."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, elliptical_mask
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.pasting.mouth_window import blended_boxes
from gpu_lipsync.pasting.tilted import Aslant, windows_around, windows_of_boxes
from tests import pictures
from tests.heads import held_still

SIDE = 320  # of the frames, which are square
BOX = (70, 40, 190, 200)
MODES = list(BLENDS)


def frame_of(seed: int = 0, device: str = "cpu") -> Tensor:
    return torch.from_numpy(pictures.face_like(SIDE, SIDE, seed=seed)).permute(2, 0, 1)[None].to(device)


def mouth_of(device: str = "cpu") -> Tensor:
    return torch.from_numpy(pictures.face_like(96, 96, seed=9)).permute(2, 0, 1)[None].float().to(device) / 255


def degrees(*tilts: float) -> Tensor:
    return torch.tensor(tilts, dtype=torch.float64)


def after_quarters(box: tuple[int, int, int, int], quarters: int) -> Tensor:
    """The box of the same middle and size once the frame is turned clockwise: what it shows lies there, on its side."""
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2 - SIDE / 2
    for _ in range(quarters):
        middle = np.array([-middle[1], middle[0]])
    half = np.array([box[2] - box[0], box[3] - box[1]]) / 2
    corners = np.concatenate((middle - half, middle + half)) + SIDE / 2
    return torch.tensor([corners.astype(int).tolist()])


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("box", [BOX, (10, 20, 310, 260)])
def test_a_head_on_its_side_is_cut_out_as_if_it_were_upright(
    device: str, box: tuple[int, int, int, int], quarters: int
) -> None:
    frame = frame_of(device=device)
    upright = crop_faces(frame, torch.tensor([box]))
    turned = torch.rot90(frame, -quarters, dims=(2, 3)).contiguous()
    found = crop_faces(turned, after_quarters(box, quarters), tilts=degrees(90.0 * quarters))
    # The same samples of the same pixels, rounded once more. A face of more than 192 px is made smaller first, here by
    # the same for both sides, a little more than an upright one's shorter side: edges are softer.
    most, mean = (1.01, 0.5) if max(box[2] - box[0], box[3] - box[1]) <= 192 else (24.0, 1.0)
    assert (found - upright).abs().max() * 255 <= most and (found - upright).abs().mean() * 255 <= mean


@pytest.mark.parametrize("tilt", [-62.0, -20.5, 12.0, 35.0, 140.0])
def test_a_tilted_head_is_cut_out_as_opencv_does(device: str, tilt: float) -> None:
    frame = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (1, 3, SIDE, SIDE), np.uint8)).to(device)
    found = crop_faces(frame, torch.tensor([BOX]), tilts=degrees(tilt))[0].permute(1, 2, 0).cpu().numpy() * 255
    x1, y1, x2, y2 = BOX
    # Through the middles of pixels: OpenCV counts them from 0, and turns the other way.
    turn = cv2.getRotationMatrix2D(((x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2), tilt, 1.0)
    to_box = np.array(
        [[96 / (x2 - x1), 0, (0.5 - x1) * 96 / (x2 - x1) - 0.5], [0, 96 / (y2 - y1), (0.5 - y1) * 96 / (y2 - y1) - 0.5]]
    )
    whole = to_box @ np.vstack((turn, (0, 0, 1)))
    picture = frame[0].permute(1, 2, 0).cpu().numpy()
    expected = cv2.warpAffine(
        picture.astype(np.float32), whole, (96, 96), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    off = np.abs(found - expected)
    assert off.mean() < 2 and off.max() < 16  # of noise, since OpenCV takes places to a 32nd of a pixel


@pytest.mark.parametrize("method", MODES)
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_mouth_on_its_side_is_put_back_as_if_it_were_upright(device: str, quarters: int, method: str) -> None:
    config = BlendConfig(method=method, sharpen_mouth=True)  # type: ignore[arg-type]
    frame, mouth, fits = frame_of(device=device), mouth_of(device), torch.tensor([[-7, 5, 20]])
    upright = paste_faces(frame, mouth, torch.tensor([BOX]), config, fits=fits)
    turned = torch.rot90(frame, -quarters, dims=(2, 3)).contiguous()
    boxes = after_quarters(BOX, quarters)
    pasted = paste_faces(turned, mouth, boxes, config, fits=fits, tilts=degrees(90.0 * quarters))
    back = torch.rot90(pasted, quarters, dims=(2, 3))
    assert (back.int() - upright.int()).abs().max() <= 1  # whole pixels are moved, and rounded twice
    assert (back != frame).any()


@pytest.mark.parametrize("method", MODES)
@pytest.mark.parametrize("tilt", [-50.0, 15.0, 33.0])
def test_what_is_outside_of_the_turned_mask_stays_as_it_is(device: str, tilt: float, method: str) -> None:
    config = BlendConfig(method=method)  # type: ignore[arg-type]
    frame, boxes = frame_of(device=device), torch.tensor([BOX])
    pasted = paste_faces(frame, 1 - mouth_of(device), boxes, config, tilts=degrees(tilt))
    changed = (pasted != frame).any(1)[0].cpu().numpy()
    x1, y1, x2, y2 = BOX
    mask = np.zeros((SIDE, SIDE), np.float32)
    inside = elliptical_mask(y2 - y1, x2 - x1, config)[0, 0].numpy() if BLENDS[config.method].masked else 1.0
    mask[y1:y2, x1:x2] = inside
    turn = cv2.getRotationMatrix2D(((x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2), -tilt, 1.0)
    aslant = cv2.warpAffine((mask > 0).astype(np.float32), turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    near = cv2.dilate((aslant > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0  # two pixels: the bicubic's reach
    assert changed.any() and not (changed & ~near).any()
    left, top, right, bottom = blended_boxes(
        replace(held_still(boxes), tilts=degrees(tilt)), config, torch.device(device), (SIDE, SIDE)
    )[0].tolist()
    rows, columns = changed.nonzero()
    assert left <= columns.min() and columns.max() < right and top <= rows.min() and rows.max() < bottom
    # And no larger than that, but for the reach, the rim of a mask under half a level, and of corners cut.
    assert max(columns.min() - left, right - columns.max(), rows.min() - top, bottom - rows.max()) <= 10


def test_a_mouth_aslant_is_as_sharp_and_shows_nothing_of_the_old_one(device: str) -> None:
    """In the middle of the mask is the generated mouth alone, whatever was there."""
    mouth, boxes, tilts = mouth_of(device), torch.tensor([BOX]), degrees(30.0)
    over_one, over_other = (
        paste_faces(frame_of(seed, device), mouth, boxes, BlendConfig(), tilts=tilts)[0] for seed in (0, 5)
    )
    middle = np.array([(BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2])
    down = 0.15 * (BOX[3] - BOX[1])
    x, y = (middle + down * np.array([-np.sin(np.radians(30)), np.cos(np.radians(30))])).astype(int)
    core = (slice(None), slice(y - 6, y + 6), slice(x - 10, x + 10))
    assert (over_one[core].int() - over_other[core].int()).abs().max() <= 2  # opaque to 0.99 at least
    assert (frame_of(0)[0][core].int() - frame_of(5)[0][core].int()).abs().max() > 20, "or it proves nothing"


@pytest.mark.parametrize("tilt", [15.0, 30.0, 45.0])
def test_a_mouth_put_back_aslant_keeps_its_detail(device: str, tilt: float) -> None:
    """As much of it as cubic interpolation leaves; linear leaves half of that."""
    noise = np.random.default_rng(4).integers(40, 216, (96, 96, 3), np.uint8)
    mouth = torch.from_numpy(noise).permute(2, 0, 1)[None].float().to(device) / 255
    boxes, config = torch.tensor([(100, 90, 200, 200)]), BlendConfig(mouth_region_size=0.8, blur_intensity=15)

    def detail(degree: float) -> float:
        pasted = paste_faces(frame_of(device=device), mouth, boxes, config, tilts=degrees(degree))
        # Round the box's middle, the mask lies a seventh of its height below that.
        down = 0.15 * 110 * np.array([-np.sin(np.radians(degree)), np.cos(np.radians(degree))])
        x, y = (np.array([150, 145]) + down).astype(int)
        core = pasted[0, :, y - 9 : y + 9, x - 12 : x + 12].permute(1, 2, 0).cpu().numpy()
        return float(cv2.Laplacian(core.astype(np.float32), cv2.CV_32F)[2:-2, 2:-2].var())

    assert detail(tilt) > 0.55 * detail(0.0)  # of noise, the hardest: 0.68 to 0.70 by cubic, 0.35 to 0.41 by linear


def test_upright_heads_beside_tilted_ones_are_as_they_were_alone(device: str) -> None:
    frames = torch.cat([frame_of(i, device) for i in range(4)])
    boxes, tilts = torch.tensor([BOX, BOX, (71, 42, 191, 202), (60, 30, 200, 220)]), degrees(0, 25, 0, -31)
    alone = crop_faces(frames, boxes)
    mixed = crop_faces(frames, boxes, tilts=tilts)
    mouths, fits = mouth_of(device).expand(4, -1, -1, -1), torch.tensor([[0, 0, 0], [0, 0, 0], [-3, 4, 0], [0, 2, 18]])
    pasted_alone = paste_faces(frames, mouths, boxes, BlendConfig(), fits=fits)
    pasted = paste_faces(frames, mouths, boxes, BlendConfig(), fits=fits, tilts=tilts)
    for i in range(4):
        assert torch.equal(mixed[i], alone[i]) == torch.equal(pasted[i], pasted_alone[i]) == (tilts[i] == 0)
        one = slice(i, i + 1)
        by_itself = paste_faces(frames[one], mouths[one], boxes[one], BlendConfig(), fits=fits[one], tilts=tilts[one])
        assert (by_itself[0].int() - pasted[i].int()).abs().max() <= 1  # windows of another size: other roundings
        cut_by_itself = crop_faces(frames[one], boxes[one], tilts=tilts[one])[0]
        assert (cut_by_itself - mixed[i]).abs().max() * 255 <= 1.01


def test_a_large_head_looks_alike_whoever_is_beside_it_and_whatever_its_tilt(device: str) -> None:
    """What is made smaller first is so by the same: in steps of a hundredth of a degree nothing jumps."""
    frames = frame_of(seed=4, device=device).expand(6, -1, -1, -1).contiguous()
    boxes = torch.tensor([[40, 30, 280, 300]] * 5 + [[45, 33, 285, 303]])
    tilts = degrees(29.98, 29.99, 30, 30.01, 30.02, -75)
    together = crop_faces(frames, boxes, tilts=tilts)
    for i in range(6):
        one = slice(i, i + 1)
        assert torch.equal(crop_faces(frames[one], boxes[one], tilts=tilts[one])[0], together[i])
    assert (together[1:5] - together[:4]).abs().mean(dim=(1, 2, 3)).max() * 255 < 0.2  # single roundings


@pytest.mark.parametrize("box", [(-60, -40, 60, 120), (250, 220, 370, 380), (100, 200, 260, 360), (400, 400, 500, 530)])
def test_a_tilted_box_may_reach_out_of_the_frame(device: str, box: tuple[int, int, int, int]) -> None:
    frame, boxes, tilts = frame_of(device=device), torch.tensor([box]), degrees(-25.0)
    face = crop_faces(frame, boxes, tilts=tilts)
    assert face.shape == (1, 3, 96, 96) and face.isfinite().all()
    pasted = paste_faces(frame, mouth_of(device), boxes, BlendConfig(method="original"), tilts=tilts)
    assert (pasted != frame).any() == (box[0] < SIDE)
    bright = torch.full_like(frame, 200)
    assert (crop_faces(bright, boxes, tilts=tilts) * 255 > 199.5).all(), "beyond its edge a frame goes on as there"


@pytest.mark.parametrize("tilt", [1.0, 30.0, -77.0, 180.0])
def test_the_window_around_a_rectangle_holds_what_the_bicubic_reaches(tilt: float) -> None:
    rect = (60, 150, 110, 180)
    ((x1, y1, x2, y2),) = windows_around([Aslant(rect, BOX, tilt)], (SIDE, SIDE)).tolist()
    middle = np.array([(BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2])
    turn = cv2.getRotationMatrix2D(tuple(middle), -tilt, 1.0)
    corners = np.array([(x, y, 1) for x in rect[::2] for y in rect[1::2]]) @ turn.T
    beyond = np.concatenate((corners.min(axis=0) - (x1, y1), (x2, y2) - corners.max(axis=0)))
    assert (beyond > 2 - 1e-9).all() and (beyond < 3 + 1e-9).all()  # whole pixels


def test_bad_tilts_are_refused() -> None:
    frame, boxes = frame_of(), torch.tensor([BOX])
    with pytest.raises(TypeError, match="tilts must be a float64 tensor, got torch.float32"):
        crop_faces(frame, boxes, tilts=torch.zeros(1))
    with pytest.raises(ValueError, match=r"tilts must be \(1,\) on the host, got \(2,\)"):
        crop_faces(frame, boxes, tilts=degrees(1, 2))
    with pytest.raises(ValueError, match="tilt 0 must be a number of degrees, got nan"):
        paste_faces(frame, mouth_of(), boxes, BlendConfig(), tilts=degrees(float("nan")))
    with pytest.raises(ValueError, match="box 0 must be at least 16 x 16"):
        crop_faces(frame, torch.tensor([[10, 10, 20, 60]]), tilts=degrees(20.0))


def test_what_is_read_of_a_tilted_box_holds_all_that_is_written() -> None:
    """However it lies and wherever it is, middles between pixels too: `original` writes into its corners."""
    rng = np.random.default_rng(0)
    size = (720, 1280)
    for _ in range(2000):
        x, y, width, height = rng.integers((-60, -60, 16, 16), (1200, 640, 300, 300)).tolist()
        box = (x, y, x + width, y + height)
        ((x1, y1, x2, y2),) = windows_around([Aslant(box, box, rng.uniform(-180, 180))], size)
        ((left, top, right, bottom),) = windows_of_boxes([box], [30.0], size)
        inside = left <= x1 and top <= y1 and x2 <= right and y2 <= bottom
        assert inside or x1 == x2 or y1 == y2, box  # or nothing of it is in the frame


def test_windows_of_boxes_are_as_large_wherever_they_are() -> None:
    """Else faces that are made smaller first would be so by another ratio from frame to frame."""
    boxes = [(x, y, x + 101, y + 150) for x, y in ((200, 300), (201, 300), (200, 301), (-40, 5), (1230, 600))]
    assert (
        len({(x2 - x1, y2 - y1) for x1, y1, x2, y2 in windows_of_boxes(boxes, [30.0] * len(boxes), (720, 1280))}) == 1
    )

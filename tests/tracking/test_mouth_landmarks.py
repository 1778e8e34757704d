"""The landmark network and the opening read off it, against the network's own framework, another detector, and mouths
whose opening is known.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gpu_lipsync.errors import CheckpointError
from gpu_lipsync.judging.mouth_measures import correlation
from gpu_lipsync.models import FaceMesh, face_mesh, load_face_detector, load_face_mesh
from gpu_lipsync.ops import resize, to_float
from gpu_lipsync.tools.face_landmarks import LOWER_INNER
from gpu_lipsync.tracking.mouth_landmarks import LEFT_EYE, RIGHT_EYE, find_contexts, find_landmarks, lips_apart
from tests.operations import Operations
from tests.talkers import BOX, sample_frame, speaking, surroundings

# Every 52nd landmark that TensorFlow Lite (ai-edge-litert 2.1.0) finds with the original file in the view below.
BY_TENSORFLOW = (
    (102.70, 117.27, -2.77), (72.50, 54.06, -17.24), (67.69, 42.35, -16.57), (58.11, 59.09, -4.00),
    (93.12, 138.83, 13.09), (129.67, 66.58, -3.04), (105.87, 120.07, 3.00), (127.56, 118.87, 29.31),
    (132.18, 107.51, 23.23),
)  # fmt: skip


def test_landmarks_are_those_of_the_original_network(device: str) -> None:
    view = resize(to_float(sample_frame()[:, :, 128:448, 96:416]), (192, 192)).to(device)
    found = load_face_mesh(device)(view)[0, ::52].cpu()
    # 0.1 px: another decoder may round the sample's pixels otherwise; with the same pixels it is 1e-4. A GPU's
    # convolutions may keep ten bits of their factors (TF32).
    torch.testing.assert_close(found, torch.tensor(BY_TENSORFLOW), atol=0.3 if device == "cuda" else 0.1, rtol=0)


def test_positions_pass_through_no_matrix_product() -> None:
    """A GPU may be told to do those in TF32, which knows 11 bits of a position; a CPU cannot show it."""
    with Operations() as seen:
        find_landmarks(sample_frame(), BOX, load_face_mesh())
        surroundings(2).with_mouths(speaking(torch.zeros(2)))
    assert not set(seen.names) & {"mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot"}


def test_opening_follows_the_mouth(device: str) -> None:
    openings = torch.linspace(0, 1, 24)
    contexts = surroundings(24)
    contexts = type(contexts)(contexts.images.to(device), contexts.to_face.to(device))
    seen = lips_apart(load_face_mesh(device)(contexts.with_mouths(speaking(openings).to(device)))).cpu()
    assert correlation(seen, openings) > 0.95
    # Shut is less than half of what her smile shows (0.15) and a third of wide open.
    assert float(seen[0]) < 0.075 < 0.18 < float(seen[-1])


def test_corners_of_the_mouth_lie_where_the_face_detector_sees_them(media: Path) -> None:
    for name in ("obama_official_portrait.jpg", "monalisa.jpg", "einstein_moustache_portrait.jpg"):
        with Image.open(media / "image" / name) as picture:
            frame = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].contiguous()
        found = load_face_detector().detect(frame)[0][0]
        box = found[None, :4]
        points = find_landmarks(frame, box, load_face_mesh())[0, :, :2] * (box[0, 2:] - box[0, :2]) + box[0, :2]
        corners = points[[LOWER_INNER[0], LOWER_INNER[-1]]]
        eyes_apart = float((points[LEFT_EYE] - points[RIGHT_EYE]).norm())
        # A seventh of the eyes' distance: the detector marks the lips' outer corners, roughly.
        assert float((corners - found[11:15].view(2, 2)).norm(dim=1).max()) < eyes_apart / 7, name


def test_a_turned_head_is_seen_upright() -> None:
    frame = sample_frame()
    straight = lips_apart(load_face_mesh()(find_contexts(frame, BOX, load_face_mesh()).images.float() / 255))
    radians = torch.tensor(20.0).deg2rad()
    cos, sin = float(radians.cos()), float(radians.sin())
    grid = torch.nn.functional.affine_grid(
        torch.tensor([[[cos, -sin, 0.0], [sin, cos, 0.0]]]), [1, 3, 512, 512], align_corners=False
    )
    tilted = torch.nn.functional.grid_sample(frame.float(), grid, align_corners=False).round().to(torch.uint8)
    found = load_face_detector().detect(tilted)[0][0]
    context = find_contexts(tilted, found[None, :4], load_face_mesh())
    points = load_face_mesh()(context.images.float() / 255)
    slope = points[0, LEFT_EYE, :2] - points[0, RIGHT_EYE, :2]
    assert abs(float(torch.atan2(slope[1], slope[0]).rad2deg())) < 5  # of the 20 degrees
    assert float(lips_apart(points)) == pytest.approx(float(straight), abs=0.05)  # a quarter of a wide mouth


def test_another_shape_or_a_damaged_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="faces.shape"):
        FaceMesh()(torch.zeros(1, 3, 96, 96))
    monkeypatch.setattr(face_mesh, "WEIGHTS_SHA256", "0")
    with pytest.raises(CheckpointError, match="damaged"):
        load_face_mesh()


def test_a_file_that_may_not_be_read_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    for load in (load_face_mesh, load_face_detector):
        with pytest.raises(CheckpointError, match=r"cannot read .*\.safetensors \(Permission denied\); reinstall"):
            load()


def test_half_precision_finds_the_same_places(device: str) -> None:
    """Of a run, which looks at every generated face; not of what judges."""
    faces = resize(speaking(torch.tensor([0.0, 0.3, 0.6, 0.9])), (192, 192)).to(device)
    exact = load_face_mesh(device)(faces)[..., :2]
    found = load_face_mesh(device, dtype=torch.float16 if device == "cuda" else torch.bfloat16)(faces)[..., :2]
    # Of 192 px: bfloat16's features have three digits, and a landmark is a sum of many.
    assert (found - exact).abs().mean() < 0.1 and (found - exact).abs().max() < 0.6


def test_the_fast_prelu_is_pytorch_s() -> None:
    torch.manual_seed(0)
    act = torch.nn.PReLU(16).to(torch.bfloat16)
    act.weight.data.uniform_(-1, 1.4)
    features = torch.randn(2, 16, 24, 24).to(torch.bfloat16)
    expected = torch.nn.functional.prelu(features.float(), act.weight.float())
    # bfloat16 keeps eight bits of the slope less one, and of the result.
    torch.testing.assert_close(face_mesh.HalfPReLU(act)(features.clone()).float(), expected, atol=0.01, rtol=0.01)

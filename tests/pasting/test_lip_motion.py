"""How lips moved, by landmarks: against warps that are known, and whatever a batch is made of."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.models import load_face_mesh
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.pasting import lip_motion
from gpu_lipsync.pasting.lip_motion import FAR, PASSES, SPREAD_PX, find_lip_motion
from tests.places import DEMO, SPEECH
from tests.talkers import speaking

COLUMN, LIPS_MEET = 45, 66  # of the sample's shut mouth, in its 96 pixels; read off its picture
NOSE, UPPER_LIP, LOWER_LIP, CHIN = 52, 64, 68, 80  # rows there


def shut(n: int = 1) -> Tensor:
    return speaking(torch.zeros(n))


def lowered(faces: Tensor, px: float) -> Tensor:
    """All below the line between the lips further down in the mouth's width, by cv2.remap, and dark in the gap."""
    y, x = np.mgrid[0:96, 0:96].astype(np.float32)
    down = px * np.clip(1.3 - np.abs(x - COLUMN) / 20, 0, 1)
    pictures = [np.ascontiguousarray(face.permute(1, 2, 0).numpy()) for face in faces]
    made = [cv2.remap(picture, x, np.where(y > LIPS_MEET, y - down, y), cv2.INTER_LINEAR) for picture in pictures]
    gap = (y > LIPS_MEET) & (y < LIPS_MEET + down)
    dark = np.where(gap[..., None], 0.15, np.stack(made)).astype(np.float32)
    return torch.from_numpy(dark).permute(0, 3, 1, 2).contiguous()


def rows_from(made: Tensor, sources: Tensor, device: str = "cpu", **settings: object) -> NDArray[np.float32]:
    """Of each row in the face's middle, from how many pixels further down it comes: (n, 96)."""
    motion = find_lip_motion(made.to(device), sources.to(device), load_face_mesh(device), **settings)  # type: ignore[arg-type]
    return motion.shift[:, 1, :, COLUMN].cpu().numpy() * 96


@pytest.mark.parametrize("px", [2, 4])
def test_a_lip_that_was_drawn_lower_comes_from_above(px: int, device: str) -> None:
    source = shut()
    (rows,) = rows_from(lowered(source, px), source, device)
    expected = {NOSE: 0, UPPER_LIP: 0, LOWER_LIP + px: -px, CHIN + px: -px}
    off = {row: float(abs(rows[row] - shift)) for row, shift in expected.items()}
    # A fifth is what landmarks make of it, whose shape is a face's, whatever was drawn; and half a pixel.
    assert max(off.values()) < 0.5 + 0.2 * px, off


def test_a_face_left_alone_has_not_moved(device: str) -> None:
    source = speaking(torch.tensor([0.0, 0.4]))
    assert np.abs(rows_from(source, source, device)).max() < 1e-3  # float32, in another row of the batch


def test_what_is_between_lips_that_have_parted_is_not_shown(device: str) -> None:
    made, source = speaking(torch.tensor([0.9])).to(device), shut().to(device)
    shown = find_lip_motion(made, source, load_face_mesh(device)).shown[0, 0, :, COLUMN].cpu()
    assert shown[LIPS_MEET + 1 : LIPS_MEET + 8].max() == 0, shown
    assert shown[:UPPER_LIP].min() == 1 and shown[90:].min() == 1, shown


def test_teeth_beside_the_lips_of_an_open_source_are_not_shown(device: str) -> None:
    """Landmarks of open lips lie at their edge, give or take a pixel; of shut ones nothing needs to be left out."""
    wide, mesh = speaking(torch.tensor([0.9])).to(device), load_face_mesh(device)
    shut_now = shut().to(device)
    from_open, from_shut = (find_lip_motion(shut_now, s, mesh).shown[0, 0, :, COLUMN].cpu() for s in (wide, shut_now))
    left_out = [float((1 - shown[60:78]).sum()) for shown in (from_open, from_shut)]
    assert 2 <= left_out[0] <= 4 and left_out[1] <= 1.5, left_out


def test_each_face_moves_by_itself() -> None:
    """In pieces for a CPU's cores or not, beside others or not, of one source or as many."""
    sources, mesh = shut(9), load_face_mesh()
    made = speaking(torch.linspace(0, 1, 9))
    together, of_one = find_lip_motion(made, sources, mesh), find_lip_motion(made, sources[:1], mesh)
    for i in (0, 5, 8):
        alone = find_lip_motion(made[i : i + 1], sources[:1], mesh)
        for motion in (together, of_one):
            # Products of another size round otherwise: a landmark by 1e-4 of a pixel.
            assert (motion.shift[i] - alone.shift[0]).abs().max() * 96 < 0.01
            assert (motion.shown[i] - alone.shown[0]).abs().max() < 0.01


def test_only_the_part_that_is_made_is_looked_at() -> None:
    source, mesh = shut(), load_face_mesh()
    window = Window(52, 92, 20, 76)
    made = lowered(source, 3)
    beside = made.clone()
    beside[:, :, :52] = torch.rand(1, 3, 52, 96, generator=torch.Generator().manual_seed(0))
    plain, noisy = (find_lip_motion(faces, source, mesh, window=window).shift for faces in (made, beside))
    assert torch.equal(plain, noisy)
    assert not torch.allclose(find_lip_motion(beside, source, mesh).shift, plain, atol=1e-3)


def test_a_mouth_of_nan_moves_no_other() -> None:
    sources, mesh = shut(3), load_face_mesh()
    made = speaking(torch.tensor([0.2, 0.5, 0.8]))
    spoiled = made.clone()
    spoiled[1, 0, 70, 40] = float("nan")
    clean, motion = (find_lip_motion(faces, sources, mesh) for faces in (made, spoiled))
    assert motion.shift.isfinite().all() and motion.shown.isfinite().all()
    assert torch.equal(motion.shift[::2], clean.shift[::2])


def test_shifts_are_spread_as_barnes_did() -> None:
    """In float64, at every fourth pixel; between those as cv2.resize does it."""
    rng = np.random.default_rng(0)
    points = rng.uniform((20, 45), (76, 95), (12, 2))
    shifts = rng.normal(0, 3, (12, 2))

    def weights(places: NDArray[np.float64]) -> NDArray[np.float64]:
        distance = np.linalg.norm(places[:, None] - points, axis=2)
        near = np.exp(-0.5 * (distance / SPREAD_PX) ** 2)
        return near / (near.sum(axis=1, keepdims=True) + FAR)

    places = np.stack(np.meshgrid(np.arange(2.0, 96, 4), np.arange(42.0, 96, 4)), axis=2).reshape(-1, 2)
    expected, rest = np.zeros((len(places), 2)), shifts
    for _ in range(PASSES):
        expected += weights(places) @ rest
        rest = rest - weights(points) @ rest
    spread = lip_motion._spread(*(torch.tensor(of, dtype=torch.float32)[None] for of in (shifts, points)))[0] * 96
    enlarged = cv2.resize(expected.reshape(14, 24, 2), (96, 56), interpolation=cv2.INTER_LINEAR)
    assert np.abs(spread[:, 40:].permute(1, 2, 0).numpy() - enlarged).max() < 1e-3  # float32
    assert spread[:, :40].abs().max() == 0


def test_lips_of_a_run_have_more_of_their_own_detail(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator that ships, on the lipstick of a woman it has never seen."""
    clip = media / "video" / "vretalk_3_woman_flag.mp4"
    made = {}
    for moved in (True, False):
        if not moved:
            monkeypatch.setattr("gpu_lipsync.pipeline.load_lip_mesh", lambda *_: None)
        out = tmp_path / f"{moved}.mp4"
        run(LipSyncConfig(checkpoint_path=DEMO, face=clip, audio=SPEECH, outfile=out, mouth_region_size=0.4))
        made[moved] = grey(out)
    source = grey(clip)
    changed = cv2.blur(np.abs(made[False][: len(source)] - source).mean(axis=0), (9, 9)) > 6
    assert changed.sum() > 3000  # lips, and what is around them
    fine = {
        moved: np.mean([np.abs(plane - cv2.GaussianBlur(plane, (0, 0), 2))[changed].mean() for plane in planes])
        for moved, planes in made.items()
    }
    assert fine[True] > 1.04 * fine[False], fine  # 3.46 and 3.24 levels


def grey(path: Path) -> NDArray[np.float32]:
    """(n, height, width), levels."""
    with av.open(str(path)) as clip:
        return np.stack([frame.to_ndarray(format="gray").astype(np.float32) for frame in clip.decode(video=0)])

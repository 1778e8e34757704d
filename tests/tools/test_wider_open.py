"""Photographs opened further, beside the same mouth drawn as wide open as that."""

import pytest
import torch

from gpu_lipsync.tools import demo_batches
from gpu_lipsync.tools.demo_batches import AS_IT_WAS, BatchMaker
from gpu_lipsync.tools.inner_lips import N_LIP_POINTS, UPPER_SHARE, edges_at
from gpu_lipsync.tools.looks import Looks
from gpu_lipsync.tools.synthetic_talkers import Faces, animate, mouth_frame, pixel_grid, sample, shut
from gpu_lipsync.tools.wider_open import opened
from tests.talkers import sample_faces, small_material

GAP = 0.3  # half mouth widths


def open_by(gap: float) -> Faces:
    """The sample's face, its mouth drawn open by `gap`; with the lips' edges as drawn."""
    face, looks, mouth = shut(sample_faces(1)), Looks.alike(1), torch.zeros(1, 4)
    mouth[:, 0] = gap / looks.amplitude
    arch = (1 - torch.linspace(-1, 1, N_LIP_POINTS) ** 2) ** looks.roundness
    together = face.lips[:, 0]
    lips = torch.stack((together - UPPER_SHARE * gap * arch, together + (1 - UPPER_SHARE) * gap * arch), dim=1)
    crops = animate(face, mouth, looks=looks, points=pixel_grid(1))
    return Faces(crops=crops, corners=face.corners, eyes=face.eyes, lips=lips)


@pytest.mark.parametrize("further", [0.5, 1.0])
def test_lips_and_jaw_go_where_they_are_drawn_that_wide_open(further: float) -> None:
    was, wanted = open_by(GAP), open_by(GAP * (1 + further))
    made = sample(was.crops, opened(pixel_grid(1), was, torch.tensor([further])))
    u, v = mouth_frame(was, pixel_grid(1))
    upper, lower = edges_at(wanted.lips, u)
    lips_and_chin = (u.abs() < 0.9) & (v > -0.5) & (v < 1.6) & ((v < upper - 0.05) | (v > lower + 0.05))
    off, at_first = ((crops - wanted.crops).abs().mean(dim=1)[lips_and_chin].mean() for crops in (made, was.crops))
    assert at_first > 0.01, "or nothing moved"
    assert off < 0.25 * at_first, "what is drawn narrows a mouth by a tenth of its opening, and is sampled once"


def test_what_is_between_the_lips_is_stretched_and_nothing_folds() -> None:
    face = open_by(GAP)
    points = pixel_grid(1)
    u, v = mouth_frame(face, points)
    seen_u, seen_v = mouth_frame(face, opened(points, face, torch.tensor([1.0])))
    torch.testing.assert_close(seen_u, u, rtol=0, atol=1e-4)  # float32
    middle = (u.abs() < 0.02)[0].any(dim=0)
    column, seen = v[0, :, middle][:, 0], seen_v[0, :, middle][:, 0]
    upper, lower = (float(edge) for edge in edges_at(face.lips, torch.zeros(1, 1, 1)))
    top, bottom = upper - UPPER_SHARE * GAP, lower + (1 - UPPER_SHARE) * GAP
    inside = (column > top) & (column < bottom)
    expected = upper + (column[inside] - top) / (2 * GAP) * GAP
    torch.testing.assert_close(seen[inside], expected, rtol=0, atol=0.01)  # half a percent of the mouth
    assert (seen.diff() > -1e-4).all(), "a fold"
    thick = (column > bottom) & (column < bottom + 0.15)
    assert seen[thick].diff().div(column[thick].diff()).sub(1).abs().max() < 0.25, "lips as thick, but for the jaw"


def test_a_mouth_that_is_not_opened_or_shut_already_stays_as_it_is() -> None:
    points = pixel_grid(1)
    for face, further in ((open_by(GAP), 0.0), (shut(sample_faces(1)), 1.0)):
        seen = opened(points, face, torch.tensor([further]))
        torch.testing.assert_close(seen, points, rtol=0, atol=1e-3)  # a thousandth of a pixel


def test_only_photographs_of_open_mouths_are_opened_and_only_as_references(monkeypatch: pytest.MonkeyPatch) -> None:
    maker, seen = BatchMaker(small_material(), device=torch.device("cpu")), []
    for share in (0.0, 1.0):
        monkeypatch.setattr(demo_batches, "OPENED", share)
        maker.seed(4)
        seen.append(maker.batch(21))
    n_as_it_was = round(20 * AS_IT_WAS)
    torch.testing.assert_close(seen[0].faces, seen[1].faces)
    torch.testing.assert_close(seen[0].reference[n_as_it_was:], seen[1].reference[n_as_it_was:])
    changed = (seen[0].reference - seen[1].reference)[:n_as_it_was].abs().amax(dim=(1, 2, 3)) > 0.05
    assert changed.sum() >= n_as_it_was / 2, "most of the material's mouths are open"

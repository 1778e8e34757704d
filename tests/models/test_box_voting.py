"""Overlapping boxes become one, as torchvision's non-maximum suppression keeps them."""

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from gpu_lipsync.models.box_voting import iou_matrix, vote


@pytest.mark.parametrize("seed", range(5))
def test_voting_keeps_what_torchvision_nms_keeps(seed: int) -> None:
    candidates = random_candidates(seed)
    found = vote(candidates[None])[0]
    likely = candidates[candidates[:, 4] > 0.5]
    kept = torchvision.ops.nms(likely[:, :4], likely[:, 4], 0.3)
    np.testing.assert_array_equal(found[:, 4], likely[kept, 4])


def test_voting_averages_those_that_agree() -> None:
    candidates = random_candidates(seed=7)
    (found,) = vote(candidates[None])
    voters = candidates[candidates[:, 4] > 0.35]
    overlap = torchvision.ops.box_iou(voters[:, :4], voters[:, :4])
    np.testing.assert_allclose(iou_matrix(*[voters.numpy()] * 2), overlap, atol=1e-5)  # float32
    best = int(voters[:, 4].argmax())
    agree = voters[overlap[best] > 0.6]
    assert len(agree) > 2
    mean = (agree * agree[:, 4:5] ** 2).sum(0) / (agree[:, 4] ** 2).sum()
    height = mean[3] - mean[1]
    np.testing.assert_allclose(found[0, [0, 2]], mean[[0, 2]], rtol=1e-5)
    np.testing.assert_allclose(found[0, 1], mean[1] - 0.03 * height, rtol=1e-5)  # to S3FD's idea of a box
    np.testing.assert_allclose(found[0, 3], mean[3] + 0.01 * height, rtol=1e-5)
    np.testing.assert_allclose(found[0, 5:], mean[5:], rtol=1e-5)


@pytest.mark.parametrize(
    ("overlap", "n_faces", "n_voters"),
    [
        (0.27, 2, 1),
        (0.33, 1, 1),  # another cell's idea of the same face, too far off to have a say
        (0.55, 1, 1),
        (0.65, 1, 2),
    ],
)
def test_how_much_of_a_box_makes_it_the_same_face_and_lets_it_vote(overlap: float, n_faces: int, n_voters: int) -> None:
    """Two of one size and score, one moved aside: they share s of their width where s / (2 - s) is the overlap."""
    moved = 100 * (1 - 2 * overlap / (1 + overlap))
    candidates = torch.zeros(2, 15)
    candidates[:, :5] = torch.tensor([[0.0, 0.0, 100.0, 120.0, 0.8], [moved, 0.0, 100.0 + moved, 120.0, 0.8]])
    assert torchvision.ops.box_iou(candidates[:, :4], candidates[:, :4])[0, 1] == pytest.approx(overlap)
    (faces,) = vote(candidates[None])
    assert len(faces) == n_faces
    assert faces[0, 0] == pytest.approx(moved / 2 if n_voters == 2 else 0.0, abs=1e-4)  # float32


def random_candidates(seed: int) -> Tensor:
    """(60, 15), best first: clusters about a few boxes."""
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 300, (5, 2))[generator.integers(0, 5, 60)] + generator.normal(0, 6, (60, 2))
    size = generator.uniform(80, 100, (60, 2))
    score = np.sort(generator.uniform(0.1, 0.95, 60))[::-1, None]
    landmarks = np.tile(corners, 5) + np.tile(size, 5) * generator.uniform(0.3, 0.7, (60, 10))
    return torch.from_numpy(np.concatenate((corners, corners + size, score, landmarks), 1).astype(np.float32))

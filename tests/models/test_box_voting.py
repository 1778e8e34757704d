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


def random_candidates(seed: int) -> Tensor:
    """(60, 15), best first: clusters about a few boxes."""
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 300, (5, 2))[generator.integers(0, 5, 60)] + generator.normal(0, 6, (60, 2))
    size = generator.uniform(80, 100, (60, 2))
    score = np.sort(generator.uniform(0.1, 0.95, 60))[::-1, None]
    landmarks = np.tile(corners, 5) + np.tile(size, 5) * generator.uniform(0.3, 0.7, (60, 10))
    return torch.from_numpy(np.concatenate((corners, corners + size, score, landmarks), 1).astype(np.float32))

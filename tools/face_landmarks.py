"""Where a picture's lips and eyes are: the landmark network's points, in the pixels of training crops."""

import torch
from torch import Tensor

from gpu_lipsync.tools.inner_lips import N_LIP_POINTS
from gpu_lipsync.tracking.mouth_landmarks import MOUTH_CORNERS

# Landmark numbers of the face mesh, from the person's right to left.
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
EYES = ((33, 133), (362, 263))


def lip_edges(points: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (N, 2, 2) and inner edges (N, 2, N_LIP_POINTS), as synthetic_talkers.Faces has them.

    Args:
        points: (N, 468, 2) in crop pixels.
    """
    corners = points[:, MOUTH_CORNERS]
    half = (corners[:, 1] - corners[:, 0]) / 2
    down = torch.stack((-half[:, 1], half[:, 0]), dim=1)
    square = half.square().sum(dim=1)[:, None]
    at = torch.linspace(-1, 1, N_LIP_POINTS)
    edges = []
    for numbers in (UPPER_INNER, LOWER_INNER):
        offset = points[:, numbers] - corners.mean(dim=1, keepdim=True)
        u = (offset * half[:, None]).sum(dim=2) / square
        v = (offset * down[:, None]).sum(dim=2) / square
        edges.append(_between(u.contiguous(), v, at))
    upper, lower = edges
    return corners, torch.stack((upper, torch.maximum(upper, lower)), dim=1)


def _between(u: Tensor, v: Tensor, at: Tensor) -> Tensor:
    """Piecewise linear: heights (N, n) at `at` (n,) of the curves through (u, v), both (N, m), u rising."""
    u = u.cummax(dim=1).values
    right = torch.searchsorted(u, at.expand(len(u), -1).contiguous()).clamp(1, u.shape[1] - 1)
    u0, u1, v0, v1 = u.gather(1, right - 1), u.gather(1, right), v.gather(1, right - 1), v.gather(1, right)
    share = ((at - u0) / (u1 - u0).clamp(min=1e-4)).clamp(0, 1)
    return torch.lerp(v0, v1, share)

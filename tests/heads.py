"""Heads that hold still."""

import torch
from torch import Tensor

from gpu_lipsync.pasting.heads import Heads, Pose

STILL = Pose(0.0, 0.0)


def held_still(boxes: Tensor, kind: type[Heads] = Heads) -> Heads:
    """In boxes (n, 4), in one scene, under masks that are not fitted."""
    n = len(boxes)
    return kind(
        boxes=boxes,
        fits=torch.zeros((n, 3), dtype=torch.int64),
        poses=(STILL,) * n,
        scenes=(0,) * n,
        frames=tuple(range(n)),
        tilts=torch.zeros(n, dtype=torch.float64),
    )

"""How much of an edge a blend leaves, and how much detail."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from gpu_lipsync.ops import grey, to_float

EDGE_PX = 2  # to both sides of the box that the naive paste leaves


def box_edge(height: int, width: int, left_right_top_bottom: tuple[int, int, int, int], device: torch.device) -> Tensor:
    """Where the naive paste ends: (1, 1, H, W) bool, of a box of that size with so many pixels around it."""
    inside = torch.zeros((1, 1, height - 2 * EDGE_PX, width - 2 * EDGE_PX), dtype=torch.float32, device=device)
    ring = pad(inside, (EDGE_PX,) * 4, value=1.0)
    reach = tuple(min(EDGE_PX, side) for side in left_right_top_bottom)
    ring = pad(ring, reach, value=1.0)
    return pad(ring, tuple(side - near for side, near in zip(left_right_top_bottom, reach, strict=True))) > 0


def mask_edge(mask: Tensor) -> Tensor:
    """Where a mask (1, 1, H, W) in [0, 1] changes, and the pixels next to it, which see a mask without feather end."""
    most, least = (sign * max_pool2d(sign * mask, 3, 1, 1) for sign in (1, -1))
    return (most > 0.02) & (least < 0.98)


def seam(source: Tensor, picture: Tensor, edge: Tensor) -> float:
    """Gradient energy along an edge in excess of the source's; 0 cannot be seen, below 0 detail is missing.

    Args:
        source: (1, 3, H, W) uint8.
        picture: likewise, with a mouth blended in.
        edge: (1, 1, H, W) bool, where the blend ends.

    Returns:
        Squared levels per pixel, the three channels' sum.
    """
    return float(((_gradient_energy(picture) - _gradient_energy(source)) * edge).sum() / edge.sum())


def detail(source: Tensor, picture: Tensor, inside: Tensor) -> float:
    """Energy of the finest detail, as a share of the source's: 1 is as sharp."""
    return float(
        (_laplacian_energy(picture) * inside).sum() / (_laplacian_energy(source) * inside).sum().clamp_min(1e-9)
    )


def _gradient_energy(picture: Tensor) -> Tensor:
    image = to_float(picture) * 255
    across, down = image.diff(dim=3, append=image[..., -1:]), image.diff(dim=2, append=image[:, :, -1:])
    return (across.square() + down.square()).sum(1, keepdim=True)


def _laplacian_energy(picture: Tensor) -> Tensor:
    around = pad(grey(to_float(picture)) * 255, (1, 1, 1, 1), mode="replicate")
    ring = around[..., 1:-1, 2:] + around[..., 1:-1, :-2] + around[..., 2:, 1:-1] + around[..., :-2, 1:-1]
    return (ring - 4 * around[..., 1:-1, 1:-1]).square()

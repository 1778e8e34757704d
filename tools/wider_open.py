"""Photographs of open mouths, opened further, as strangers' are that have to shut; their lips are what they were."""

import torch
from torch import Tensor

from gpu_lipsync.tools.inner_lips import UPPER_SHARE, edges_at
from gpu_lipsync.tools.synthetic_talkers import Faces, in_pixels, mouth_frame, source_height

FURTHEST = 1.2  # gaps that a gap grows by: mouths of the material are half as wide open as some strangers'


def opened(points: Tensor, faces: Faces, further: Tensor) -> Tensor:
    """Where the pixels of a picture lie in that of a mouth less wide open.

    What is between the lips is stretched; the lips only move, and the jaw with the lower one. A picture stretched all
    over would have other lips than the face that is to be made of it.

    Args:
        points: (N, H, W, 2) crop coordinates of the pixels.
        faces: N faces, whose `lips` are apart.
        further: (N,), by how much the gap grows, in gaps.

    Returns:
        (N, H, W, 2) crop coordinates.
    """
    u, v = mouth_frame(faces, points)
    upper, lower = edges_at(faces.lips, u)
    gap = lower - upper
    more = gap * further.view(-1, 1, 1)
    new_upper, new_lower = upper - UPPER_SHARE * more, lower + (1 - UPPER_SHARE) * more
    widest = (faces.lips[:, 1] - faces.lips[:, 0]).amax(dim=1) * further
    still = torch.zeros_like(widest).view(-1, 1, 1)
    outside = source_height(
        v,
        u,
        edges=(new_upper, new_lower),
        was=(upper, lower),
        closing=still,
        jaw=(1 - UPPER_SHARE) * widest.view(-1, 1, 1),
        rounding=still,
    )
    between = upper + (v - new_upper) / (new_lower - new_upper).clamp(min=1e-3) * gap
    return in_pixels(faces, u, torch.where((v > new_upper) & (v < new_lower), between, outside))

"""Edges."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from gpu_lipsync.ops.checks import check_image, check_range

TAN_22 = 13573 / 32768  # tan(22.5 degrees) in OpenCV's fixed point
HYSTERESIS_STEPS = 32  # pixels that an edge can be followed from its strong part


def canny(image: Tensor, low: float, high: float) -> Tensor:
    """Find thin edges: strong ones, and weak ones that continue them.

    A weak edge is followed for at most 32 pixels from a strong one, in a fixed number of steps: to stop when nothing
    changes, the host would have to look.

    Args:
        image: (B, 1, H, W) float in [0, 1], taken at 256 levels.
        low: gradient (|dx| + |dy|, Sobel, in levels) above which a pixel may continue an edge.
        high: gradient above which a pixel starts one.

    Returns:
        (B, 1, H, W) float, 1 on edges and 0 elsewhere.

    Raises:
        ValueError: `image` is not (B, 1, H, W), or not 0 <= low <= high.

    Reference: cv2.Canny(x, low, high) on uint8; at least 97 % of the edge pixels are the same.
    """
    check_image(image, 1)
    check_range(high, 0, 1e6, name="high")
    check_range(low, 0, high, name="low")
    levels = image.mul(255.0).round_().clamp_(0.0, 255.0)
    dx, dy = _sobel(pad(levels, (1, 1, 1, 1), mode="replicate"))
    gradient = dx.abs().add_(dy.abs())
    thin = _is_crest(gradient, dx, dy)
    weak = thin & (gradient > low)
    return _connected(thin & (gradient > high), weak).float()


def _sobel(padded: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical 3 x 3 Sobel derivatives of an image padded by 1."""
    down = padded[:, :, :-2] + padded[:, :, 2:] + 2.0 * padded[:, :, 1:-1]
    across = padded[..., :-2] + padded[..., 2:] + 2.0 * padded[..., 1:-1]
    return down[..., 2:] - down[..., :-2], across[:, :, 2:] - across[:, :, :-2]


def _is_crest(gradient: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Where the gradient is largest among its neighbours across the edge; ties go to the right and the lower one."""
    around = pad(gradient, (1, 1, 1, 1))
    height, width = gradient.shape[2:]

    def at(y: int, x: int) -> Tensor:
        return around[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width]

    across, along = dx.abs(), dy.abs()
    flat = along < across * TAN_22
    steep = along > across * (TAN_22 + 2.0)
    falling = (dx < 0) ^ (dy < 0)
    horizontal = (gradient > at(0, -1)) & (gradient >= at(0, 1))
    vertical = (gradient > at(-1, 0)) & (gradient >= at(1, 0))
    diagonal = torch.where(
        falling,
        (gradient > at(-1, 1)) & (gradient > at(1, -1)),
        (gradient > at(-1, -1)) & (gradient > at(1, 1)),
    )
    return torch.where(flat, horizontal, torch.where(steep, vertical, diagonal))


def _connected(strong: Tensor, weak: Tensor) -> Tensor:
    """Grow `strong` within `weak`, one pixel in all eight directions a step."""
    edges, rows = strong.clone(), strong.clone()
    for _ in range(HYSTERESIS_STEPS):
        rows.copy_(edges)
        rows[:, :, 1:].logical_or_(edges[:, :, :-1])
        rows[:, :, :-1].logical_or_(edges[:, :, 1:])
        edges.copy_(rows)
        edges[..., 1:].logical_or_(rows[..., :-1])
        edges[..., :-1].logical_or_(rows[..., 1:])
        edges.logical_and_(weak)
    return edges

"""Edges."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from gpu_lipsync.ops.checks import check_image, check_range
from gpu_lipsync.ops.constants import device_constant, upload
from gpu_lipsync.ops.convert import to_bytes

TAN_22 = 13573 / 32768  # tan(22.5 degrees) in OpenCV's fixed point
HYSTERESIS_STEPS = 32  # pixels that an edge can be followed from its strong part


def canny(image: Tensor, low: float, high: float) -> Tensor:
    """Find thin edges: strong ones, and weak ones that continue them.

    A weak edge is followed for at most 32 pixels from a strong one, in a fixed number of steps: to stop when nothing
    changes, the host would have to look.

    Args:
        image: (B, 1, H, W) float32 in [0, 1], taken at 256 levels.
        low: gradient (|dx| + |dy|, Sobel, in levels) above which a pixel may continue an edge.
        high: gradient above which a pixel starts one.

    Returns:
        (B, 1, H, W) float32, 1 on edges and 0 elsewhere.

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not (B, 1, H, W), or not 0 <= low <= high.

    Reference: cv2.Canny(x, low, high) on uint8; at least 97 % of the edge pixels are the same.
    """
    check_image(image, 1)
    check_range(high, 0, 1e6, name="high")
    check_range(low, 0, high, name="low")
    levels = image.mul(255.0).round_().clamp_(0.0, 255.0)
    dx, dy = _sobel(pad(levels, (1, 1, 1, 1), mode="replicate"))
    gradient = dx.abs().add_(dy.abs())
    rival = _rival(gradient, dx, dy)
    weak, strong = (rival.clamp_min(level).lt_(gradient) for level in (low, high))
    return _connected(strong, weak)


def _sobel(padded: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical 3 x 3 Sobel derivatives of an image padded by 1."""
    down = (padded[:, :, :-2] + padded[:, :, 2:]).add_(padded[:, :, 1:-1], alpha=2.0)
    across = (padded[..., :-2] + padded[..., 2:]).add_(padded[..., 1:-1], alpha=2.0)
    return down[..., 2:] - down[..., :-2], across[:, :, 2:] - across[:, :, :-2]


def _rival(gradient: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """What a pixel's gradient has to exceed to be a crest: that of its neighbours across the edge.

    Ties go to the right and the lower one: gradients are whole numbers, so a neighbour that may tie counts half less.
    Comparisons give 0.0 and 1.0 and choices are `lerp` by them, which keeps to vector instructions on a CPU; boolean
    tensors and `where` are twenty times slower there.
    """
    around = pad(gradient, (1, 1, 1, 1))
    height, width = gradient.shape[2:]

    def at(y: int, x: int) -> Tensor:
        return around[:, :, 1 + y : 1 + y + height, 1 + x : 1 + x + width]

    across, along = dx.abs(), dy.abs()
    flat = (across * TAN_22).gt_(along)
    steep = along.gt_(across.mul_(TAN_22 + 2.0))
    falling = (dx * dy).lt_(0.0)
    diagonal = torch.lerp(torch.maximum(at(-1, -1), at(1, 1)), torch.maximum(at(-1, 1), at(1, -1)), falling)
    vertical = torch.maximum(at(-1, 0), at(1, 0) - 0.5)
    horizontal = torch.maximum(at(0, -1), at(0, 1) - 0.5)
    return diagonal.lerp_(vertical, steep).lerp_(horizontal, flat)


def _connected(strong: Tensor, weak: Tensor) -> Tensor:
    """Grow `strong` within `weak`, both 0.0 and 1.0, by one pixel in all eight directions a step.

    Eight pictures share a byte, each as a bit of its own. Flat, the neighbours of all pixels are one slice each,
    contiguous; a row's end meets the next row's beginning in the padding alone, where nothing is weak.
    """
    n, _, height, width = strong.shape
    row, inner = width + 2, slice(width + 3, (height + 1) * (width + 2) - 1)
    pack, group, bit = _bits(n, strong.device)
    both = pad(torch.cat((strong, weak), dim=1), (1, 1, 1, 1)).flatten(1)
    # Two dimensions each: for one picture a batched product is an outer one, which PyTorch 2.14 has Triton compile.
    edges, allowed = to_bytes(torch.mm(pack, both)).unflatten(1, (2, -1)).unbind(1)
    inside, allowed = edges[:, inner], allowed[:, inner]
    # Slices are taken once: in so short operations taking them costs more than the work.
    pairs, rows, columns = (torch.empty_like(edges[:, : edges.shape[1] - n]) for n in (1, 2, 2 + row))
    left, right = edges[:, 1:], edges[:, :-1]
    first, second = pairs[:, 1:], pairs[:, :-1]
    upper, lower = rows[:, row:], rows[:, :-row]
    above, below = columns[:, row:], columns[:, :-row]
    for _ in range(HYSTERESIS_STEPS):
        torch.bitwise_or(left, right, out=pairs)
        torch.bitwise_or(first, second, out=rows)
        torch.bitwise_or(upper, lower, out=columns)
        torch.bitwise_or(above, below, out=inside)
        inside.bitwise_and_(allowed)
    found = edges.index_select(0, group).bitwise_and_(bit).float().clamp_max_(1.0)
    return found.view(n, 1, height + 2, row)[:, :, 1:-1, 1:-1]


@device_constant
def _bits(n: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """How `n` pictures share bytes: what packs them, (bytes, n) float, and each one's byte (n,) and bit (n, 1)."""
    index = torch.arange(n)
    bit = 2 ** (index % 8)
    pack = torch.zeros(-(-n // 8), n, dtype=torch.float32).index_put_((index // 8, index), bit.float())
    return upload(pack, device), upload(index // 8, device), upload(bit.to(torch.uint8)[:, None], device)

"""Contrast-limited adaptive histogram equalisation."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from gpu_lipsync.ops.checks import check_image, check_range
from gpu_lipsync.ops.constants import remembered, upload

LEVELS = 256


def clahe(image: Tensor, clip_limit: float, grid: tuple[int, int] = (8, 8)) -> Tensor:
    """Spread the levels of each tile, and blend between tiles.

    Args:
        image: (B, C, H, W) float in [0, 1]; each channel on its own, at 256 levels.
        clip_limit: 1 to 1000; how much steeper than the identity a tile's curve may get.
        grid: tiles down and across.

    Returns:
        Like `image`, in [0, 1].

    Raises:
        ValueError: `image` is not 4-D or smaller than the grid, or `clip_limit` is out of range.

    Reference: cv2.createCLAHE(clip_limit, (across, down)).apply on uint8; within 1/255 (its rounding).
    """
    check_image(image)
    check_range(clip_limit, 1, 1000, name="clip_limit")
    batch, channels, height, width = image.shape
    down, across = grid
    if not (1 <= down <= height // 2 and 1 <= across <= width // 2):
        raise ValueError(f"grid must be at least 1 x 1 and at most half the image, got {grid} for {tuple(image.shape)}")
    levels = image.mul(LEVELS - 1).round_().clamp_(0, LEVELS - 1).to(torch.int64).view(-1, height, width)
    curves = _curves(levels, clip_limit, grid).flatten(1)
    corners, weights = _tiles_around(height, width, grid, image.device)
    out = torch.zeros_like(image).view(-1, height, width)
    for corner, weight in zip(corners, weights, strict=True):
        out.addcmul_(curves.gather(1, (levels + corner).flatten(1)).view_as(out), weight)
    return out.view(batch, channels, height, width)


def _tile_size(height: int, width: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Where the grid does not divide both sides, OpenCV enlarges both, by a whole tile row if one of them did fit."""
    down, across = grid
    if height % down == 0 and width % across == 0:
        return height // down, width // across
    return height // down + 1, width // across + 1


def _curves(levels: Tensor, clip_limit: float, grid: tuple[int, int]) -> Tensor:
    """Each tile's output level in [0, 1] for each input level: (N, down * across, 256)."""
    n, height, width = levels.shape
    down, across = grid
    tile_height, tile_width = _tile_size(height, width, grid)
    area = tile_height * tile_width
    extra = (0, across * tile_width - width, 0, down * tile_height - height)
    if any(extra):
        levels = pad(levels.float()[:, None], extra, mode="reflect")[:, 0].long()
    bins = levels + _tile_bins(tile_height, tile_width, grid, levels.device)
    ones = torch.ones((), device=levels.device).expand(bins.flatten(1).shape)
    counts = torch.zeros(n, down * across * LEVELS, device=levels.device).scatter_add_(1, bins.flatten(1), ones)
    counts = counts.view(n, down * across, LEVELS)
    limit = max(1, int(clip_limit * area / LEVELS))
    clipped = counts.clamp_max(limit)
    excess = (counts - clipped).sum(-1, keepdim=True)
    share = (excess / LEVELS).floor_()
    rest = excess - share * LEVELS
    # What does not divide goes to every step-th level, from 0 on, until it is used up.
    step = (LEVELS / rest.clamp_min(1)).floor_()
    level = torch.arange(LEVELS, device=levels.device)
    takes = (torch.remainder(level, step) == 0) & (level < rest * step)
    sums = (clipped + share + takes).cumsum(-1)
    return sums.mul_((LEVELS - 1) / area).round_().clamp_(0, LEVELS - 1).mul_(1 / (LEVELS - 1))


@remembered(16)
def _tile_bins(tile_height: int, tile_width: int, grid: tuple[int, int], device: torch.device) -> Tensor:
    """First bin of the tile that each pixel of the enlarged image lies in: (H', W') int64."""
    row = torch.arange(grid[0] * tile_height) // tile_height
    column = torch.arange(grid[1] * tile_width) // tile_width
    return upload((row[:, None] * grid[1] + column) * LEVELS, device)


@remembered(16)
def _tiles_around(
    height: int, width: int, grid: tuple[int, int], device: torch.device
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """First bins of the four tiles around each pixel, and their bilinear weights: four (H, W) each."""
    tile_height, tile_width = _tile_size(height, width, grid)
    down, across = (
        (torch.arange(size) / tile - 0.5, count)
        for size, tile, count in ((height, tile_height, grid[0]), (width, tile_width, grid[1]))
    )
    corners, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            (y, rows), (x, cols) = down, across
            row, col = ((t.floor() + d).clamp(0, n - 1).long() for t, d, n in ((y, dy, rows), (x, dx, cols)))
            far_y, far_x = y - y.floor(), x - x.floor()
            weight = (far_y if dy else 1 - far_y)[:, None] * (far_x if dx else 1 - far_x)
            corners.append(upload((row[:, None] * cols + col) * LEVELS, device))
            weights.append(upload(weight, device))
    return tuple(corners), tuple(weights)

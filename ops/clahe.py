"""Contrast-limited adaptive histogram equalisation."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.ops.checks import check_image, check_range, check_window

LEVELS = 256


def clahe(
    image: Tensor,
    clip_limit: float,
    grid: tuple[int, int] = (8, 8),
    *,
    window: Window | None = None,
) -> Tensor:
    """Spread the levels of each tile, and blend between tiles.

    Args:
        image: (B, C, H, W) float32 in [0, 1]; each channel on its own, at 256 levels.
        clip_limit: 1 to 1000; how much steeper than the identity a tile's curve may get.
        grid: tiles down and across.
        window: y1 y2 x1 x2, end exclusive: the part of the result that is wanted, at the price of that part, while
            the tiles are those of the whole image.

    Returns:
        Like `image`, or (B, C, window height, window width), in [0, 1].

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D or smaller than the grid, or `clip_limit` or `window` is out of range.

    Reference: cv2.createCLAHE(clip_limit, (across, down)).apply on uint8; within 1/255 (its rounding).
    """
    check_image(image)
    check_range(clip_limit, 1, 1000, name="clip_limit")
    batch, channels, height, width = image.shape
    down, across = grid
    if not (1 <= down <= height // 2 and 1 <= across <= width // 2):
        raise ValueError(f"grid must be at least 1 x 1 and at most half the image, got {grid} for {tuple(image.shape)}")
    y1, y2, x1, x2 = window = window or Window(0, height, 0, width)
    check_window(window, (height, width))
    levels = image.mul(LEVELS - 1).round_().clamp_(0, LEVELS - 1).reshape(-1, height, width)
    curves = _curves(levels, clip_limit, grid).flatten()
    # All curves end to end, in 32 bits: a CPU looks up in one dimension four times as fast as in two.
    own = torch.arange(len(levels), dtype=torch.int32, device=image.device)[:, None, None] * (down * across * LEVELS)
    places = levels[:, y1:y2, x1:x2].to(torch.int32).add_(own)
    out = None
    for corner, weight in _tiles_around(height, width, grid, window, image.device):
        values = curves.index_select(0, (places + corner).flatten()).view_as(places)
        out = values.mul_(weight) if out is None else out.addcmul_(values, weight)
    assert out is not None
    return out.view(batch, channels, y2 - y1, x2 - x1)


def _tile_size(height: int, width: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Where the grid does not divide both sides, OpenCV enlarges both, by a whole tile row if one of them did fit."""
    down, across = grid
    if height % down == 0 and width % across == 0:
        return height // down, width // across
    return height // down + 1, width // across + 1


def _curves(levels: Tensor, clip_limit: float, grid: tuple[int, int]) -> Tensor:
    """Each tile's output level in [0, 1] for each input level (whole numbers in float32): (N, down * across, 256)."""
    n, height, width = levels.shape
    down, across = grid
    tile_height, tile_width = _tile_size(height, width, grid)
    area = tile_height * tile_width
    extra = (0, across * tile_width - width, 0, down * tile_height - height)
    if any(extra):
        levels = pad(levels[:, None], extra, mode="reflect")[:, 0]
    bins = levels.to(torch.int64) + _tile_bins(tile_height, tile_width, grid, levels.device)
    ones = torch.ones((), dtype=torch.float32, device=levels.device).expand(bins.flatten(1).shape)
    none = torch.zeros(n, down * across * LEVELS, dtype=torch.float32, device=levels.device)
    counts = none.scatter_add_(1, bins.flatten(1), ones)
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


def _tile_bins(tile_height: int, tile_width: int, grid: tuple[int, int], device: torch.device) -> Tensor:
    """First bin of the tile that each pixel of the enlarged image lies in: (H', W') int64."""
    row, column = (
        torch.arange(n * size, device=device).div(size, rounding_mode="floor")
        for n, size in zip(grid, (tile_height, tile_width), strict=True)
    )
    return (row[:, None] * grid[1] + column).mul_(LEVELS)


def _tiles_around(
    height: int, width: int, grid: tuple[int, int], window: Window, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """First bins of each of the four tiles around each pixel of the window (int32), and their bilinear weights.

    Made where they are used, each time: a mouth that moves has another window in every batch.
    """
    tile_height, tile_width = _tile_size(height, width, grid)
    y1, y2, x1, x2 = window
    rows = _along(y1, y2, tile_height, grid[0], device)
    columns = _along(x1, x2, tile_width, grid[1], device)
    for row, row_weight in rows:
        first = row[:, None] * grid[1]
        for column, column_weight in columns:
            yield (first + column).mul_(LEVELS), row_weight[:, None] * column_weight


def _along(start: int, stop: int, tile: int, n_tiles: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Of the pixels start to stop of an axis the tile before and the one after (int32), and each one's weight."""
    at = torch.arange(start, stop, dtype=torch.float32, device=device).div_(tile).sub_(0.5)
    before = at.floor()
    far = at - before
    return [((before + d).clamp_(0, n_tiles - 1).int(), weight) for d, weight in ((0, 1 - far), (1, far))]

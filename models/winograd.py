"""3×3 convolutions by Winograd's minimal filtering: a quarter of the multiplications, for CPUs that do them in float32.

Each m×m tile of the result comes from the (m+2)×(m+2) pixels under it: these and the filter go to a domain in which
convolving is one product per point, summed over the channels (a matrix product), and the sums come back. For m = 4
that is 36 products instead of 144, for m = 2 16 instead of 36. The transforms are matrix products as well.

Reference: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

KERNEL = 3
# Values in one piece's transformed pixels, 2.6 MB of float32: about a core's own cache. Smaller pieces read the filters
# too often, larger ones fall out of the cache.
PIECE_VALUES = 18432 * 36


class Transforms(NamedTuple):
    """The matrices for one tile size m, n = m + 2: for pixels (n, n), for filters (n, 3), back to pixels (m, n)."""

    pixels: Tensor
    filters: Tensor
    back: Tensor


@lru_cache
def transforms(tile: int) -> Transforms:
    """Evaluation at 0, ±1 (and ±2 for tiles of 4) and infinity, float64."""
    if tile == 2:
        pixels = [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
        filters = [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]
        back = [[1, 1, 1, 0], [0, 1, -1, -1]]
    else:
        pixels = [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
        filters = [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
        back = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    return Transforms(*(torch.tensor(rows, dtype=torch.float64, device="cpu") for rows in (pixels, filters, back)))


class WinogradBlock(nn.Module):
    """Convolution 3×3 with stride 1 and padding 1, its input added, ReLU: as many channels out as in. For inference.

    Args:
        weight: (channels, channels, 3, 3) float32.
        bias: (out,).
        tile: side of a tile of the result, 2 or 4. 4 saves more and rounds more (5e-5 of a layer's spread instead of
            1e-5); it wastes work on sides that it does not divide.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, tile: int) -> None:
        super().__init__()
        exact = transforms(tile)
        n = tile + KERNEL - 1
        taps = weight.float().permute(2, 3, 1, 0).reshape(KERNEL * KERNEL, -1)
        filters = torch.kron(exact.filters, exact.filters).float() @ taps
        self.tile = tile
        self.filters: Tensor
        self.bias: Tensor
        self.to_domain: Tensor
        self.from_domain: Tensor
        self.register_buffer("filters", filters.view(n * n, weight.shape[1], weight.shape[0]))
        self.register_buffer("bias", bias.float())
        # Over both axes at once: (n², n²) and (m², n²).
        self.register_buffer("to_domain", torch.kron(exact.pixels, exact.pixels).float())
        self.register_buffer("from_domain", torch.kron(exact.back, exact.back).float())

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, H, W) float32 to (B, out, H, W), channels-last."""
        batch, _, height, width = features.shape
        m = self.tile
        rows, columns = -(-height // m), -(-width // m)
        padded = F.pad(features, (1, columns * m + 1 - width, 1, rows * m + 1 - height)).permute(0, 2, 3, 1)
        out = features.new_empty(batch, rows, m, columns, m, len(self.bias))
        largest = max(1, PIECE_VALUES // (len(self.filters) * max(self.filters.shape[1:])))  # tiles in a piece
        n_frames = max(1, largest // (rows * columns))
        n_rows = rows if n_frames > 1 else max(1, min(rows, largest // columns))
        for frame in range(0, batch, n_frames):
            for row in range(0, rows, n_rows):
                pixels = padded[frame : frame + n_frames, row * m : (row + n_rows) * m + 2]
                self._convolve(pixels, out[frame : frame + n_frames, row : row + n_rows])
        return out.view(batch, rows * m, columns * m, -1)[:, :height, :width].permute(0, 3, 1, 2)

    def _convolve(self, pixels: Tensor, out: Tensor) -> None:
        """(B, rows·m + 2, columns·m + 2, in) with its rim to (B, rows, m, columns, m, out)."""
        batch, rows, m, columns, _, n_out = out.shape
        n, n_in = m + KERNEL - 1, pixels.shape[3]
        of_frame, of_row, of_column, of_channel = pixels.stride()
        tiles = pixels.as_strided(
            (n, n, batch, rows, columns, n_in),
            (of_row, of_column, of_frame, m * of_row, m * of_column, of_channel),
            pixels.storage_offset(),
        )
        in_domain = (self.to_domain @ tiles.reshape(n * n, -1)).view(n * n, -1, n_in)
        sums = torch.bmm(in_domain, self.filters)
        sums[n + 1] += self.bias  # the value at (1, 1) comes back as itself everywhere in the tile
        result = (self.from_domain @ sums.view(n * n, -1)).view(m, m, batch, rows, columns, n_out)
        result = result.permute(2, 3, 0, 4, 1, 5)
        centre = pixels[:, 1:-1, 1:-1].unflatten(2, (columns, m)).unflatten(1, (rows, m))
        torch.add(result, centre, out=out)
        out.relu_()

"""Where in a crop a mode works, and under which mask."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.ops.boxes import Rect, Window


@dataclass(frozen=True, eq=False)
class Stencil:
    """A mask cut to where it is not 0, and its surroundings where a mode looks at them."""

    values: NDArray[np.float32]  # on the host, (rows, columns) in [0, 1]
    mask: Tensor  # the same, (1, 1, rows, columns)
    weight: Tensor  # the mask once for each colour, interleaved like the pictures that it weighs

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.values.shape
        return rows, columns

    @property
    def middle(self) -> tuple[int, int]:
        """Row and column of the window's pixel in the middle of the mask."""
        totals = self.values.sum(axis=1), self.values.sum(axis=0)
        y, x = (round(float((np.arange(len(total)) * total).sum() / total.sum())) for total in totals)
        return y, x

    @cached_property
    def outline(self) -> NDArray[np.float64]:
        """Middles, x y in pixels of the window, of the first and the last pixel of each row that are not 0: (n, 2)."""
        inside = self.values > 0
        rows = np.flatnonzero(inside.any(axis=1))
        left = inside.argmax(axis=1)[rows]
        right = inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)[rows]
        middles: NDArray[np.float64] = np.concatenate([np.stack((x, rows), axis=1) for x in (left, right)]) + 0.5
        return middles

    def opacity(self, smoothing: Callable[[int, int], NDArray[np.float32]]) -> float:
        """What is left of the mask at its middle once it is smoothed.

        Args:
            smoothing: gives the weights (n,) by which the smoothed pixel i of an axis of n is made, from n and i.
        """
        rows, cols = (smoothing(size, at) for size, at in zip(self.values.shape, self.middle, strict=True))
        return float(rows @ self.values @ cols)


def move_within(start: int, stop: int, length: int, by: int) -> int:
    """By how much of `by` what lies from start to stop can be moved and leave the first and last of `length` free."""
    return min(max(by, min(0, 1 - start)), max(0, length - 1 - stop))


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where in a crop a mode works: rows top to bottom, columns left to right, end exclusive, and the mask there.

    Attributes:
        height: of the crop, pixels.
        width: of the crop, pixels.
        offsets: how far right and down in the window each of a batch's masks is, (B, 2) int64; None: it is no larger
            than they are.
    """

    height: int
    width: int
    top: int
    bottom: int
    left: int
    right: int
    stencil: Stencil
    offsets: Tensor | None = field(default=None, compare=False)

    @property
    def window(self) -> Window:
        return Window(self.top, self.bottom, self.left, self.right)

    def moved(self, right: int, down: int) -> "Placement":
        """The same mask elsewhere, so many pixels or as many as its window has room for inside the crop.

        The crop's outermost pixels stay free: what the mask still is at its end would be a line there.
        """
        right = move_within(self.left, self.right, self.width, right)
        down = move_within(self.top, self.bottom, self.height, down)
        if not right and not down:
            return self
        return replace(
            self, top=self.top + down, bottom=self.bottom + down, left=self.left + right, right=self.right + right
        )

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns that are worked on in each picture."""
        return (self.bottom - self.top, self.right - self.left) if self.offsets is None else self.stencil.size

    @staticmethod
    def around(places: Collection["Placement"], corners: Tensor) -> "Placement":
        """One for pictures under the same mask in several `places`, given each picture's corner (B, 2), x and y."""
        top, left = min(place.top for place in places), min(place.left for place in places)
        bottom, right = max(place.bottom for place in places), max(place.right for place in places)
        first = next(iter(places))
        offsets = torch.stack((corners[:, 0] - left, corners[:, 1] - top), dim=1)
        return replace(first, top=top, bottom=bottom, left=left, right=right, offsets=offsets)

    def first_pixel(self, row: int) -> int | Tensor:
        """Of each picture's mask, counted from its crop's, where a row's pixel is `row` from the one above."""
        first = self.top * row + self.left
        return first if self.offsets is None else self.offsets[:, 1] * row + self.offsets[:, 0] + first

    def within(self, x: int, y: int) -> Rect:
        """Where the mask is in a picture in which the crop begins at x, y: x1 y1 x2 y2, end exclusive."""
        return Rect(x + self.left, y + self.top, x + self.right, y + self.bottom)

    def outline(self, x: int, y: int) -> NDArray[np.float64]:
        """Points, x y, of a picture in which the crop begins at x, y: they enclose the middles of all pixels that are
        changed.
        """
        x1, y1, x2, y2 = self.within(x, y)
        if self.stencil.size != (y2 - y1, x2 - x1):  # everywhere
            return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], dtype=np.float64)
        return self.stencil.outline + (x1, y1)

    def cut(self, pictures: Tensor) -> Tensor:
        """What of pictures (B, 3, rows, columns) of the window, interleaved, lies under each one's mask; likewise."""
        if self.offsets is None:
            return pictures
        _, channels, height, width = pictures.shape
        rows, columns = self.stencil.size
        number, row = (torch.arange(n, device=pictures.device) for n in (len(pictures), rows))
        first = number * (height * width) + self.offsets[:, 1] * width + self.offsets[:, 0]
        starts = (first[:, None] + row * width) * channels
        lines = pictures.permute(0, 2, 3, 1).reshape(-1).unfold(0, columns * channels, 1)
        found = lines.index_select(0, starts.flatten()).view(len(pictures), rows, columns, channels)
        return found.permute(0, 3, 1, 2)

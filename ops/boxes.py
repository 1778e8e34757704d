"""Parts of pictures, by the two orders of their sides: a type each, so that none is taken for the other."""

from typing import NamedTuple


class Window(NamedTuple):
    """Rows y1 to y2 and columns x1 to x2, pixels, ends exclusive: as `--crop` and `--box` have them, and slices."""

    y1: int
    y2: int
    x1: int
    x2: int


class Rect(NamedTuple):
    """Corners x1 y1 and x2 y2, pixels, ends exclusive: as detections and `Heads.boxes` have them."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def height(self) -> int:
        """Pixels."""
        return self.y2 - self.y1

    @property
    def width(self) -> int:
        """Pixels."""
        return self.x2 - self.x1

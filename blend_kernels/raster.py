"""The filled ellipse as OpenCV draws it, pixel for pixel: a polygon, its inside and its outline.

Drawn on the host, once per crop size: a mask with a short feather shows every pixel of the outline.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@lru_cache(maxsize=4)  # while a size's feather is looked for
def filled_ellipse(height: int, width: int, center: tuple[int, int], semi_axes: tuple[int, int]) -> NDArray[np.bool_]:
    """(height, width): True inside and on the outline. Read-only.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        center: x, y.
        semi_axes: along x, along y.

    Reference: cv2.ellipse(picture, center, semi_axes, 0, 0, 360, 1, thickness=-1); equal but for a pixel or two
    of the outline.
    """
    xs, ys = _vertices(center, semi_axes)
    inside = np.zeros((height, width), np.bool_)
    _fill(inside, xs, ys)
    _outline(inside, xs, ys)
    inside.flags.writeable = False
    return inside


def _vertices(center: tuple[int, int], semi_axes: tuple[int, int]) -> tuple[Floats, Floats]:
    """From the rightmost vertex on, clockwise, every 5 degrees or, on small ones, 18 to 90; 16 bits of fraction."""
    longest = max(semi_axes)
    step = 90 if longest < 3 else 30 if longest < 10 else 18 if longest < 15 else 5
    angle = np.deg2rad(np.arange(0, 360, step))
    cosine, sine = np.cos(angle).round(7), np.sin(angle).round(7)  # as exact as OpenCV's table
    xs, ys = center[0] + semi_axes[0] * cosine, center[1] + semi_axes[1] * sine
    return np.round(xs * 65536) / 65536, np.round(ys * 65536) / 65536


def _fill(inside: NDArray[np.bool_], xs: Floats, ys: Floats) -> None:
    """Fill between the left and the right sides, straight from each vertex's nearest row to the next one's."""
    top, bottom = int(ys.argmin()), int(ys.argmax())
    n = len(xs)
    sides = [
        [(top + i) % n for i in range((bottom - top) % n + 1)],
        [(top - i) % n for i in range((top - bottom) % n + 1)],
    ]
    first, last = int(np.floor(ys[top] + 0.5)), int(np.floor(ys[bottom] + 0.5))
    rows = np.arange(max(first, 0), min(last, len(inside) - 1) + 1)
    ends = []
    for side in sides:
        vertex_rows = np.floor(ys[side] + 0.5)
        # Of vertices that share a row the lowest counts, in the last row the highest.
        counts = np.append(vertex_rows[1:] > vertex_rows[:-1], True)
        counts[vertex_rows == last] = False
        counts[int(np.argmax(vertex_rows == last))] = True
        ends.append(np.floor(np.interp(rows, vertex_rows[counts], xs[side][counts]) + 0.5))
    columns = np.arange(inside.shape[1])
    left, right = np.minimum(*ends)[:, None], np.maximum(*ends)[:, None]
    inside[rows] |= (columns >= left) & (columns <= right)


def _outline(inside: NDArray[np.bool_], xs: Floats, ys: Floats) -> None:
    """From each vertex to the next: one pixel per column (or per row, if steep), and the end point."""
    start, end = np.stack((np.roll(xs, 1), np.roll(ys, 1))), np.stack((xs, ys))
    steep = np.abs(end[0] - start[0]) <= np.abs(end[1] - start[1])
    start, end = np.where(steep, start[::-1], start), np.where(steep, end[::-1], end)  # along, across
    backward = end[0] < start[0]
    (u1, v1), (u2, v2) = np.where(backward, end, start), np.where(backward, start, end)
    # In 65536ths of a pixel, cut off and not rounded: it decides which way ties go.
    n_steps = (u2 - u1).astype(np.int64) + 1
    slope = ((v2 - v1) * 65536**2 / (((u2 - u1) * 65536).astype(np.int64) | 1)).astype(np.int64)
    line = np.repeat(np.arange(len(xs)), n_steps)
    steps = np.arange(len(line)) - np.repeat(n_steps.cumsum() - n_steps, n_steps)
    along = np.floor(u1 + 0.5).astype(np.int64)[line] + steps
    across = (((v1 + 0.5) * 65536).astype(np.int64)[line] + slope[line] * steps) >> 16
    along = np.append(along, np.floor(u2 + 0.5).astype(np.int64))
    across = np.append(across, np.floor(v2 + 0.5).astype(np.int64))
    down = np.append(steep[line], steep)
    x, y = np.where(down, across, along), np.where(down, along, across)
    seen = (x >= 0) & (x < inside.shape[1]) & (y >= 0) & (y < inside.shape[0])
    inside[y[seen], x[seen]] = True

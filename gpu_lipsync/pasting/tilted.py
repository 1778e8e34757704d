"""Tilted heads: what a rectangle of an upright one covers in the frame, seen upright and put back.

A head that is held aslant has a box too, as it would have if the frame were turned until the head is upright: round the
box's middle, by its tilt. So a rectangle of such a box lies aslant in the frame, in a window with upright sides that is
read and written whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from gpu_lipsync.ops import interleaved, to_float, to_uint8, upload
from gpu_lipsync.ops.boxes import Rect

if TYPE_CHECKING:
    from gpu_lipsync.blend_kernels import Placement

Floats = NDArray[np.float64]

REACH = 2  # pixels: from how far the bicubic takes what a pixel becomes


class Aslant(NamedTuple):
    """A rectangle of a tilted head.

    Attributes:
        rect: as it would be if the frame were turned.
        box: of the head, likewise; round its middle it would be turned.
        tilt: degrees, clockwise as seen.
        outline: (m, 2) points x y, likewise, which enclose all of it that counts; by default everything does.
    """

    rect: Rect
    box: Rect
    tilt: float
    outline: Floats | None = None

    @property
    def points(self) -> Floats:
        """The outline."""
        if self.outline is not None:
            return self.outline
        x1, y1, x2, y2 = self.rect
        return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], dtype=np.float64)


def rotated(point: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """A point x y, turned round the origin by so many degrees, clockwise as seen."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([point[0] * cos - point[1] * sin, point[0] * sin + point[1] * cos])


def windows_around(rects: Sequence[Aslant], size: tuple[int, int]) -> Floats:
    """The windows of frames of a `size` (height, width) that hold what counts in n rectangles, and what it reaches.

    Returns:
        (n, 4) x1 y1 x2 y2, whole pixels; inside the frame, and of no size where a rectangle is not.
    """
    extremes = []
    for rect, rotation, middle in zip(rects, *_rotations(rects), strict=True):
        points = middle + (rect.points - middle) @ rotation.T
        extremes.append((*points.min(axis=0), *points.max(axis=0)))
    found = np.array(extremes)
    low, high = np.floor(found[:, :2]) - REACH, np.ceil(found[:, 2:]) + REACH
    return np.concatenate((low, high), axis=1).clip(0, [size[1], size[0]] * 2)


def windows_of_boxes(boxes: Sequence[Rect], tilts: Sequence[float], size: tuple[int, int]) -> tuple[Rect, ...]:
    """The part of a frame of `size` (height, width) that each box is read from.

    The box itself where it is not tilted; else an upright window that holds it however it is turned, and what sampling
    reaches. That window's size depends on the box's alone, not on the tilt or the place: faces that are reduced before
    they are turned are reduced alike in every frame.
    """
    windows = []
    for (x1, y1, x2, y2), tilt in zip(boxes, tilts, strict=True):
        if not tilt:
            windows.append(Rect(x1, y1, x2, y2))
            continue
        # One more, since a middle may lie between two pixels.
        length = math.ceil(math.hypot(x2 - x1, y2 - y1)) + 2 * REACH + 1
        height, width = (min(length, side) for side in size)
        left = min(max((x1 + x2 - length) // 2, 0), size[1] - width)
        top = min(max((y1 + y2 - length) // 2, 0), size[0] - height)
        windows.append(Rect(left, top, left + width, top + height))
    return tuple(windows)


def masks_aslant(places: Sequence[Placement], boxes: Sequence[Rect], tilts: Sequence[float]) -> list[Aslant]:
    """The masks of heads that lie at `places` in their boxes; outlined where they are turned."""
    rects = []
    for place, (x1, y1, x2, y2), tilt in zip(places, boxes, tilts, strict=True):
        outline = place.outline(x1, y1) if tilt else None
        rects.append(Aslant(place.within(x1, y1), Rect(x1, y1, x2, y2), tilt, outline))
    return rects


def of_one_size(windows: Floats, size: tuple[int, int]) -> list[Rect]:
    """Windows (n, 4) of frames of a `size` (height, width), each made as large as the largest, and still inside."""
    lengths = (windows[:, 2:] - windows[:, :2]).max(axis=0).clip(1)
    corners = np.minimum(windows[:, :2], [size[1], size[0]] - lengths)
    return [Rect(*map(int, corner)) for corner in np.hstack((corners, corners + lengths))]


class Turn:
    """Rectangles of tilted heads, all of one size, and the windows of the frames around them, likewise.

    Attributes:
        size: height and width of the windows.
    """

    def __init__(
        self, rects: Sequence[Aslant], windows: Sequence[Rect], members: Sequence[int], device: torch.device
    ) -> None:
        """Those of a batch's that are `members`; the windows as `of_one_size` has them."""
        rects, windows = [rects[i] for i in members], [windows[i] for i in members]
        self.size = _size(windows[0])
        # From a rectangle's (-1, -1) to (1, 1) to its window's, and back.
        maps = _maps(rects, windows)
        both = np.stack((maps, np.linalg.inv(maps)))[:, :, :2]
        self._upright, self._aslant = upload(torch.tensor(both.tolist(), dtype=torch.float32), device).unbind()

    def upright(self, windows: Tensor, size: tuple[int, int], *, mode: str) -> Tensor:
        """The rectangles in `size`, (n, 3, *size) uint8, from their windows (n, 3, H, W) uint8 of any scale.

        What does not count of them may lie beyond the windows, and looks as it does at their edges; likewise what is
        beyond the frame.
        """
        seen = _sampled(to_float(windows), self._upright, size, mode=mode, beyond="border")
        return to_uint8(seen)

    def blended(self, windows: Tensor, place: Placement, blend: Callable[[Tensor], Tensor]) -> Tensor:
        """Change the rectangles, which a mask lies on, as they are seen upright, and put what has changed back.

        What lies under the mask goes back as what it covers in the frame does not show through: its colours times the
        mask and the mask itself are turned, and laid over the window (Porter & Duff, "Compositing digital images",
        1984). So the frame is never sampled twice, and where the mask is 0 not at all.

        Args:
            windows: (n, 3, H, W) uint8.
            place: the mask, and its size.
            blend: gets the rectangles, (n, 3, rows, columns) uint8, in planes, and returns them blended.

        Returns:
            Like `windows`.
        """
        # Of what is there little goes back, and none of it where the mask is 1: no need to be exact, or slow.
        under = self.upright(windows, place.size, mode="bilinear")
        blended = to_float(blend(under).contiguous())
        weight = place.stencil.mask.expand(len(under), 1, *place.size)
        covering = torch.cat((torch.addcmul(blended, to_float(under), weight - 1), weight), dim=1)
        over = _sampled(covering, self._aslant, self.size, mode="bicubic", beyond="zeros")
        # All in planes: a single one for three of interleaved colours is slow.
        seen = to_float(windows.contiguous())
        return interleaved(to_uint8(torch.addcmul(over[:, :3], seen, 1 - over[:, 3:])))


def upright_view(frame: Tensor, rect: Aslant) -> Tensor:
    """What of a frame (3, H, W) uint8 lies in a rectangle, seen upright: (3, h, w)."""
    height, width = frame.shape[1:]
    if rect.tilt:
        ((x1, y1, x2, y2),) = windows = of_one_size(windows_around([rect], (height, width)), (height, width))
        turn = Turn([rect], windows, [0], frame.device)
        return turn.upright(frame[None, :, y1:y2, x1:x2], _size(rect.rect), mode="bicubic")[0]
    x1, y1, x2, y2 = rect.rect
    return frame[:, y1:y2, x1:x2]


def _maps(rects: Sequence[Aslant], windows: Sequence[Rect]) -> Floats:
    """(n, 3, 3): from a rectangle, (-1, -1) to (1, 1), to the window around it, likewise."""
    rotations, middles = _rotations(rects)
    half_rect, half_window = (np.array(_size(one)[::-1]) / 2 for one in (rects[0].rect, windows[0]))
    away = np.einsum("nij,nj->ni", rotations, _middles([r.rect for r in rects]) - middles)
    maps = np.tile(np.eye(3), (len(rects), 1, 1))
    maps[:, :2, :2] = rotations * half_rect / half_window[:, None]
    maps[:, :2, 2] = (middles + away - _middles(windows)) / half_window
    return maps


def _sampled(pictures: Tensor, maps: Tensor, size: tuple[int, int], *, mode: str, beyond: str) -> Tensor:
    """Pictures (n, C, h, w) seen through maps (n, 2, 3) from what is seen, (-1, -1) to (1, 1), to them: in `size`."""
    # As affine_grid does, but for its matrix product, which a GPU may do in TF32: a tenth of a pixel off.
    rows, columns = (_centres(length, pictures.device) for length in size)
    across, down, origin = maps[:, None, None].unbind(dim=4)
    at = across * columns[:, None] + (down * rows[:, None, None] + origin)
    return grid_sample(pictures, at, mode=mode, padding_mode=beyond, align_corners=False)


def _centres(length: int, device: torch.device) -> Tensor:
    """Where the pixels' middles lie on an axis from -1 to 1, (length,)."""
    return (torch.arange(length, dtype=torch.float32, device=device) * 2 + 1) / length - 1


def _rotations(rects: Sequence[Aslant]) -> tuple[Floats, Floats]:
    """(n, 2, 2) from a head's own axes to the frame's, and (n, 2) round which points."""
    angles = np.radians(np.array([r.tilt for r in rects], dtype=np.float64))
    cos, sin = np.cos(angles), np.sin(angles)
    rotations = np.stack((np.stack((cos, -sin), axis=1), np.stack((sin, cos), axis=1)), axis=1)
    return rotations, _middles([r.box for r in rects])


def _middles(rects: Sequence[Rect]) -> Floats:
    corners = np.array(rects, dtype=np.float64).reshape(-1, 4)
    middles: Floats = (corners[:, :2] + corners[:, 2:]) / 2
    return middles


def _size(rect: Rect) -> tuple[int, int]:
    """Height and width."""
    return rect[3] - rect[1], rect[2] - rect[0]

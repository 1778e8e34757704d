"""How a batch of frames lies in memory between decoder and encoder, and what the stages between see of it.

Most of a frame is neither looked at nor changed. On a CPU, where converting it there and back is a fifth of all work,
frames stay the 4:2:0 pictures that the decoder gave and the encoder takes: only what surrounds the faces becomes RGB
and comes back, and all else is the source to the last bit, in the encoder's own terms. Elsewhere frames are RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gpu_lipsync.ops import device_constant, upload
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.ops.yuv420 import bits_changed, picture_size, read_rgb, reduced_rgb, sampled_rgb, turn_over
from gpu_lipsync.ops.yuv_matrix import YuvMatrix
from gpu_lipsync.process.cores import map_on_cores


class Part(Protocol):
    """A part of a batch of frames that holds all its boxes, as RGB."""

    @property
    def rgb(self) -> Tensor:
        """(B, 3, h, w) uint8."""
        ...

    def within(self, boxes: Tensor) -> Tensor:
        """Boxes (n, 4) x1 y1 x2 y2 of the frames, counted from the part's corner."""
        ...

    def replaced(self, rgb: Tensor, changed: Tensor) -> Tensor:
        """The frames with other RGB in the part; the very tensor given may be what is changed.

        Args:
            rgb: like the part's.
            changed: (n, 4) boxes of the frames, outside of which it is the same. What is the same within them stays as
                it is too, bit for bit.
        """
        ...


class FrameLayout(Protocol):
    """What the stages between decoder and encoder need to know of frames (B, ...) uint8."""

    def size(self, frames: Tensor) -> tuple[int, int]:
        """Height and width, pixels."""
        ...

    def sampled(self, frames: Tensor, n: int) -> Tensor:
        """(B, 3, h, w) uint8 RGB of pixels spread evenly, at least n each way where there are as many."""
        ...

    def reduced(self, frames: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, 3, h, w) uint8 RGB of whole frames, in the given size or as large as they are."""
        ...

    def part(self, frames: Tensor, boxes: Tensor) -> Part:
        """What surrounds boxes (n, 4) x1 y1 x2 y2, on the host."""
        ...


class RgbFrames:
    """(B, 3, H, W) RGB."""

    def size(self, frames: Tensor) -> tuple[int, int]:
        return int(frames.shape[2]), int(frames.shape[3])

    def sampled(self, frames: Tensor, n: int) -> Tensor:
        height, width = self.size(frames)
        return frames[:, :, :: max(1, height // n), :: max(1, width // n)]

    def reduced(self, frames: Tensor, size: tuple[int, int]) -> Tensor:
        return frames  # the detector reduces RGB itself

    def part(self, frames: Tensor, boxes: Tensor) -> Part:
        return WholeFrames(frames)


@dataclass(frozen=True)
class WholeFrames:
    """RGB frames as a part of themselves."""

    rgb: Tensor

    def within(self, boxes: Tensor) -> Tensor:
        return boxes

    def replaced(self, rgb: Tensor, changed: Tensor) -> Tensor:
        return rgb


class Yuv420Frames:
    """(B, H * 3 // 2, W) 4:2:0 in limited range, as `ops.yuv420` has it, H and W even."""

    def __init__(self, matrix: YuvMatrix) -> None:
        self.matrix: YuvMatrix = matrix

    def size(self, frames: Tensor) -> tuple[int, int]:
        return picture_size(frames)

    def sampled(self, frames: Tensor, n: int) -> Tensor:
        height, width = self.size(frames)
        return sampled_rgb(frames, max(1, height // n), max(1, width // n), matrix=self.matrix)

    def reduced(self, frames: Tensor, size: tuple[int, int]) -> Tensor:
        return reduced_rgb(frames, size, matrix=self.matrix)

    def part(self, frames: Tensor, boxes: Tensor) -> Part:
        return Yuv420Part(frames, _even_window(boxes), self.matrix)


class Yuv420Part:
    """A window with even sides of 4:2:0 frames, which `replaced` changes in place."""

    def __init__(self, frames: Tensor, window: Window, matrix: YuvMatrix) -> None:
        self._frames, self._window, self._matrix = frames, window, matrix
        parts = map_on_cores(lambda part: read_rgb(part, window, matrix=matrix), _shares(frames))
        self.rgb = parts[0] if len(parts) == 1 else torch.cat(parts)

    def within(self, boxes: Tensor) -> Tensor:
        top, _, left, _ = self._window
        return boxes - torch.tensor([left, top, left, top])

    def replaced(self, rgb: Tensor, changed: Tensor) -> Tensor:
        top, _, left, _ = self._window
        y1, y2, x1, x2 = window = _even_window(changed)
        if y1 >= y2 or x1 >= x2:  # all of it beyond the frame's edge
            return self._frames
        before, after = (image[:, :, y1 - top : y2 - top, x1 - left : x2 - left] for image in (self.rgb, rgb))

        def changes(part: tuple[Tensor, Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
            return bits_changed(part[0], window, part[1], part[2], matrix=self._matrix)

        # All of them first: where memory runs out on the way, the batch is done again, from frames as they were.
        for bits in map_on_cores(changes, zip(*map(_shares, (self._frames, before, after)), strict=True)):
            turn_over(bits)
        return self._frames


def _shares(frames: Tensor) -> tuple[Tensor, ...]:
    """What is worked on at a time."""
    # On a CPU two shares for each core: frame by frame threads get in each other's way in Python, and what is larger
    # leaves a core's cache.
    n_shares = 2 * torch.get_num_threads() if frames.device.type == "cpu" else 1
    return frames.split(-(-len(frames) // n_shares))


def _even_window(boxes: Tensor) -> Window:
    """y1 y2 x1 x2 of the smallest window with even sides around boxes (n, 4) inside a frame whose sides are even."""
    left, top, right, bottom = zip(*boxes.tolist(), strict=True)
    y1, x1 = (min(sides) // 2 * 2 for sides in (top, left))
    y2, x2 = (-(-max(sides) // 2) * 2 for sides in (bottom, right))
    return Window(y1, y2, x1, x2)


RGB = RgbFrames()


@device_constant
def box_scale(size: tuple[int, int], of: tuple[int, int], n_values: int, device: torch.device) -> Tensor:
    """(n_values,): takes detections x1 y1 x2 y2 score x y x y ... from pictures of one size to frames of another."""
    y, x = of[0] / size[0], of[1] / size[1]
    factors = [x, y, x, y, 1.0, *[x, y] * ((n_values - 5) // 2)]
    return upload(torch.tensor(factors, dtype=torch.float32), device)

"""Crops of a batch of frames as rows of memory: one operation reads or writes those of any number of frames."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from gpu_lipsync.ops import device_constant, interleaved, on_host, upload
from gpu_lipsync.ops.boxes import Rect


@dataclass(frozen=True)
class Crops:
    """Boxes of one group: which frames of the batch, and where each crop begins in the frames' memory."""

    members: tuple[int, ...]  # frames of the batch, on the host
    frames: Tensor  # the same, (n,) int64
    starts: Tensor  # (n,) int64, pixels from the batch's first one, counted within one colour plane

    def pieces(self, size: int) -> list["Crops"]:
        """The same crops, at most `size` at a time."""
        members = [self.members[first : first + size] for first in range(0, len(self.members), size)]
        parts = zip(members, self.frames.split(size), self.starts.split(size), strict=True)
        return [Crops(*part) for part in parts]


@dataclass(frozen=True)
class CropGroups:
    """A batch's boxes in groups of what is alike."""

    crops: tuple[Crops, ...]
    inverse: Tensor  # (B,) int64: where in the concatenated groups each frame's crop is


def numbered(labels: Iterable[Hashable]) -> tuple[int, ...]:
    """Each label's number, in the order of their coming up."""
    known: dict[Hashable, int] = {}
    return tuple(known.setdefault(label, len(known)) for label in labels)


@device_constant
def grouped(
    boxes: tuple[Rect, ...],
    numbers: tuple[int, ...],
    height: int,
    width: int,
    device: torch.device,
) -> CropGroups:
    """Group boxes by their numbers; one upload holds all that the device has to know about them."""
    groups: dict[int, list[int]] = {}
    for i, number in enumerate(numbers):
        groups.setdefault(number, []).append(i)
    order = [i for members in groups.values() for i in members]
    starts = [i * height * width + boxes[i].y1 * width + boxes[i].x1 for i in order]
    inverse = sorted(range(len(order)), key=order.__getitem__)
    frames, begins, back = upload(torch.tensor([order, starts, inverse]), device).unbind()
    lengths = [len(members) for members in groups.values()]
    parts = zip(groups.values(), frames.split(lengths), begins.split(lengths), strict=True)
    return CropGroups(tuple(Crops(tuple(members), *part) for members, *part in parts), back)


class Pixels:
    """Windows of a batch's crops, read and written as rows of memory: one operation for any number of frames.

    Frames are colour planes (contiguous) or interleaved (channels-last, as decoders deliver them); both are rows.
    """

    def __init__(self, frames: Tensor, *, copy: bool = False) -> None:
        self.interleaved = not frames.is_contiguous() and frames.is_contiguous(memory_format=torch.channels_last)
        given = frames.permute(0, 2, 3, 1) if self.interleaved else frames.contiguous()
        self.batch, self.channels, self.height, self.width = frames.shape
        self.spare = frames.numel()  # a copy has a row more than the frames, for what is not to be written
        self.flat = given.new_empty(self.spare + self.width * self.channels) if copy else given.view(-1)
        held = self.flat[: self.spare].view(given.shape)
        if copy:
            held.copy_(given)
        self.frames = held.permute(0, 3, 1, 2) if self.interleaved else held

    def read(self, crops: Crops, height: int, width: int) -> Tensor:
        """What begins where each crop does, (n, 3, height, width) uint8, interleaved."""
        rows, step = self._rows(crops, height), self.channels if self.interleaved else 1
        pixels = self.flat.unfold(0, width * step, 1).index_select(0, rows.flatten())
        if self.interleaved:
            return pixels.view(-1, height, width, self.channels).permute(0, 3, 1, 2)
        return interleaved(pixels.view(-1, self.channels, height, width))

    def change(self, crops: Crops, pixels: Tensor, which: Tensor) -> None:
        """Put `pixels`, shaped as `read` returns them, where `read` found them, in the frames where `which` is true."""
        rows, step = self._rows(crops, pixels.shape[2]), self.channels if self.interleaved else 1
        rows = torch.where(which.view(-1, 1), rows, self.spare).flatten()
        length = pixels.shape[3] * step
        pixels = (pixels.permute(0, 2, 3, 1) if self.interleaved else pixels).reshape(-1, length)
        if on_host(self.flat):
            # Torch goes byte by byte here, NumPy row by row: an eighth of the time.
            sliding_window_view(self.flat.numpy(), length, writeable=True)[rows.numpy()] = pixels.numpy()
        else:
            self.flat.unfold(0, length, 1)[rows] = pixels

    def _rows(self, crops: Crops, n_rows: int) -> Tensor:
        """Where in memory each row of the crops' first ones begins: (n, rows of a crop)."""
        device = self.frames.device
        if self.interleaved:
            return (crops.starts[:, None] + _row_starts(1, self.height, self.width, n_rows, device)) * self.channels
        rows = _row_starts(self.channels, self.height, self.width, n_rows, device)
        first = crops.starts + crops.frames * ((self.channels - 1) * self.height * self.width)
        return first[:, None] + rows


@device_constant
def _row_starts(planes: int, height: int, width: int, n_rows: int, device: torch.device) -> Tensor:
    """Offsets of rows below each other, plane by plane, from the first one's first pixel."""
    plane, row = torch.arange(planes) * height * width, torch.arange(n_rows) * width
    return upload((plane[:, None] + row).flatten(), device)

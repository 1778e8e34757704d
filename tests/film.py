"""A clip without a file, for what judges one."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from gpu_lipsync.timeline import Timeline
from gpu_lipsync.video import Video


class Film(Video):
    """Frames (n, 3, H, W) uint8 that nothing decodes.

    Attributes:
        asked: by how many frames at a time they were read, for each time.
    """

    def __init__(
        self,
        frames: Tensor,
        *,
        shows: Sequence[int] = (),
        size: tuple[int, int] | None = None,
        fps: int = 25,
        source_fps: int = 25,
    ) -> None:
        """`shows` is the source frame of each output frame, by default each once; `size` is what the film says it is,
        so that large frames take no memory here.
        """
        self.frames, self.device, self.asked = frames, torch.device("cpu"), list[int]()
        self.size = size or (frames.shape[2], frames.shape[3])
        self.fps, self.source_fps = Fraction(fps), Fraction(source_fps)
        self._shows = tuple(shows or range(len(frames)))

    def timeline(self, n_outputs: int) -> Timeline:
        return Timeline(self._shows[:n_outputs])

    def batches(self, frames: range, size: int) -> Iterator[tuple[range, Tensor]]:
        self.asked.append(size)
        for start in range(frames.start, frames.stop, size):
            part = range(start, min(start + size, frames.stop))
            yield part, self.frames[part.start : part.stop]


def numbered_frames(n: int) -> Tensor:
    """(n, 3, 32, 32) uint8, each of its number's level."""
    return torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32)

"""FFmpeg through PyAV, on the CPU: what every clip can be read with, damage and all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from heapq import heappop, heappush
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from gpu_lipsync.decoding.frame_layout import RGB, FrameLayout
from gpu_lipsync.errors import MediaError
from gpu_lipsync.media.colours import in_readable_matrix
from gpu_lipsync.media.containers import decoded, open_container
from gpu_lipsync.media.hdr import SdrConversion
from gpu_lipsync.media.video_info import VideoInfo, fast_rgb, source_space

_MIXED_UP = {"avi", "mpeg"}  # containers that do not say of each frame when it is shown, so that FFmpeg guesses
_MOST_B_FRAMES = 16  # in a row, in H.264
_HELD_AT_END_S = 0.5  # as much may be lost to damage at the end of a clip; its last picture stays instead


class PyavDecoder:
    """PyAV (FFmpeg) on the CPU; rotation and mirroring are applied here, HDR becomes SDR.

    Args:
        info: the clip.
        tell: called once if pictures have to be held because those after them cannot be decoded.
    """

    layout: FrameLayout = RGB
    _hardware = False  # whether a device decodes

    def __init__(self, info: VideoInfo, tell: Callable[[str], None] | None = None) -> None:
        import av

        self.name = f"PyAV {av.__version__} on cpu"
        self._info, self._tell = info, tell
        self._space, self._too_dark = source_space(info), 0 if info.hdr else info.too_dark
        self._to_sdr = SdrConversion(info.hdr) if info.hdr else None
        # Some clips change their size on the way: all frames get that of the first.
        self._coded_width, self._coded_height = coded_size(info)

    def batches(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        frames = self._frames(start, stop)
        for first in range(start, stop, size):
            wanted = min(size, stop - first)
            batch = list(islice(frames, wanted))
            if len(batch) < wanted:
                raise MediaError(
                    f"{self._info.path} is damaged: decoding ends at frame {first + len(batch)} of "
                    f"{self._info.n_frames}; copy or re-encode it"
                )
            yield self._batch(batch)

    def _frames(self, start: int, stop: int) -> Iterator[Any]:
        """Frames as `_kept`; one that cannot be decoded is replaced by the one before it."""
        return islice(self._without_gaps(self._decoded(stop - start)), start, stop)

    def _decoded(self, n_frames: int) -> Iterator[tuple[Any, float | None]]:
        """Frames as `_kept`, and when they are shown, seconds, as far as that is known."""
        with self._opened() as container:
            stream: Any = container.streams[self._info.stream_index]
            stream.thread_type = self._threads(n_frames)
            origin = float(self._info.starts_at)
            frames = decoded(container, stream, hardware=self._hardware)
            kept = ((self._kept(in_readable_matrix(frame)), _seconds(frame, origin)) for frame in frames)
            yield from _stamped_in_order(kept) if self._info.container in _MIXED_UP else kept

    def _without_gaps(self, pictures: Iterable[tuple[Any, float | None]]) -> Iterator[Any]:
        """A picture for each frame of the clip: frames lost to damage leave a gap in time, through which the one before
        it is held.
        """
        shown_at, half = self._info.shown_at, 0.5 / float(self._info.fps)
        index, last = 0, None
        for picture, moment in pictures:
            while last is not None and moment is not None and index < len(shown_at):
                if float(shown_at[index]) >= moment - half:
                    break
                self._tell_of_loss(index)
                yield last
                index += 1
            if index == len(shown_at):
                return
            last = picture
            yield last
            index += 1
        # Frames lost at the very end leave no later one that would tell of the gap.
        if last is not None and len(shown_at) - index <= max(1, _HELD_AT_END_S * self._info.fps):
            for lost in range(index, len(shown_at)):
                self._tell_of_loss(lost)
                yield last

    def _threads(self, n_frames: int) -> str:
        """PyAV's thread_type: of frames decoded side by side none comes out before all of those threads are fed."""
        return "AUTO" if n_frames > 1 else "SLICE"

    def _tell_of_loss(self, index: int) -> None:
        if self._tell is not None:
            # MPEG-4 has frames that say no more than "as before".
            mpeg4 = self._info.codec == "mpeg4"
            what = f"has no picture for frame {index}" if mpeg4 else f"is damaged: frame {index} cannot be decoded"
            self._tell(f"{self._info.path.name} {what}; the one before it is held")
            self._tell = None

    def _opened(self) -> AbstractContextManager[Any]:
        return open_container(self._info.path, "face")

    def _kept(self, frame: Any) -> Any:
        """What is kept of an av.VideoFrame until its batch is full; all of one shape."""
        size = {"width": self._coded_width, "height": self._coded_height}
        if self._to_sdr is not None:
            return torch.from_numpy(self._to_sdr(frame, "rgb24", **size).to_ndarray())
        return torch.from_numpy(fast_rgb(frame, self._space, **size))

    def _batch(self, kept: list[Any]) -> Tensor:
        """Frames (n, ...) uint8 of what was kept."""
        frames = brighten(torch.stack(kept), self._too_dark).permute(0, 3, 1, 2)
        return as_shown(frames, self._info)


def _seconds(frame: Any, origin: float) -> float | None:
    return float(frame.pts * frame.time_base) - origin if frame.pts is not None else None


def _stamped_in_order(pictures: Iterable[tuple[Any, float | None]]) -> Iterator[tuple[Any, float | None]]:
    """Pictures in display order, each with the earliest moment of those to come.

    AVI knows only in which order frames are coded, MPEG-PS stamps but some: what FFmpeg makes of it is mixed up where
    there are B-frames, though the moments as such are right.
    """
    waiting: deque[Any] = deque()
    moments: list[float] = []
    for picture, moment in pictures:
        waiting.append(picture)
        if moment is not None:
            heappush(moments, moment)
        if len(waiting) > _MOST_B_FRAMES + 1:
            yield waiting.popleft(), heappop(moments) if moments else None
    for picture in waiting:
        yield picture, heappop(moments) if moments else None


def coded_size(info: VideoInfo) -> tuple[int, int]:
    """Width and height of the first frame before rotation."""
    return (info.height, info.width) if info.rotation % 180 else (info.width, info.height)


def as_shown(frames: Tensor, info: VideoInfo) -> Tensor:
    """Frames (n, 3, H, W) as they are to be shown; as they are if so, which rot90 would copy into planes."""
    frames = frames.flip(2) if info.mirrored else frames
    return torch.rot90(frames, info.rotation // 90, dims=(2, 3)) if info.rotation else frames


def brighten(frames: Tensor, levels: int) -> Tensor:
    """Add whole levels to uint8 frames, in place, without going over 255."""
    return frames.clamp_(max=255 - levels).add_(levels) if levels else frames

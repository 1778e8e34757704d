"""The encoders behind `open_writer`, of PyAV's FFmpeg: what they have in common, and libx264. NVENC is nvenc.py's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.config import EncodeConfig
from gpu_lipsync.encoding.streams import SoundTrack, StreamShape
from gpu_lipsync.errors import EncodeError, LipSyncError, is_shortage, shortage
from gpu_lipsync.ops.yuv import rgb_to_yuv420

_LIMITED_RANGE = 1


class PyavBackend:
    """An encoder of PyAV's FFmpeg, and the muxer."""

    codec: str
    pixel_format: str

    def __init__(self, path: Path, shape: StreamShape, name: str, options: dict[str, str]) -> None:
        import av

        self.name = name
        container: Any = av.open(str(path), "w", format=_muxer(path), options=_muxer_options(path))
        self._container, self._video = container, container.add_stream(self.codec, rate=shape.fps)
        self._video.height, self._video.width = shape.written_size
        self._video.pix_fmt = self.pixel_format
        self._video.options = options | {"bf": "0"} if path.suffix.lower() == ".avi" else options  # it has no stamps
        context = self._video.codec_context
        context.sample_aspect_ratio = shape.pixel_aspect
        context.time_base = 1 / shape.fps
        # As the source says, or does not: of planes that were copied, players have to make what they made of those.
        self._colours = shape.colours
        context.colorspace, context.color_range = shape.colours.number, _LIMITED_RANGE
        context.color_primaries, context.color_trc = shape.colours.primaries, shape.colours.transfer
        self._sound = SoundTrack(self._container, shape)
        self._n_written = 0

    def write(self, frames: Tensor) -> None:
        """Encode frames (B, ...) uint8 as they come from the pipeline, and the sound up to their end."""
        for picture in self._pictures(frames):
            picture.colorspace, picture.color_range = self._colours.number, _LIMITED_RANGE
            picture.pts = self._n_written
            picture.time_base = self._video.codec_context.time_base
            self._container.mux(self._coded(picture))
            self._n_written += 1
            self._sound.write_until(self._n_written * self._video.codec_context.time_base)

    def finish(self) -> None:
        """Encode what the encoder still holds, write the index, and close the file."""
        self._container.mux(self._coded(None))
        self._sound.finish()
        self._container.close()

    def abandon(self) -> None:
        """Close the file, which nobody wants any more."""
        try:
            self._container.close()
        except OSError:  # the disk that was full still is
            return

    def _coded(self, picture: Any) -> Any:
        """Packets; None is the end of the pictures."""
        return self._video.encode(picture)

    def _pictures(self, frames: Tensor) -> Iterator[Any]:
        raise NotImplementedError


class X264Backend(PyavBackend):
    """libx264, on the CPU, whatever `device` the frames are on."""

    codec, pixel_format = "libx264", "yuv420p"

    def __init__(self, path: Path, shape: StreamShape, config: EncodeConfig, device: torch.device) -> None:
        name = f"libx264 {config.preset} crf {config.crf}"
        super().__init__(path, shape, name, {"crf": str(config.crf), "preset": config.preset})
        if device.type == "cuda":
            # Several frames at a time, as FFmpeg's own command does: with nothing beside it a fifth faster on two cores
            # than PyAV's choice, slices of one frame. Beside a network on the same cores it is not.
            self._video.codec_context.thread_type = "FRAME"

    def _pictures(self, frames: Tensor) -> Iterator[Any]:
        if frames.ndim == 3:  # 4:2:0 already, and on the host
            return pictures_of_planes(frames.numpy())
        return _pictures_of_device(frames) if frames.is_cuda else _pictures_of_host(frames)


def _pictures_of_device(frames: Tensor) -> Iterator[Any]:
    """Half the bytes of RGB cross to the host, in one pinned copy."""
    planes = rgb_to_yuv420(frames)
    host = torch.empty(planes.shape, dtype=torch.uint8, pin_memory=True)
    host.copy_(planes, non_blocking=True)
    torch.cuda.current_stream(frames.device).synchronize()
    return pictures_of_planes(host.numpy())


def pictures_of_planes(planes: NDArray[np.uint8]) -> Iterator[Any]:
    """A yuv420p av.VideoFrame of each of (B, H * 3 // 2, W), where possible as it lies, without a copy."""
    import av

    # Of a buffer PyAV 18.1 takes only those heights that are whole fours; others would lose two rows.
    in_place = planes.shape[1] % 6 == 0
    picture_of = av.VideoFrame.from_numpy_buffer if in_place else av.VideoFrame.from_ndarray
    return (picture_of(plane, format="yuv420p") for plane in planes)


def _pictures_of_host(frames: Tensor) -> Iterator[Any]:
    """Converted by swscale, which is twice as fast as torch on a CPU."""
    import av
    from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

    reformatter = VideoReformatter()
    for pixels in frames.permute(0, 2, 3, 1).contiguous().numpy():
        yield reformatter.reformat(
            av.VideoFrame.from_numpy_buffer(pixels, format="rgb24"),  # as it lies, without a copy
            format="yuv420p",
            src_colorspace=Colorspace.ITU709,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
            threads=1,
        )


def cannot_write(target: Path, error: Exception) -> LipSyncError:
    """The error for an output that could not be written, with the way out."""
    if is_shortage(error):
        return shortage(f"{target} cannot be written", error)
    reason = getattr(error, "strerror", None) or str(error)
    lack_of_room = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    way_out = "free space there or choose another" if lack_of_room else "choose another"
    return EncodeError(f"{target} cannot be written ({reason}); {way_out} --outfile")


def _muxer(path: Path) -> str:
    return {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}[path.suffix.lower()]


def _muxer_options(path: Path) -> dict[str, str]:
    # A player, or the application that waits for the file, can start before it has read all of it.
    return {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".m4v", ".mov") else {}

"""NVENC through PyAV's own FFmpeg: frames go from the device's memory into the encoder. Has not run on hardware yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_lipsync.config import EncodeConfig
from gpu_lipsync.encoding.encoders import PyavBackend
from gpu_lipsync.encoding.streams import StreamShape
from gpu_lipsync.errors import NvencLostError, first_line
from gpu_lipsync.ops.yuv import rgb_to_nv12
from gpu_lipsync.process.device import current_context

_PITCH = 256  # bytes, as FFmpeg lays out its own frames for it
# Pictures that NVENC may hold at once (four for each of those that lie between two which others refer to), and that are
# converted in one go: together fewer than the 64 places that FFmpeg registers with the driver.
SURFACES, AT_A_TIME = 20, 8


class NvencBackend(PyavBackend):
    """h264_nvenc, given tensors through DLPack: nothing is needed from the system but the driver.

    Pictures are made in places that stay as long as the encoder: FFmpeg tells the driver of each but once, and of
    memory that PyTorch has given back, and got anew at the same address, it would go on to say that it is known.

    Raises:
        av.FFmpegError: no driver, or a GPU without an encoder (H100, A100).
    """

    codec, pixel_format = "h264_nvenc", "cuda"

    def __init__(self, path: Path, shape: StreamShape, config: EncodeConfig, device: torch.device) -> None:
        import av

        self._memory: Any = None
        self._tried: Any = None  # an encoder with a session, of which consumers' cards have a few
        options = self._options(config.crf)
        height, width = shape.written_size
        places = (SURFACES + AT_A_TIME, height * 3 // 2, -(-width // _PITCH) * _PITCH)
        with torch.inference_mode(False):  # or the thread that encodes could not write them
            self._places, self._next_place = torch.empty(places, dtype=torch.uint8, device=device), 0
        if device.type == "cuda":
            with current_context(device) as index:  # which FFmpeg asks for with the first picture
                self._memory = av.video.frame.CudaContext(device_id=index, primary_ctx=False, current_ctx=True)
                self._tried = self._try(shape, options, device)
        else:
            self._tried = self._try(shape, options, device)
        name = f"{self.codec} cq {config.crf}" if config.crf else f"{self.codec} lossless"
        super().__init__(path, shape, name, options)

    def _options(self, crf: int) -> dict[str, str]:
        # Its cq 0 means "choose yourself"; crf 0 means lossless.
        quality = {"rc": "vbr", "cq": str(crf), "b": "0"} if crf else {"tune": "lossless"}
        return quality | {"surfaces": str(SURFACES)}

    def write(self, frames: Tensor) -> None:
        self._tried = None  # its session is this run's own, which begins with the first picture
        super().write(frames)

    def _try(self, shape: StreamShape, options: dict[str, str], device: torch.device) -> Any:
        """Encode two black frames: whether NVENC opens is known only with the first, and then it is too late. The
        second lies within a piece of memory, as most do.

        Returns the encoder, whose session no other run takes while it is kept.
        """
        import av

        context: Any = av.CodecContext.create(self.codec, "w")
        context.height, context.width = shape.written_size
        context.pix_fmt, context.time_base, context.options = self.pixel_format, 1 / shape.fps, options
        black = torch.zeros((2, 3, context.height, context.width), dtype=torch.uint8, device=device)
        for i, picture in enumerate(self._pictures(black)):
            picture.pts = i
            context.encode(picture)
        context.encode(None)
        return context

    def _pictures(self, frames: Tensor) -> Iterator[Any]:
        import av

        height, width = frames.shape[2:]
        done = 0
        while done < len(frames):
            # Never those that the encoder may hold, the last SURFACES.
            n = min(AT_A_TIME, len(frames) - done, len(self._places) - self._next_place)
            planes = self._places[self._next_place : self._next_place + n]
            rgb_to_nv12(frames[done : done + n], out=planes)
            if planes.is_cuda:  # the encoder reads them on a stream of its own
                torch.cuda.current_stream(planes.device).synchronize()
            for plane in planes.unbind():
                luma, chroma = plane[:height, :width], plane[height:, :width]
                yield av.VideoFrame.from_dlpack((luma, chroma), format="nv12", cuda_context=self._memory)
            done, self._next_place = done + n, (self._next_place + n) % len(self._places)

    def _coded(self, picture: Any) -> Any:
        import av

        try:
            return super()._coded(picture)
        except av.FFmpegError as error:
            raise NvencLostError(
                f"{self.codec} failed after {self._n_written} frames ({first_line(error)}); use --encoder libx264"
            ) from error

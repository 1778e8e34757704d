"""NVDEC through PyAV's own FFmpeg: pictures are decoded on the device and stay there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, groupby, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from gpu_lipsync.decoding.decoders import DecoderUnavailableError
from gpu_lipsync.decoding.pyav_decoder import PyavDecoder, as_shown
from gpu_lipsync.errors import LipSyncError, MediaError, ResourceError, first_line
from gpu_lipsync.media.colours import FULL_RANGE, matrix_of
from gpu_lipsync.media.containers import open_container
from gpu_lipsync.media.video_info import VideoInfo
from gpu_lipsync.ops.yuv import nv12_to_rgb
from gpu_lipsync.ops.yuv_matrix import YuvMatrix
from gpu_lipsync.process.device import current_context
from gpu_lipsync.process.input_files import require_file


class _Picture(NamedTuple):
    """NV12 (H * 3 // 2, W) uint8, and what its numbers mean."""

    planes: Tensor
    matrix: YuvMatrix
    full_range: bool


class NvdecDecoder(PyavDecoder):
    """FFmpeg with its CUDA decoder; the conversion to RGB and the rotation are PyTorch's.

    Nothing is needed from the system but the driver. Frames lost to damage are held as on the CPU, and what it gives up
    on the way, for want of memory or because pictures change their size, the CPU decodes.

    Args:
        info, tell: as for PyavDecoder.
        device: where it decodes.

    Raises:
        DecoderUnavailableError: no driver, a codec or bit depth that this GPU does not decode to NV12, an odd side, or
            HDR.
    """

    _hardware = True

    def __init__(self, info: VideoInfo, device: torch.device, tell: Callable[[str], None] | None = None) -> None:
        import av

        if info.hdr:
            raise DecoderUnavailableError(f"NVDEC does not convert HDR ({info.hdr})")
        super().__init__(info, tell)
        self._device, self._tell_of_end = device, tell
        # Opening NVDEC takes a fifth of a second: what has decoded the first frame goes on with the others.
        self._begun: Iterator[_Picture] | None = None
        if self._coded_width % 2 or self._coded_height % 2:
            raise DecoderUnavailableError(f"NVDEC through PyAV: no odd sides ({info.width}x{info.height})")
        try:
            self._begun = super()._frames(0, info.n_frames)
            self._first = next(self._begun)  # whether NVDEC takes this stream is known only then
        except _refusals() as error:
            raise DecoderUnavailableError(f"NVDEC through PyAV on {device.type}: {first_line(error)}") from error
        self.name = f"NVDEC through PyAV {av.__version__} on {device.type}"

    def batches(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        done = start
        try:
            for batch in super().batches(start, stop, size):
                yield batch
                done += len(batch)
            return
        except LipSyncError as error:
            require_file(self._info.path, "face")  # is still there
            reason = first_line(error.__cause__ or error)
        # Outside the handler, whose traceback keeps the decoder and its memory alive.
        if self._tell_of_end is not None:
            self._tell_of_end(f"NVDEC stopped at frame {done} ({reason}): decoding the rest on the CPU")
        yield from PyavDecoder(self._info).batches(done, stop, size)

    def _threads(self, n_frames: int) -> str:
        """Frames side by side take a surface each, of 32 in all, and decode no faster: there is one decoder."""
        return "SLICE"

    def _frames(self, start: int, stop: int) -> Iterator[_Picture]:
        if start or self._begun is None:
            self._begun = None  # what the look has opened goes
            return self._frames_again(start, stop)
        if stop == 1:  # a look at what it decodes
            return iter((self._first,))
        begun, self._begun = self._begun, None
        return islice(chain((self._first,), begun), stop)

    def _frames_again(self, start: int, stop: int) -> Iterator[_Picture]:
        """In a file that was decoded before: what fails at the first frame now is no fault of the file. FFmpeg's
        memory is none of PyTorch's, which may hold what it lacks until a run begins again.
        """
        require_file(self._info.path, "face")  # nor is it a lack of memory that it is gone
        frames = super()._frames(start, stop)
        try:
            first = next(frames, None)
        except _refusals() as error:
            raise torch.OutOfMemoryError(
                f"NVDEC does not open {self._info.path} again: {str(error).strip()[:99]}; with fewer runs at once, or "
                "--decoder decord, it may"
            ) from error
        if first is not None:
            yield first
            yield from frames

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        from av.codec.hwaccel import HWAccel

        if self._device.type != "cuda":
            with super()._opened() as container:
                yield container
            return
        with ExitStack() as until_closed:
            with current_context(self._device) as index:
                options: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
                hardware = HWAccel(
                    "cuda", device=str(index), allow_software_fallback=False, is_hw_owned=True, options=options
                )
                container = until_closed.enter_context(open_container(self._info.path, "face", hardware))
            yield container

    def _kept(self, frame: Any) -> _Picture:
        """A decoded picture, copied: the decoder writes the next one over it."""
        kind = (frame.sw_format or frame.format).name
        if kind != "nv12" or (frame.width, frame.height) != (self._coded_width, self._coded_height):
            wanted = f"{self._coded_width}x{self._coded_height} nv12"
            raise MediaError(f"it becomes {frame.width}x{frame.height} {kind} on the way, not {wanted}")
        kept = torch.empty((frame.height * 3 // 2, frame.width), dtype=torch.uint8, device=self._device)
        stream = torch.cuda.current_stream(self._device) if kept.is_cuda else None
        if stream is not None:
            stream.wait_stream(torch.cuda.default_stream(self._device))  # on which FFmpeg puts the picture there
        # By capsule: PyAV does not take the stream that `torch.from_dlpack` would hand it.
        luma, chroma = (from_dlpack(plane.__dlpack__()) for plane in frame.planes)
        kept[: frame.height].copy_(luma)
        kept[frame.height :].copy_(chroma.flatten(1))
        if stream is not None:
            stream.synchronize()  # the host, which is this decoding thread alone, before it lets go of the picture
        matrix = matrix_of(frame.colorspace, self._coded_height) or "bt601"  # swscale's for all others
        return _Picture(kept, matrix, frame.color_range == FULL_RANGE)

    def _batch(self, kept: list[_Picture]) -> Tensor:
        # One run of pictures of a kind, but in clips whose tags change on the way.
        runs = [
            nv12_to_rgb(torch.stack([picture.planes for picture in run]), matrix=matrix, full_range=full_range)
            for (matrix, full_range), run in groupby(kept, key=lambda picture: picture[1:])
        ]
        return as_shown(runs[0] if len(runs) == 1 else torch.cat(runs), self._info)


def _refusals() -> tuple[type[Exception], ...]:
    """How PyAV and PyTorch say that NVDEC will not; a stream without a frame is none for it either."""
    import av

    # ResourceError: FFmpeg's ENOMEM, be it the device that lacks it.
    return (MediaError, ResourceError, av.FFmpegError, NotImplementedError, RuntimeError, StopIteration)

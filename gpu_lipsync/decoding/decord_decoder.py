"""decord, on the CPU or, in a build with NVDEC, on the device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from gpu_lipsync.decoding.decoders import INDEXED, DecoderUnavailableError, NoCudaBuildError, decoding_failure, said
from gpu_lipsync.decoding.frame_layout import RGB, FrameLayout
from gpu_lipsync.decoding.pyav_decoder import brighten
from gpu_lipsync.media.video_info import VideoInfo

_AV1 = {"av1", "libdav1d", "libaom-av1"}  # FFmpeg has several decoders of it, and calls the codec by theirs
_HOLD_FRAMES = {"vp8", "mpeg4"}  # codecs with packets that are no picture: hidden ones, and "the same as before"
_AHEAD_BYTES_PER_PIXEL = 2  # measured: its frames wait as 4:2:0, with some overhead


class DecordDecoder:
    """decord.VideoReader, on the CPU or, in a build with NVDEC, on the device.

    Args:
        info: the clip.
        device: where it decodes.
        max_ahead_bytes: refuse clips that take more memory than this once decoded; None: take any.
    """

    layout: FrameLayout = RGB

    def __init__(self, info: VideoInfo, *, device: torch.device, max_ahead_bytes: int | None = None) -> None:
        try:
            if device.type == "cuda" and _without_nvdec():
                raise NoCudaBuildError("decord on cuda: a build without NVDEC")
            os.environ.setdefault("PATH", os.defpath)  # which it adds to
            import decord
        except NoCudaBuildError:
            raise
        except Exception as error:  # it loads FFmpeg's libraries, or CUDA's, which may not be there
            raise DecoderUnavailableError(f"decord cannot be loaded ({said(error)})") from error
        decord.logging.set_level(decord.logging.QUIET)  # what FFmpeg has to say of damage, frame by frame
        if info.n_video_streams > 1:
            raise DecoderUnavailableError("decord cannot be told which of several video streams to read")
        if not INDEXED & set(info.container.split(",")):
            # Seen in MPEG-PS: after a seek to frame 0 it goes on from frame 12, and repeats the last one at the end.
            raise DecoderUnavailableError(f"decord loses its place in containers without an index ({info.container})")
        if info.n_hidden:
            # It counts them, decodes without them, and is a few frames off after every seek.
            raise DecoderUnavailableError(f"decord loses count where an edit list hides frames ({info.n_hidden} here)")
        if info.codec in _AV1:  # it would print an error, at any log level
            raise DecoderUnavailableError("decord has no decoder of AV1")
        if info.codec in _HOLD_FRAMES:
            raise DecoderUnavailableError(f"decord takes packets of {info.codec} that show nothing for frames")
        if info.mirrored:
            raise DecoderUnavailableError("decord does not mirror")
        if info.hdr:
            raise DecoderUnavailableError(f"decord does not convert HDR ({info.hdr})")
        if info.untagged_hd:
            raise DecoderUnavailableError("decord takes HD without tags for BT.601")
        ahead_bytes = info.n_frames * info.width * info.height * _AHEAD_BYTES_PER_PIXEL
        if max_ahead_bytes is not None and ahead_bytes > max_ahead_bytes:
            raise DecoderUnavailableError(f"decord would decode ahead into {ahead_bytes >> 20} MB of memory")
        context = decord.gpu(device.index or 0) if device.type == "cuda" else decord.cpu(0)
        self.name = f"decord {decord.__version__} on {device.type}"
        try:
            self._reader = decord.VideoReader(str(info.path), ctx=context)
        except (decord.DECORDError, RuntimeError, AssertionError, UnicodeEncodeError) as error:  # no frames; no UTF-8
            kind = NoCudaBuildError if "CUDA not enabled" in str(error) else DecoderUnavailableError
            raise kind(f"decord on {device.type}: {said(error)}") from error
        self._info = info
        if len(self._reader) != info.n_frames:
            raise DecoderUnavailableError(f"decord finds {len(self._reader)} frames of {info.n_frames}")
        self._too_dark = 0 if device.type == "cuda" else info.too_dark

    def batches(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        import decord

        for first in range(start, stop, size):
            try:
                pixels = self._reader.get_batch(range(first, min(first + size, stop)))
            except (decord.DECORDError, RuntimeError) as error:
                raise decoding_failure(self._info, first, error) from error
            # decord's NDArray, or what the caller has told decord to return to this thread (decord.bridge).
            frames = pixels if isinstance(pixels, Tensor) else from_dlpack(pixels.to_dlpack())
            if frames.is_cuda:
                # decord fills them on the default stream, and PyTorch does not know when its memory is free again.
                torch.cuda.current_stream(frames.device).wait_stream(torch.cuda.default_stream(frames.device))
                frames = frames.clone()
            yield brighten(frames.permute(0, 3, 1, 2), self._too_dark)


def _without_nvdec() -> bool:
    """Whether decord's library does not name NVDEC's: to import it for nothing would take a fifth of a second. Not
    known where another library may be loaded than the package's.
    """
    elsewhere = [os.environ.get("DECORD_LIBRARY_PATH", ""), *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    if any(folder and Path(folder.strip(), "libdecord.so").is_file() for folder in elsewhere):
        return False
    spec = find_spec("decord")
    library = None if spec is None or spec.origin is None else Path(spec.origin).parent / "libdecord.so"
    return library is not None and library.is_file() and b"nvcuvid" not in library.read_bytes()

"""The decoders behind `open_video`, each a stream of frames in display order.

Of RGB, that is; a CPU's 4:2:0 planes come from planar_decoder.py, and decoder_choice.py says who is asked first. A
decord with NVDEC (decord_decoder.py) decodes on the device; where it cannot, PyAV does (nvdec.py), or torchcodec. On
the CPU PyAV, whose FFmpeg is years younger than decord's, reads what decord refuses (AV1, several video streams) and
long clips: decord runs ahead of its caller without bound, until the whole clip lies decoded in memory. The two return
the same pixels there; all apply rotation metadata, or are found out (`require_same_picture`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gpu_lipsync.decoding.frame_layout import RGB, FrameLayout
from gpu_lipsync.decoding.pyav_decoder import PyavDecoder
from gpu_lipsync.errors import MediaError, ResourceError, first_line
from gpu_lipsync.media.video_info import VideoInfo
from gpu_lipsync.process.lack_of_memory import is_lack_of_memory

INDEXED = {"mov", "mp4", "matroska", "webm", "avi"}  # containers in which seeks arrive where they should
# Levels: on the ten clips looked at, ways of converting differ by up to 3.7, BT.601 taken for BT.709 by 6.5 to 17.
_SQUARE_PX, _COLOURS_APART = 16, 5.0
# Levels: of squares of a picture that tells. On those ten another matrix moves them by at least 0.068 of their colour.
_COLOURFUL, _CONTRAST = 80.0, 10.0
_DARK_AT_MOST_S = 1.0  # how long a clip may take to fade in
_LOG_PREFIX = re.compile(r"\[\d\d:\d\d:\d\d\] [^\n]+?:\d+: ")  # when, and where in its source, decord says something


class DecoderUnavailableError(Exception):
    """This decoder cannot read this file here; the message says why. The next one in line is tried."""


class NoCudaBuildError(DecoderUnavailableError):
    """It is not built for GPUs, as what the package index has of decord: no news on a host that has one."""


class Decoder(Protocol):
    """Frames start..stop of a clip as (n, ...) uint8 in a layout, n <= size, in order, each decoded once."""

    name: str
    layout: FrameLayout

    def batches(self, start: int, stop: int, size: int) -> Iterator[Tensor]: ...


class TorchcodecDecoder:
    """torchcodec.decoders.VideoDecoder on CUDA: NVDEC, with frames that are born on the device.

    Args:
        info: the clip.
        device: where it decodes.
        on_host: whether it may decode on the CPU what NVDEC does not take.
    """

    layout: FrameLayout = RGB

    def __init__(self, info: VideoInfo, *, device: torch.device, on_host: bool = True) -> None:
        try:
            # torchcodec wants torch._dynamo, which a lean PyTorch (lean_torch.py) has after this only.
            import_module("torch._meta_registrations")
            from torchcodec.decoders import VideoDecoder
        except (ImportError, OSError, RuntimeError) as error:  # its libraries want the system's FFmpeg
            raise DecoderUnavailableError(f"torchcodec: {first_line(error)}") from error
        if info.mirrored:
            raise DecoderUnavailableError("torchcodec may not mirror")
        if info.hdr:
            raise DecoderUnavailableError(f"torchcodec does not convert HDR ({info.hdr})")
        if not INDEXED & set(info.container.split(",")):
            raise DecoderUnavailableError(f"torchcodec sorts frames by clocks that may begin anew ({info.container})")
        self._info = info
        try:
            self._reader = VideoDecoder(str(info.path), device=str(device), stream_index=info.stream_index)
            self._reader[0]  # whether NVDEC takes this stream is known after the first frame only
        except (RuntimeError, ValueError, IndexError) as error:
            # It loads those when it is first used, and lists all that it has tried.
            without = "the system's FFmpeg libraries are not found" if "libtorchcodec" in str(error) else ""
            raise DecoderUnavailableError(f"torchcodec on {device.type}: {without or first_line(error)}") from error
        if len(self._reader) != info.n_frames:
            raise DecoderUnavailableError(f"torchcodec finds {len(self._reader)} frames of {info.n_frames}")
        fallback = getattr(self._reader, "cpu_fallback", None)
        if fallback and not on_host:
            raise DecoderUnavailableError(f"torchcodec would decode on the CPU ({fallback})")
        self.name = f"torchcodec on {device.type}" + (f" ({fallback})" if fallback else "")

    def batches(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        for first in range(start, stop, size):
            try:
                yield self._reader.get_frames_in_range(first, min(first + size, stop)).data
            except RuntimeError as error:
                raise decoding_failure(self._info, first, error) from error


class Rescued:
    """A decoder that stops for good at damage, and PyAV, which does not, from there on.

    Args:
        decoder: of the clip, in RGB.
        info: the clip.
        tell: is told of it.
    """

    def __init__(self, decoder: Decoder, info: VideoInfo, tell: Callable[[str], None]) -> None:
        self.name, self.layout = decoder.name, decoder.layout
        self._decoder, self._info, self._tell = decoder, info, tell

    def batches(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        done = start
        with suppress(MediaError):
            for batch in self._decoder.batches(start, stop, size):
                yield batch
                done += len(batch)
            return
        clip, kind = self._info.path.name, self.name.split()[0]
        self._tell(
            f"{clip} is damaged: PyAV goes on where {kind} stopped" if done else f"PyAV decodes what {kind} cannot"
        )
        yield from PyavDecoder(self._info).batches(done, stop, size)


def require_same_picture(decoder: Decoder, info: VideoInfo) -> None:
    """Compare a decoder's frames with PyAV's, from the first on until one tells: many clips begin black.

    Decoders on a device differ in what they do about rotation and colour matrices, by version and by build; none of
    them says so.

    Raises:
        DecoderUnavailableError: it has another shape, or other colours, or shows nothing: some know what a device
            refuses with the first frame only.
    """
    reference = PyavDecoder(info)
    n_looked_at = min(info.n_frames, max(1, round(_DARK_AT_MOST_S * info.fps)))
    for span in (range(1), range(1, n_looked_at)):  # the first alone: of more, decoders begin more than they give
        pairs = zip(_shown(decoder, span), reference.batches(span.start, span.stop, 1), strict=True)
        if any(_tells(ours[0], theirs[0], decoder.name) for ours, theirs in pairs):
            return


def _shown(decoder: Decoder, span: range) -> Iterator[Tensor]:
    try:
        yield from decoder.batches(span.start, span.stop, 1)
    except (MediaError, ResourceError, torch.OutOfMemoryError) as error:
        raise DecoderUnavailableError(f"{decoder.name}: {said(error.__cause__ or error)}") from error


def _tells(ours: Tensor, theirs: Tensor, name: str) -> bool:
    """Whether a frame (3, H, W) of the decoder of that name, compared with FFmpeg's, has colours and contrast enough to
    tell one that is at fault; DecoderUnavailableError if it does.
    """
    ours, theirs = ours.cpu().float(), theirs.float()
    if ours.shape != theirs.shape:
        raise DecoderUnavailableError(f"{name} gives frames of {tuple(ours.shape)}, not {tuple(theirs.shape)}")
    # Means over squares: what differs by ways of rounding and of enlarging chroma goes.
    squares, reference = (avg_pool2d(picture[None], _SQUARE_PX)[0] for picture in (ours, theirs))
    apart = float((squares - reference).abs().max())
    if apart > _COLOURS_APART:
        raise DecoderUnavailableError(f"{name} shows other colours than FFmpeg, by {apart:.0f} levels")
    colour, contrast = reference.amax(dim=0) - reference.amin(dim=0), reference.mean(dim=0).std()
    return bool(colour.max() >= _COLOURFUL and contrast >= _CONTRAST)


def decoding_failure(info: VideoInfo, frame: int, error: Exception) -> Exception:
    """What a run is told. A lack of memory is torch.OutOfMemoryError: no fault of the clip's; smaller ones may do."""
    if is_lack_of_memory(error):
        return torch.OutOfMemoryError(_LOG_PREFIX.sub("", str(error)))
    return MediaError(f"{info.path} cannot be decoded from frame {frame} on ({said(error)}); use --decoder auto")


def said(error: BaseException) -> str:
    """An error's first line, without where in its source decord says it."""
    return _LOG_PREFIX.sub("", first_line(error))

"""Media files as containers of streams: which of them counts, its frames, whether the file is whole. PyAV; no torch."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from gpu_lipsync.errors import MediaError, is_shortage, shortage
from gpu_lipsync.process.host_memory import may_be_short

# Containers that write their duration down; elsewhere FFmpeg estimates it, which proves nothing.
_STATES_DURATION = {"mov", "mp4", "matroska", "webm", "wav", "flac", "avi", "aiff", "au", "tta", "mxf"}
_WITHOUT_OWN = {"matroska", "webm"}  # states one for all streams
_INDEX_BYTES = 1 << 16
# Which name other files, whose owner need not be who sent the list; one that names itself is never done.
_LISTS = {"concat", "hls", "dash", "imf", "rtsp", "sdp", "webm_dash_manifest"}
_PHOTO_BRANDS = {"heic", "heix", "mif1", "msf1", "avif"}
_BACK_S, _AHEAD_S = 0.5, 60  # what a clock jumps that does not begin anew: by damage, and where a camera was off
_WAV_HEADER_BYTES = 44  # sizes are off by as many where writers count wrong
_STREAMED_AIFF_BYTES = 0x7EFFFFFF  # likewise more than that of AIFF
_STREAMED_BYTES = 0x7FF00000  # or more: what writers of WAV promise who do not know, espeak-ng and SoX among them


@contextmanager
def open_container(path: Path, role: str, hardware: Any = None) -> Iterator[Any]:
    """A file as PyAV's InputContainer, until it is left; FFmpeg's errors within become ours.

    Args:
        path: the file.
        role: what it is to a run, for messages: face, audio.
        hardware: the `av.codec.hwaccel.HWAccel` to decode with.

    Raises:
        MediaError: it is damaged, no media, or a list of other files.
        ResourceError: the host lacks memory or open files.
    """
    import av

    # Absolute: FFmpeg takes what stands before the colon of `12:30.mp4` for a protocol.
    # A name with %d stands for no other files.
    options = {"pattern_type": "none", "format_whitelist": ",".join(sorted(av.formats_available - _LISTS))}
    try:
        with av.open(str(path.absolute()), options=options, metadata_errors="replace", hwaccel=hardware) as container:
            yield container
    except av.FFmpegError as error:
        if is_shortage(error) and (hardware or error.errno != errno.ENOMEM or may_be_short()):
            raise shortage(f"{role} file {path} cannot be read", error) from error
        if _is_list(path):
            raise MediaError(f"{role} file {path} is a list of other files; give the clip itself") from error
        raise MediaError(
            f"{role} file {path} is damaged or no media ({error.strerror}); give another, or convert it anew"
        ) from error


def _is_list(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as stream:
        return stream.read(256).lstrip().startswith((b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0"))
    return False


def chosen_stream(path: Path, container: Any, kind: str) -> Any:
    """The stream of a kind (video, audio) that a player would take: the default one, else the first; no cover picture.

    Raises:
        MediaError: there is none, or FFmpeg has no decoder for it.
    """
    streams = [s for s in getattr(container.streams, kind) if not is_cover_art(s)]
    parts = [s for s in streams if s.disposition and "dependent" in s.disposition.name.lower()]
    if kind == "video" and parts and container.metadata.get("major_brand") in _PHOTO_BRANDS:
        raise MediaError(f"{path} is a photo made of {len(parts)} tiles (HEIC), which are not joined; save it as JPEG")
    streams = [s for s in streams if s not in parts] or streams
    known = [s for s in streams if s.codec_context is not None]
    if streams and not known:
        way_out = "re-encode it as H.264, or save a picture as PNG" if kind == "video" else "convert it to WAV"
        raise MediaError(f"{path} has {kind} of a kind that FFmpeg has no decoder for; {way_out}")
    streams = known
    if not streams:
        kinds = {"a cover picture" if is_cover_art(s) else s.type for s in container.streams}
        others = ", ".join(sorted(kinds)) or "nothing"
        wanted = "--face needs a video or a picture" if kind == "video" else "--audio needs a file with sound"
        raise MediaError(f"{path} has no {kind} stream (it holds: {others}); {wanted}")
    defaults = [s for s in streams if s.disposition and "default" in s.disposition.name.lower()]
    return (defaults or streams)[0]


def is_cover_art(stream: Any) -> bool:
    """Whether a video stream is but the picture of an album."""
    return "attached_pic" in stream.disposition.name.lower() if stream.disposition else False


def on_one_clock(container: Any, stream: Any) -> Iterator[Any]:
    """Packets of a stream; where recordings were joined byte by byte, each of whose clocks begins anew, one after the
    other. Where the format has no such thing, stamps are left alone: slides may be an hour apart.
    """
    from av.format import Flags

    may_restart = bool(container.format.flags & Flags.ts_discont.value)
    shift, last, due = 0, None, None  # of the time base; decoding times
    for packet in _packets(container, stream):
        if may_restart and packet.size and packet.dts is not None:
            at = packet.dts + shift
            if due is not None and not -_BACK_S <= (at - due) * packet.time_base <= _AHEAD_S:
                shift, at = shift + due - at, due
            step = at - last if last is not None else 0
            last, due = at, at + (packet.duration or max(step, 0))
        if shift:
            packet.pts, packet.dts = ((t if t is None else t + shift) for t in (packet.pts, packet.dts))
        yield packet


def _packets(container: Any, streams: Any) -> Iterator[Any]:
    # Streams that come up on the way (FLV, MPEG-TS) are more than PyAV 18.1 counted at the beginning: once every packet
    # has come it looks for their place, beyond the end of its list.
    packets = iter(container.demux(streams))
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError):
            return
        yield packet


def decoded(container: Any, stream: Any, *, hardware: bool = False) -> Iterator[Any]:
    """A stream's frames in order, those of damaged packets left out.

    Args:
        container: as `open_container` gives it.
        stream: one of its.
        hardware: whether a device decodes, whose errors may be other than damage.

    Raises:
        MediaError, ResourceError, av.FFmpegError: not a single frame can be decoded, or what is no damage.
    """
    # A damaged packet costs its own moment, not the file. Decoders of sound have many names for damage (AAC's says
    # "operation not permitted"); of pictures, where a device may decode, other errors are not the packet's.
    import av

    none_yet, first_error = True, None
    for packet in on_one_clock(container, stream):
        # Theora's way of repeating a frame; the last packet, which flushes, is empty too and has no buffer.
        if not packet.size and packet.buffer_ptr:
            continue
        try:
            for frame in packet.decode():
                none_yet = False
                yield frame
        except av.InvalidDataError:
            if hardware and none_yet:  # how H.264 says that the device refuses, with each packet anew
                raise
        except av.FFmpegError as error:
            if stream.type != "audio" or (error.errno == errno.ENOMEM and may_be_short()):
                raise
            first_error = first_error or error
    if none_yet and first_error:
        raise first_error


def refuse_truncated(path: Path, role: str, container: Any, stream: Any, end: Fraction) -> None:
    """Compare what a file announces with what was read of it.

    Args:
        path: the file.
        role: what it is for, for the message.
        container: the file, opened.
        stream: the one that was read.
        end: when the last of it that was read ends, on the container's clock, seconds.

    Raises:
        MediaError: bytes are missing, or more than 2 % (at least 0.5 s) of the time.
    """
    with path.open("rb") as file:
        is_riff, is_wav, announced_bytes = _riff(file)
        file.seek(0)
        form = file.read(8)
    if form[:4] == b"FORM" and int.from_bytes(form[4:], "big") > max(_STREAMED_AIFF_BYTES, 2 * container.size):
        return
    if is_riff and is_wav and announced_bytes > max(_STREAMED_BYTES, 2 * container.size):
        return
    if is_riff and container.size + _WAV_HEADER_BYTES < announced_bytes:
        raise MediaError(
            f"{role} {path} is cut short: it holds {container.size} of {announced_bytes} bytes; copy it again"
        )
    kinds = set(container.format.name.split(","))
    if not _STATES_DURATION & kinds:
        return
    # In AVI sound that starts late has a length of its own, and pictures that stay as they are have no packets.
    if is_riff and not is_wav:
        return
    # Matroska's streams have none of their own: FFmpeg gives one the container's, if it has not come to its packets.
    own_duration = bool(stream.duration) and not _WITHOUT_OWN & kinds
    if own_duration:
        # A fragmented MP4's is when it ends, be it that it begins in the middle of a broadcast.
        start = 0 if _is_fragmented(path) else stream.start_time or 0
        announced = float((stream.duration + start) * stream.time_base)
    else:
        announced = (container.duration or 0) / 1e6
    tolerance = max(0.5, 0.02 * announced)
    if float(end) >= announced - tolerance:
        return
    # The last picture may be held for long, and without a duration of the stream's own the announced one is that of the
    # longest: a cut would end them all, since they are interleaved.
    held = max(float(end), _last_moment(path, role, stream.index if own_duration else None))
    if held < announced - tolerance:
        raise MediaError(
            f"{role} {path} is cut short: it announces {announced:.1f} s and holds {held:.1f} s; copy it again"
        )


def _is_fragmented(path: Path) -> bool:
    """Whether a file is an MP4 whose index, before all pictures and sound, says that it is in fragments."""
    with path.open("rb") as file:
        return b"mvex" in file.read(_INDEX_BYTES)


def _riff(file: BinaryIO) -> tuple[bool, bool, int]:
    """Whether a file is a RIFF (WAV, AVI), whether that is a WAV, and how many bytes it says that it has, in all of its
    parts, of which an AVI has one for each gigabyte; 0 if it does not say.
    """
    head, end = file.read(12), 0
    is_riff, is_wav = head.startswith(b"RIFF"), head[8:] == b"WAVE"
    while head.startswith(b"RIFF"):
        size = int.from_bytes(head[4:8], "little")
        if size + 8 >= 0xFFFFFFFF or size == 0:  # what a writer leaves that could not go back
            return is_riff, is_wav, 0
        end += 8 + size
        file.seek(end + end % 2)
        head = file.read(12)
    return is_riff, is_wav, end


def _last_moment(path: Path, role: str, stream_index: int | None) -> float:
    """When the last packet of a stream, or of all of them, ends: seconds on the container's clock."""
    with open_container(path, role) as container:
        packets = _packets(container, None if stream_index is None else container.streams[stream_index])
        timed = ((p, p.dts if p.pts is None else p.pts) for p in packets if p.size)
        return max((float((t + (p.duration or 0)) * p.time_base) for p, t in timed if t is not None), default=0.0)

"""Media files as containers of streams: whether a file is usable, its streams, their frames. PyAV; no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from gpu_lipsync.errors import LipSyncError, MediaError

# Containers that write their duration down; elsewhere FFmpeg estimates it, which proves nothing.
_STATES_DURATION = {"mov", "mp4", "matroska", "webm", "wav", "flac", "avi"}


def require_file(path: str | Path, role: str, *, error: type[LipSyncError] = MediaError) -> Path:
    """The path, if it is a file with something in it.

    Raises:
        MediaError: it is missing, a folder, unreadable or empty; or another kind, as `error` says.
    """
    file = Path(path)
    try:
        if not file.exists():
            raise error(f"{role} file {file} does not exist; check the path")
        if not file.is_file() and not file.is_fifo():
            raise error(f"{role} {file} is not a file; give the path of one")
        with file.open("rb") as stream:
            if not stream.read(1):
                raise error(f"{role} file {file} is empty (0 bytes); make it again")
    except OSError as reason:
        raise error(f"{role} file {file} cannot be read ({reason.strerror}); check its permissions") from reason
    return file


@contextmanager
def open_container(path: Path, role: str) -> Iterator[Any]:
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        raise MediaError(
            f"{role} file {path} cannot be read as media ({error.strerror}); it is damaged or of another kind"
        ) from error


def chosen_stream(path: Path, container: Any, kind: str) -> Any:
    streams = [s for s in getattr(container.streams, kind) if not is_cover_art(s)]
    if not streams:
        others = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        wanted = "--face needs a video or a picture" if kind == "video" else "--audio needs a file with sound"
        raise MediaError(f"{path} has no {kind} stream (it holds: {others}); {wanted}")
    defaults = [s for s in streams if s.disposition and "default" in s.disposition.name.lower()]
    return (defaults or streams)[0]


def is_cover_art(stream: Any) -> bool:
    return "attached_pic" in stream.disposition.name.lower() if stream.disposition else False


def decoded(container: Any, stream: Any) -> Iterator[Any]:
    # A damaged packet costs its own moment, not the file.
    import av

    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            continue


def refuse_truncated(path: Path, role: str, container: Any, stream: Any, end: Fraction) -> None:
    with path.open("rb") as file:
        head = file.read(8)
    announced_bytes = int.from_bytes(head[4:8], "little") + 8
    # RIFF (WAV, AVI) says how long it is; 0 and -1 are what a writer leaves that could not go back.
    if head.startswith(b"RIFF") and container.size + 1 < announced_bytes < 0xFFFFFFFF:
        raise MediaError(
            f"{role} {path} is cut short: it holds {container.size} of {announced_bytes} bytes; copy it again"
        )
    if not _STATES_DURATION & set(container.format.name.split(",")):
        return
    if stream.duration:
        announced = float(stream.duration * stream.time_base) + float((stream.start_time or 0) * stream.time_base)
    else:
        announced = (container.duration or 0) / 1e6
    if float(end) < announced - max(0.5, 0.02 * announced):
        raise MediaError(
            f"{role} {path} is cut short: it announces {announced:.1f} s and holds {float(end):.1f} s; copy it again"
        )

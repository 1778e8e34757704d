"""What is in a media file: its video stream's timing, its sound, its still picture. Reads with PyAV; no torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from gpu_lipsync.errors import LipSyncError, MediaError

# Containers that write their duration down; elsewhere FFmpeg estimates it, which proves nothing.
_STATES_DURATION = {"mov", "mp4", "matroska", "webm", "wav", "flac", "avi"}
_MAX_FPS = 240


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """The video stream that counts: the default one, or else the first.

    Attributes:
        path: the file.
        width: pixels as shown, rotation metadata applied.
        height: pixels as shown.
        fps: nominal frames a second, exact.
        shown_at: when each source frame comes on screen, in display order; seconds after the container's start.
        n_hidden: coded frames that an edit list keeps off the screen; they are no source frames.
        constant_rate: frame i is on screen from i / fps, so that counting frames and reading the clock agree.
        stream_index: among all streams of the container.
        n_video_streams: more than one needs a decoder that can be told which.
        codec: FFmpeg's name, such as h264.
        container: FFmpeg's names, such as mov,mp4,m4a,3gp,3g2,mj2.
        rotation: degrees counter-clockwise that the picture is to be turned for showing: 0, 90, 180 or 270.
        pixel_aspect: width of a pixel over its height, as shown.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    shown_at: tuple[Fraction, ...]
    n_hidden: int
    constant_rate: bool
    stream_index: int
    n_video_streams: int
    codec: str
    container: str
    rotation: int
    pixel_aspect: Fraction

    @property
    def n_frames(self) -> int:
        return len(self.shown_at)


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Decoded sound at its own rate: samples (channels, n) float32 in [-1, 1], channels in FFmpeg's named layout."""

    path: Path
    samples: np.ndarray
    layout: str
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        return self.samples.shape[1] / self.sample_rate_hz


@dataclass(frozen=True, kw_only=True)
class Still:
    """A picture: pixels (H, W, 3) uint8 RGB, upright."""

    path: Path
    pixels: np.ndarray
    had_alpha: bool


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


def is_still(path: Path) -> bool:
    """Whether the content, not the name, is a JPEG, PNG, WebP or BMP picture."""
    with path.open("rb") as stream:
        head = stream.read(16)
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or (head.startswith(b"BM") and head[6:10] == b"\0\0\0\0")
    )


def read_still(path: Path) -> Still:
    """Read a picture upright (EXIF), its transparent parts on black.

    Raises:
        MediaError: it cannot be decoded.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as stored:
            picture = ImageOps.exif_transpose(stored)
            had_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
            if had_alpha:
                rgba = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
            elif picture.mode.startswith("I;16"):
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            return Still(path=path, pixels=np.array(picture.convert("RGB")), had_alpha=had_alpha)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"picture {path} cannot be decoded ({error}); it is damaged, save it again") from error


def probe_video(path: Path) -> VideoInfo:
    """Read the timing of every frame from the packets; decodes one frame, for the rotation.

    Raises:
        MediaError: not a video, or one without a usable frame.
    """
    import av

    with _open(path, "face") as container:
        stream = _chosen_stream(path, container, "video")
        n_video = sum(not _is_cover_art(s) for s in container.streams.video)
        packets = [p for p in container.demux(stream) if p.size]
        coded = sorted(
            (p.dts if p.pts is None else p.pts, p.is_discard) for p in packets if p.pts is not None or p.dts is not None
        )
        shown = [t for t, hidden in coded if not hidden]
        if not shown:
            raise MediaError(f"face video {path} holds no frame; it is damaged or cut short, make it again")
        start = Fraction(container.start_time or 0, av.time_base)
        shown_at = tuple(t * stream.time_base - start for t in shown)
        fps = _nominal_rate(stream, shown_at)
        _refuse_truncated(path, "face video", container, stream, shown_at[-1] + start + 1 / fps)
        rotation = round(_first_frame(path, container, stream).rotation / 90) * 90 % 360
        width, height = stream.codec_context.width, stream.codec_context.height
        pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
        if rotation % 180:
            width, height, pixel_aspect = height, width, 1 / (pixel_aspect or Fraction(1))
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            fps=fps,
            shown_at=shown_at,
            n_hidden=len(coded) - len(shown),
            constant_rate=_is_constant(shown_at, fps),
            stream_index=stream.index,
            n_video_streams=n_video,
            codec=stream.codec_context.name,
            container=container.format.name,
            rotation=rotation,
            pixel_aspect=pixel_aspect if pixel_aspect > 0 else Fraction(1),
        )


def levels_too_dark(info: VideoInfo) -> int:
    """How many levels the fast conversion to RGB is darker than the exact one, on the clip's first frame.

    swscale's fast path, which decord uses as well, truncates: pixels come out 1.0 to 1.5 levels dark, and a whole
    untouched picture would be darker in the output than in the source. Its exact path takes ten times as long.
    """
    from av.video.reformatter import Interpolation

    exact = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    with _open(info.path, "face") as container:
        frame = _first_frame(info.path, container, container.streams[info.stream_index])
        fast, right = fast_rgb(frame), frame.reformat(format="rgb24", interpolation=exact).to_ndarray()
    return max(round(float((right.astype(np.int16) - fast).mean())), 0)


def fast_rgb(frame: Any) -> np.ndarray:
    """RGB (H, W, 3) uint8 of an av.VideoFrame by the fast path."""
    from av.video.reformatter import Interpolation

    return frame.reformat(format="rgb24", interpolation=Interpolation.BICUBIC, threads=1).to_ndarray()


def read_sound(path: str | Path) -> Sound:
    """Decode the first audio stream, all of its channels, silence in front for a late start.

    Raises:
        MediaError: the file is missing, unreadable, without an audio stream, or without a sample.
    """
    import av

    file = require_file(path, "audio")
    with _open(file, "audio") as container:
        stream = _chosen_stream(file, container, "audio")
        rate = stream.codec_context.sample_rate
        resampler = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
        chunks, first = [], None
        for frame in _decoded(container, stream):
            if first is None:
                first = Fraction(frame.pts or 0) * frame.time_base
            chunks += [part.to_ndarray() for part in resampler.resample(frame)]
        if first is None:
            raise MediaError(f"audio file {file} holds no sound; it is damaged or cut short, make it again")
        chunks += [part.to_ndarray() for part in resampler.resample(None)]
        samples = np.nan_to_num(np.concatenate(chunks, axis=1), posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
        start = first - Fraction(container.start_time or 0, av.time_base)
        silence = round(start * rate) if start > 0 and len(container.streams) > 1 else 0
        samples = np.pad(samples, ((0, 0), (silence, 0)))
        end = first + Fraction(samples.shape[1] - silence, rate)
        _refuse_truncated(file, "audio", container, stream, end)
    return Sound(path=file, samples=samples, layout=resampler.layout.name, sample_rate_hz=rate)


@contextmanager
def _open(path: Path, role: str) -> Iterator[Any]:
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        raise MediaError(
            f"{role} file {path} cannot be read as media ({error.strerror}); it is damaged or of another kind"
        ) from error


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    # A damaged packet costs its own moment, not the file.
    import av

    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            continue


def _is_cover_art(stream: Any) -> bool:
    return "attached_pic" in stream.disposition.name.lower() if stream.disposition else False


def _chosen_stream(path: Path, container: Any, kind: str) -> Any:
    streams = [s for s in getattr(container.streams, kind) if not _is_cover_art(s)]
    if not streams:
        others = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        wanted = "--face needs a video or a picture" if kind == "video" else "--audio needs a file with sound"
        raise MediaError(f"{path} has no {kind} stream (it holds: {others}); {wanted}")
    defaults = [s for s in streams if s.disposition and "default" in s.disposition.name.lower()]
    return (defaults or streams)[0]


def _nominal_rate(stream: Any, shown_at: tuple[Fraction, ...]) -> Fraction:
    # FFmpeg offers several guesses, each wrong for some container (twice the rate for field-coded MPEG-1, the mean for
    # a variable rate): take the one that the usual distance between frames agrees with.
    guesses = [Fraction(r) for r in (stream.guessed_rate, stream.average_rate, stream.base_rate) if r]
    steps = [float(b - a) for a, b in zip(shown_at, shown_at[1:], strict=False) if b > a]
    if not steps:
        return guesses[0] if guesses else Fraction(25)
    usual = statistics.median(steps)
    measured = Fraction(1 / usual).limit_denominator(1001)
    best = min([*guesses, measured], key=lambda rate: abs(float(1 / rate) - usual))
    close = [rate for rate in guesses if abs(float(1 / rate) - usual) < 1e-3]
    rate = close[0] if close else best
    if not 0 < rate <= _MAX_FPS:
        raise MediaError(f"a frame rate of {float(rate):.1f} is out of range (0 to {_MAX_FPS}); re-encode the video")
    return rate


def _is_constant(shown_at: tuple[Fraction, ...], fps: Fraction) -> bool:
    # Half a frame: matroska rounds to milliseconds, and nobody sees that.
    return all(abs(t - i / fps) < 1 / (2 * fps) for i, t in enumerate(shown_at))


def _first_frame(path: Path, container: Any, stream: Any) -> Any:
    container.seek(0)
    frame = next(_decoded(container, stream), None)
    if frame is None:
        raise MediaError(f"face video {path} has no frame that can be decoded; it is damaged, make it again")
    return frame


def _refuse_truncated(path: Path, role: str, container: Any, stream: Any, end: Fraction) -> None:
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

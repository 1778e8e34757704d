"""What a video file says of its picture: size, rate, and when each frame is on screen. PyAV; no torch."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from gpu_lipsync.colours import Colours, hdr_curve, is_untagged_hd, plain_colours, rgb_colours
from gpu_lipsync.containers import chosen_stream, decoded, is_cover_art, open_container, refuse_truncated
from gpu_lipsync.errors import MediaError

_MAX_FPS = 240
_LEAST_FPS_OF_ONE_FRAME = 10  # less says how long the frame is held, not how often it could have changed


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """The video stream that counts: the default one, or else the first.

    Attributes:
        path: the file, absolute: every decoder's FFmpeg takes `12:30.mp4` for a protocol.
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
        mirrored: to be put upside down before it is turned, which makes it its mirror image.
        pixel_aspect: width of a pixel over its height, as shown.
        hdr: name of the transfer curve, if it is one of high dynamic range: PQ or HLG.
        interlaced: its first frame is two half pictures, of two moments.
        untagged_hd: says nothing of its colours, and is taken for BT.709 by its size.
        colours: of 8-bit 4:2:0 that can be written as it is read; None: frames have to be converted.
        rgb_colours: of what is written of RGB.
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
    mirrored: bool
    pixel_aspect: Fraction
    hdr: str | None
    interlaced: bool
    untagged_hd: bool
    colours: Colours | None
    rgb_colours: Colours

    @property
    def n_frames(self) -> int:
        return len(self.shown_at)


def probe_video(path: Path, *, fps_of_still: Fraction = Fraction(25)) -> VideoInfo:
    """Read the timing of every frame from the packets; decodes one frame, for the rotation.

    Args:
        path: the file.
        fps_of_still: the rate of a clip of one frame that states none, such as a GIF.

    Raises:
        MediaError: not a video, or one without a usable frame.
    """
    import av

    with open_container(path, "face") as container:
        stream = chosen_stream(path, container, "video")
        n_video = sum(not is_cover_art(s) for s in container.streams.video)
        coded = _timestamps(container, stream)
        shown = [t for t, hidden in coded if not hidden]
        if not shown:
            raise MediaError(f"face video {path} holds no frame; it is damaged or cut short, make it again")
        start = Fraction(container.start_time or 0, av.time_base)
        shown_at = tuple(t * stream.time_base - start for t in shown)
        fps = _nominal_rate(stream, shown_at) if len(shown) > 1 else _stated_rate(stream) or fps_of_still
        refuse_truncated(path, "face video", container, stream, shown_at[-1] + start + 1 / fps)
        frame = _first_frame(path, container, stream)
        rotation = round(frame.rotation / 90) * 90 % 360
        width, height = frame.width, frame.height
        pixel_aspect = stream.sample_aspect_ratio or Fraction(1)
        if rotation % 180:
            width, height, pixel_aspect = height, width, 1 / (pixel_aspect or Fraction(1))
        return VideoInfo(
            path=path.absolute(),
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
            mirrored=_is_mirrored(frame),
            pixel_aspect=pixel_aspect if pixel_aspect > 0 else Fraction(1),
            hdr=hdr_curve(stream.codec_context.color_trc),
            interlaced=bool(frame.interlaced_frame),
            untagged_hd=is_untagged_hd(frame),
            colours=plain_colours(frame),
            rgb_colours=rgb_colours(frame),
        )


def levels_too_dark(info: VideoInfo) -> int:
    """How many levels the fast conversion to RGB is darker than the exact one, on the clip's first frame.

    swscale's fast path, which decord uses as well, truncates: pixels come out 1.0 to 1.5 levels dark, and a whole
    untouched picture would be darker in the output than in the source. Its exact path takes ten times as long.
    """
    from av.video.reformatter import Interpolation

    exact = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    with open_container(info.path, "face") as container:
        frame = _first_frame(info.path, container, container.streams[info.stream_index])
        space = source_space(info)
        fast = fast_rgb(frame, space)
        right = frame.reformat(format="rgb24", src_colorspace=space, interpolation=exact).to_ndarray()
    return max(round(float((right.astype(np.int16) - fast).mean())), 0)


def source_space(info: VideoInfo) -> Any:
    """The Colorspace to tell swscale where it would guess otherwise; None where not."""
    from av.video.reformatter import Colorspace

    return Colorspace.ITU709 if info.untagged_hd else None


def fast_rgb(frame: Any, space: Any = None, *, width: int = 0, height: int = 0) -> np.ndarray:
    """RGB (H, W, 3) uint8 of an av.VideoFrame by the fast path, in its own size or in the one given.

    `space` is as `source_space` gives it.
    """
    from av.video.reformatter import Interpolation

    size = {"width": width or frame.width, "height": height or frame.height}
    how = {"src_colorspace": space, "interpolation": Interpolation.BICUBIC, "threads": 1}
    return frame.reformat(**size, **how, format="rgb24").to_ndarray()


def _timestamps(container: Any, stream: Any) -> list[tuple[int, bool]]:
    """When each coded frame is shown, in the stream's time base, in order, and whether an edit list hides it."""
    # One packet at a time: together their payloads are the file.
    vp8 = stream.codec_context.name == "vp8"
    packets = (p for p in container.demux(stream) if p.size and not (vp8 and _is_hidden(p)))
    seen = [(p.dts if p.pts is None else p.pts, p.is_discard) for p in packets]
    if seen and all(t is None for t, _ in seen):
        raise MediaError(
            f"face video {container.name} is a bare stream without timestamps; "
            "put it into a container: ffmpeg -i IN -c copy OUT.mp4"
        )
    return sorted((t, hidden) for t, hidden in seen if t is not None)


def _is_hidden(packet: Any) -> bool:
    """Whether a packet of VP8 is there for others to refer to only: show_frame, RFC 6386, 9.1."""
    return not bytes(packet)[0] >> 4 & 1


def _nominal_rate(stream: Any, shown_at: tuple[Fraction, ...]) -> Fraction:
    # FFmpeg offers several guesses, each wrong for some container (twice the rate for field-coded MPEG-1, the mean for
    # a variable rate): take the one that the usual distance between frames agrees with.
    guesses = [Fraction(r) for r in (stream.guessed_rate, stream.average_rate, stream.base_rate) if r]
    steps = [float(b - a) for a, b in zip(shown_at, shown_at[1:], strict=False) if b > a]
    usual = statistics.median(steps) if steps else 1 / float(guesses[0] if guesses else 25)
    if usual < 1 / (_MAX_FPS * 1.01):  # stamped as they came over a network, in bunches
        usual = statistics.fmean(steps) if steps else usual
    measured = Fraction(1 / usual).limit_denominator(1001)  # 0 of slides that are half an hour apart
    best = min([*guesses, measured or Fraction(1 / usual)], key=lambda rate: abs(float(1 / rate) - usual))
    close = [rate for rate in guesses if abs(float(1 / rate) - usual) < 1e-3]
    rate = close[0] if close else best
    if not 0 < rate <= _MAX_FPS * 1.01:  # "240" of slow motion is a little more
        raise MediaError(
            f"{stream.container.name} has a frame rate of {float(rate):.1f}, out of range (0 to {_MAX_FPS}); "
            "re-encode the video"
        )
    return rate


def _stated_rate(stream: Any) -> Fraction | None:
    """The rate of a clip of one frame, unless it is but the tick of its clock (100 in a GIF, 1000 in WebM)."""
    rate = stream.average_rate
    stated = rate and rate == stream.guessed_rate and _LEAST_FPS_OF_ONE_FRAME <= rate <= _MAX_FPS
    return Fraction(rate) if stated else None


def _is_constant(shown_at: tuple[Fraction, ...], fps: Fraction) -> bool:
    # Half a frame: matroska rounds to milliseconds, and nobody sees that.
    return all(abs(t - i / fps) < 1 / (2 * fps) for i, t in enumerate(shown_at))


def _is_mirrored(frame: Any) -> bool:
    """Whether the display matrix, of which PyAV tells the turning, mirrors: cameras on the user's side do."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV 18.1 has no names for FFmpeg's newest kinds, EXIF among them, and then gives none at all
        return False
    if matrix is None:
        return False
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).astype(float)
    return a * d - b * c < 0


def _first_frame(path: Path, container: Any, stream: Any) -> Any:
    container.seek(min(0, container.start_time or 0))  # clocks that wrap begin below 0
    frame = next(decoded(container, stream), None)
    if frame is None:
        raise MediaError(f"face video {path} has no frame that can be decoded; it is damaged, make it again")
    return frame

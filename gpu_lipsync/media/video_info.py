"""What a video file says of its picture: size, rate, and when each frame is on screen, by PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from gpu_lipsync.errors import MediaError
from gpu_lipsync.media.colours import (
    Colours,
    HdrCurve,
    hdr_curve,
    in_readable_matrix,
    is_untagged_hd,
    is_yuv,
    plain_colours,
    rgb_colours,
)
from gpu_lipsync.media.containers import chosen_stream, decoded, is_cover_art, open_container, refuse_truncated
from gpu_lipsync.media.frame_times import coded_times, is_constant, nominal_rate, stated_rate

_PATCH_PX = 8
_OPAQUE = 255


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """The video stream that counts: the default one, or else the first.

    Attributes:
        path: the file, absolute: every decoder's FFmpeg takes `12:30.mp4` for a protocol.
        width: pixels as shown, rotation metadata applied.
        height: pixels as shown.
        fps: nominal frames a second, exact.
        starts_at: when the clip begins on the container's clock, seconds.
        shown_at: when each source frame comes on screen, in display order; seconds after that.
        n_hidden: coded frames that an edit list keeps off the screen; they are no source frames.
        constant_rate: frame i is on screen from i / fps, so that counting frames and reading the clock agree.
        stream_index: among all streams of the container.
        n_video_streams: more than one needs a decoder that can be told which.
        codec: FFmpeg's name, such as h264.
        container: FFmpeg's names, such as mov,mp4,m4a,3gp,3g2,mj2.
        rotation: degrees counter-clockwise that the picture is to be turned for showing: 0, 90, 180 or 270.
        mirrored: to be put upside down before it is turned, which makes it its mirror image.
        pixel_aspect: width of a pixel over its height, as shown.
        hdr: name of the transfer curve, if it is one of high dynamic range.
        interlaced: its first frame is two half pictures, of two moments.
        untagged_hd: says nothing of its colours, and is taken for BT.709 by its size.
        colours: of 4:2:0 that can be written as it is read, or with two bits less; None: frames have to be converted,
            as HDR.
        rgb_colours: of what is written of RGB.
        transparent: parts of its first frame are, or it comes with a second picture that says which.
        too_dark: levels by which the fast way to RGB is darker than the exact one.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    starts_at: Fraction
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
    hdr: HdrCurve | None
    interlaced: bool
    untagged_hd: bool
    colours: Colours | None
    rgb_colours: Colours
    transparent: bool
    too_dark: int

    @property
    def n_frames(self) -> int:
        return len(self.shown_at)


def probe_video(path: Path, *, fps_of_still: Fraction = Fraction(25)) -> VideoInfo:
    """Read the timing of every frame from the packets; decodes one frame, for what only a picture tells.

    Args:
        path: the file.
        fps_of_still: the rate of a clip of one frame that states none, such as a GIF.

    Raises:
        MediaError: not a video, or one without a usable frame.
    """
    with open_container(path, "face") as container:
        stream = chosen_stream(path, container, "video")
        shown_at, starts_at, n_hidden = _times(path, container, stream)
        fps = nominal_rate(stream, shown_at) if len(shown_at) > 1 else stated_rate(stream) or fps_of_still
        refuse_truncated(path, "face video", container, stream, shown_at[-1] + starts_at + 1 / fps)
        frame = _first_frame(path, container, stream)
        rotation = _rotation(frame)
        width, height, pixel_aspect = _shape(frame, stream.sample_aspect_ratio, rotation)
        return VideoInfo(
            path=path.absolute(),
            width=width,
            height=height,
            fps=fps,
            starts_at=starts_at,
            shown_at=shown_at,
            n_hidden=n_hidden,
            constant_rate=is_constant(shown_at, fps),
            stream_index=stream.index,
            n_video_streams=sum(not is_cover_art(s) for s in container.streams.video),
            codec=stream.codec_context.name,
            container=container.format.name,
            rotation=rotation,
            mirrored=_is_mirrored(frame),
            pixel_aspect=pixel_aspect,
            hdr=hdr_curve(stream.codec_context.color_trc),
            interlaced=bool(frame.interlaced_frame),
            untagged_hd=(untagged_hd := is_untagged_hd(frame)),
            colours=plain_colours(frame),
            rgb_colours=rgb_colours(frame),
            transparent=stream.metadata.get("alpha_mode") == "1" or _is_transparent(frame),
            too_dark=_levels_too_dark(frame, _source_space(untagged_hd)),
        )


def _times(path: Path, container: Any, stream: Any) -> tuple[tuple[Fraction, ...], Fraction, int]:
    """When each frame is shown, seconds after the clip's beginning, when that is, and how many are never shown."""
    import av

    coded = coded_times(container, stream)
    shown = [t * stream.time_base for t, hidden in coded if not hidden]
    if not shown:
        raise MediaError(f"face video {path} holds no frame; it is damaged or cut short, export it again")
    starts_at = Fraction(container.start_time or 0, av.time_base)
    if container.format.name == "avi":
        # It knows in which order frames are coded alone; where some wait for others FFmpeg has the first wait, too.
        starts_at = shown[0]
    return tuple(t - starts_at for t in shown), starts_at, len(coded) - len(shown)


def _rotation(frame: Any) -> int:
    # A matrix of zeros has no angle, and PyAV makes an enormous number of that.
    return round(frame.rotation / 90) * 90 % 360 if abs(frame.rotation) <= 360 else 0


def _shape(frame: Any, pixel_aspect: Fraction | None, rotation: int) -> tuple[int, int, Fraction]:
    """Width, height and the pixels' aspect, as shown."""
    aspect = pixel_aspect if pixel_aspect and pixel_aspect > 0 else Fraction(1)
    return (frame.height, frame.width, 1 / aspect) if rotation % 180 else (frame.width, frame.height, aspect)


def _levels_too_dark(frame: Any, space: Any) -> int:
    """How many levels the fast conversion to RGB of such frames as an av.VideoFrame is darker than the exact one.

    swscale's fast path, which decord uses as well, truncates: pixels come out 1.0 to 1.5 levels dark, and a whole
    untouched picture would be darker in the output than in the source. Its exact path takes ten times as long. A card
    of colours is measured: the frame may be black, as many are at the beginning of a clip, and that tells nothing.
    """
    from av import VideoFrame
    from av.video.reformatter import Interpolation

    if not is_yuv(frame):
        return 0
    exact = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    patches = np.random.default_rng(0).integers(16, 240, (4, -(-frame.width // _PATCH_PX), 3), dtype=np.uint8)
    card = patches.repeat(_PATCH_PX, axis=0).repeat(_PATCH_PX, axis=1)[:, : frame.width]
    coded = VideoFrame.from_ndarray(np.ascontiguousarray(card)).reformat(format=frame.format.name, interpolation=exact)
    coded.colorspace, coded.color_range = frame.colorspace, frame.color_range
    right = coded.reformat(format="rgb24", src_colorspace=space, interpolation=exact).to_ndarray()
    return max(round(float((right.astype(np.int16) - fast_rgb(coded, space)).mean())), 0)


def source_space(info: VideoInfo) -> Any:
    """The Colorspace to tell swscale where it would guess otherwise; None where not."""
    return _source_space(info.untagged_hd)


def _source_space(untagged_hd: bool) -> Any:
    from av.video.reformatter import Colorspace

    return Colorspace.ITU709 if untagged_hd else None


def fast_rgb(frame: Any, space: Any = None, *, width: int = 0, height: int = 0) -> np.ndarray:
    """RGB (H, W, 3) uint8 of an av.VideoFrame by the fast path, in its own size or in the one given.

    `space` is as `source_space` gives it.
    """
    from av.video.reformatter import Interpolation

    size = {"width": width or frame.width, "height": height or frame.height}
    how = {"src_colorspace": space, "interpolation": Interpolation.BICUBIC, "threads": 1}
    return frame.reformat(**size, **how, format="rgb24").to_ndarray()


def _is_transparent(frame: Any) -> bool:
    """Whether any pixel is, by the frame itself: VP8 and VP9 in WebM have a stream of their own for it."""
    if not any(component.is_alpha for component in frame.format.components):
        return False
    return bool(frame.reformat(format="rgba").to_ndarray()[..., 3].min() < _OPAQUE)


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
        raise MediaError(f"face video {path} has no frame that can be decoded; it is damaged, export it again")
    return in_readable_matrix(frame)

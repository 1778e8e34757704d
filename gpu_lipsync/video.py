"""The face: a video, or a still, as batches of uint8 RGB frames on the device."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.decoder_choice import choose_decoder
from gpu_lipsync.decoding.decoders import Decoder
from gpu_lipsync.decoding.frame_layout import RGB, FrameLayout
from gpu_lipsync.decoding.planar_decoder import PlanarDecoder
from gpu_lipsync.errors import ConfigError, MediaError
from gpu_lipsync.media.colours import BT709
from gpu_lipsync.media.stills import Still, is_still, read_still
from gpu_lipsync.media.video_info import VideoInfo, probe_video
from gpu_lipsync.ops import reduce_bytes, upload
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.process.input_files import require_file
from gpu_lipsync.timeline import Timeline, align

_CPU_BATCH, _CPU_BATCH_PIXELS = 16, 16 << 20
_CUDA_BATCH, _CUDA_BATCH_PIXELS = 32, 32 << 20  # more is no faster there, and the encoder starts later
_LEAST_FPS = 10  # frames of slower clips are held, lest the lips move as seldom


class Video:
    """An opened face file. Frames come out resized, rotated and cropped, or as they were decoded.

    Attributes:
        path: the file.
        device: where frames come out.
        size: height and width of the frames, pixels.
        decoded_pixels: of a frame as it is decoded, before it is resized and cropped.
        fps: of the result, exact; the source's own, but for slides.
        source_fps: the source's own.
        n_frames: number of source frames; 1 for a still.
        layout: how frames lie in memory: RGB, unless what was decoded may stay and there is nothing to do to it.
        colours: what the numbers of 4:2:0 frames mean; of RGB, those that will be written.
        decoder: what decodes, in words, for the report.
        notes: what a user should know about how the file was read.
        pixel_aspect: width of a pixel over its height.
    """

    def __init__(self, path: Path, config: FrameConfig, device: torch.device, *, as_decoded: bool) -> None:
        self.path, self._config, self.device = path, config, device
        self._decoder: Decoder | None = None
        # Of what has no rate of its own, or too low a one.
        slow_fps = Fraction(float(config.fps)).limit_denominator(1001)
        self._constant_rate, self.pixel_aspect, self.colours = True, Fraction(1), BT709
        if is_still(path):
            still = read_still(path)
            height, width = still.pixels.shape[:2]
            self.fps = self.source_fps = slow_fps
            self._shown_at: tuple[Fraction, ...] = (Fraction(0),)
            self.notes = _notes_on_still(path, still)
            self._window = _crop_window(path, height, width, config)
            self._decoder = _StillDecoder(still)
        else:
            info = probe_video(path, fps_of_still=slow_fps)
            height, width, self.source_fps, self._shown_at = info.height, info.width, info.fps, info.shown_at
            too_slow = info.n_frames > 1 and info.fps < _LEAST_FPS
            self.fps = slow_fps if too_slow else info.fps
            self._constant_rate, self.pixel_aspect = info.constant_rate and not too_slow, info.pixel_aspect
            self.notes = _notes_on_clip(info, self.fps)
            self._window = _crop_window(path, height, width, config)  # before a decoder meets what is too small
            whole = not config.rotate and self._window == (0, height, 0, width)
            as_decoded = as_decoded and whole and device.type == "cpu"
            decoder = choose_decoder(info, config.decoder, device, self.notes, as_decoded=as_decoded)
            self.colours = decoder.colours if isinstance(decoder, PlanarDecoder) else info.rgb_colours
            self._decoder = decoder
        self.decoder, self.layout = self._decoder.name, self._decoder.layout
        self.n_frames, self.decoded_pixels = len(self._shown_at), height * width
        self.size = (self._window[1] - self._window[0], self._window[3] - self._window[2])
        if config.rotate and self.pixel_aspect:
            self.pixel_aspect = 1 / self.pixel_aspect

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder = None

    def timeline(self, n_outputs: int) -> Timeline:
        """Which source frame each of n_outputs output frames shows."""
        return align(
            self._shown_at,
            fps=self.fps,
            constant_rate=self._constant_rate,
            n_outputs=n_outputs,
            last_s=1 / self.source_fps,
            static=self._config.static,
        )

    def batch_size(self, most: int) -> int:
        """Frames in one batch: `most`, or fewer for the sake of memory, a CPU's caches or a GPU's speed."""
        on_cuda = self.device.type == "cuda"
        useful, most_pixels = (_CUDA_BATCH, _CUDA_BATCH_PIXELS) if on_cuda else (_CPU_BATCH, _CPU_BATCH_PIXELS)
        return max(1, min(int(most), useful, most_pixels // self.decoded_pixels))

    def batches(self, frames: range, size: int) -> Iterator[tuple[range, Tensor]]:
        """Decode consecutive source frames, at most `size` at a time.

        Yields:
            The indices, and their frames on the device: (n, 3, H, W) uint8 RGB, or as `layout` says.

        Raises:
            MediaError: damage that no decoder goes on behind.
            RuntimeError: of lack of memory on the device.
        """
        assert self._decoder is not None, "read after it was closed"
        start = frames.start
        for batch in self._decoder.batches(frames.start, frames.stop, size):
            on_device = batch if batch.device.type == self.device.type else upload(batch, self.device)
            edited = edit(on_device, self._config, self._window) if self.layout is RGB else on_device
            yield range(start, start + len(batch)), edited
            start += len(batch)
            del batch, on_device, edited  # not kept while the next is decoded


def edit(frames: Tensor, config: FrameConfig, window: Window) -> Tensor:
    """Frames (B, 3, H, W) uint8 made smaller, turned, and cut to the window, as the settings say in that order."""
    factor = config.resize_factor
    if factor > 1:
        frames = reduce_bytes(frames, (frames.shape[2] // factor, frames.shape[3] // factor))
    if config.rotate:
        frames = torch.rot90(frames, -1, dims=(2, 3))
    top, bottom, left, right = window
    return frames[:, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)


class _StillDecoder:
    """A picture as a clip of one frame."""

    name = "Pillow"
    layout: FrameLayout = RGB

    def __init__(self, still: Still) -> None:
        self._frames = torch.from_numpy(still.pixels).permute(2, 0, 1).unsqueeze(0)

    def batches(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        yield self._frames


def open_video(
    path: str | Path, config: FrameConfig, device: torch.device | str = "cpu", *, as_decoded: bool = False
) -> Video:
    """Open a video or a still; a context manager.

    Args:
        path: the file.
        config: what to do to its frames, and what decodes them.
        device: where frames come out.
        as_decoded: frames may stay 4:2:0, see `Video.layout`; else they are RGB.

    Raises:
        MediaError: missing, empty, damaged, cut short, no picture in it, one under 32x32, or more than 240 a second.
        ResourceError: the host is short of memory, threads or open files.
        ConfigError: the crop leaves nothing, or the decoder asked for is not there.
    """
    return Video(require_file(path, "face"), config, torch.device(device), as_decoded=as_decoded)


def _notes_on_still(path: Path, still: Still) -> list[str]:
    notes = [f"{path.name} has transparent parts: shown on black"] if still.had_alpha else []
    if still.n_pictures > 1:
        notes.append(f"{path.name} is an animation ({still.n_pictures} pictures), shown still")
    return notes


def _notes_on_clip(info: VideoInfo, fps: Fraction) -> list[str]:
    name, notes = info.path.name, []
    if fps != info.fps:
        notes.append(f"{name} shows {float(info.fps):.3g} frames a second; the result has {float(fps):.4g}")
    if info.interlaced:
        notes.append(f"{name} is interlaced and shows combs; deinterlace it first (ffmpeg -vf bwdif)")
    if info.transparent:
        notes.append(
            f"{name} may have transparent parts, which show the colours they hide; lay it over a background first if so"
        )
    if info.hdr:
        notes.append(f"{name} is HDR ({info.hdr}); the result is SDR (BT.709)")
    return notes


def _crop_window(path: Path, height: int, width: int, config: FrameConfig) -> Window:
    if min(height, width) < 32:
        raise MediaError(f"face {path} is {width}x{height} px; the least is 32x32; use a larger one")
    height, width = height // config.resize_factor, width // config.resize_factor
    if min(height, width) < 32:
        raise ConfigError(
            f"resize_factor {config.resize_factor} leaves frames of {width}x{height}; the least is 32x32; use less"
        )
    if config.rotate:
        height, width = width, height
    top, bottom, left, right = config.crop
    bottom = height if bottom == -1 else min(bottom, height)
    right = width if right == -1 else min(right, width)
    top, left = max(top, 0), max(left, 0)
    if bottom - top < 32 or right - left < 32:
        raise ConfigError(
            f"crop {' '.join(map(str, config.crop))} leaves {max(right - left, 0)}x{max(bottom - top, 0)} of frames of "
            f"{width}x{height}; give top bottom left right with at least 32x32 between them"
        )
    return Window(top, bottom, left, right)

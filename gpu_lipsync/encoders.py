"""The encoders behind `open_writer`: libx264 through PyAV, NVENC through torchcodec. Each muxes the sound along."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gpu_lipsync.config import EncodeConfig
from gpu_lipsync.errors import EncodeError
from gpu_lipsync.ops.yuv import rgb_to_yuv420
from gpu_lipsync.sound_file import Sound

_AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_BT709 = 1  # the number of that matrix, transfer and primaries in ITU-T H.273, which FFmpeg uses too
_LIMITED_RANGE = 1
_AAC_FRAME = 1024  # samples
_AAC_BITS_PER_CHANNEL = 96_000


@dataclass(frozen=True, kw_only=True)
class StreamShape:
    """What the written video looks like: frame size, rate, and the sound that goes with it."""

    height: int
    width: int
    fps: Fraction
    n_frames: int
    pixel_aspect: Fraction
    sound: Sound

    @property
    def n_samples(self) -> int:
        """Samples of the sound that are heard while the frames are shown."""
        return round(self.n_frames / self.fps * self.sound.sample_rate_hz)


class Backend(Protocol):
    name: str

    def write(self, frames: Tensor) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class PyavBackend:
    """libx264 through PyAV."""

    def __init__(self, path: Path, shape: StreamShape, config: EncodeConfig) -> None:
        import av

        self.name = f"libx264 {config.preset} crf {config.crf}"
        self._container: Any = av.open(str(path), "w", format=_muxer(path), options=_muxer_options(path))
        self._video: Any = self._container.add_stream("libx264", rate=shape.fps)
        self._video.width = shape.width + shape.width % 2
        self._video.height = shape.height + shape.height % 2
        self._video.pix_fmt = "yuv420p"
        self._video.options = {"crf": str(config.crf), "preset": config.preset}
        context = self._video.codec_context
        context.sample_aspect_ratio = shape.pixel_aspect
        context.time_base = 1 / shape.fps
        # An untagged file is taken for BT.601 and every colour shifts.
        context.colorspace, context.color_range = _BT709, _LIMITED_RANGE
        context.color_primaries, context.color_trc = _BT709, _BT709
        self._sound = SoundTrack(self._container, shape)
        self._n_written = 0

    def write(self, frames: Tensor) -> None:
        for picture in _pictures(frames):
            picture.pts = self._n_written
            picture.time_base = self._video.codec_context.time_base
            self._container.mux(self._video.encode(picture))
            self._n_written += 1
            self._sound.write_until(self._n_written * self._video.codec_context.time_base)

    def finish(self) -> None:
        self._container.mux(self._video.encode(None))
        self._sound.finish()
        self._container.close()

    def abandon(self) -> None:
        try:
            self._container.close()
        except OSError:  # the disk that was full still is
            return


class SoundTrack:
    """The speech as AAC, cut to the length of the video, muxed along with it. More than two channels become stereo."""

    def __init__(self, container: Any, shape: StreamShape) -> None:
        self._sound = shape.sound
        self._samples = shape.sound.samples[:, : shape.n_samples]
        self._n_sent = 0
        rate = next((r for r in _AAC_RATES_HZ if r >= shape.sound.sample_rate_hz), _AAC_RATES_HZ[-1])
        n_channels = min(len(self._samples), 2)
        self._stream = container.add_stream("aac", rate=rate, layout="mono" if n_channels == 1 else "stereo")
        self._stream.bit_rate = _AAC_BITS_PER_CHANNEL * n_channels
        self._container = container

    def write_until(self, moment: Fraction) -> None:
        """Send the sound up to a moment in seconds, so that the two streams interleave."""
        upto = min(int(moment * self._sound.sample_rate_hz), self._samples.shape[1])
        if upto - self._n_sent >= _AAC_FRAME:
            self._send_until(upto)

    def finish(self) -> None:
        if self._n_sent < self._samples.shape[1]:
            self._send_until(self._samples.shape[1])
        self._container.mux(self._stream.encode(None))

    def _send_until(self, stop: int) -> None:
        import av

        rate = self._sound.sample_rate_hz
        part = np.ascontiguousarray(self._samples[:, self._n_sent : stop], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=self._sound.layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, self._n_sent, Fraction(1, rate)
        self._n_sent = stop
        # The stream resamples and regroups to what the encoder takes.
        self._container.mux(self._stream.encode(frame))


class TorchcodecBackend:
    """NVENC through torchcodec: device tensors in, no copy to the host. Has not run on hardware yet."""

    def __init__(self, path: Path, shape: StreamShape, config: EncodeConfig, device: torch.device) -> None:
        from torchcodec.encoders import Encoder

        self.name = f"h264_nvenc cq {config.crf}"
        self._shape = shape
        encoder = Encoder()
        colours = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709", "color_range": "tv"}
        self._video = encoder.add_video(
            height=shape.height + shape.height % 2,
            width=shape.width + shape.width % 2,
            frame_rate=float(shape.fps),
            device=str(device),
            codec="h264_nvenc",
            extra_options={"rc": "vbr", "cq": config.crf, "b": 0, **colours},
        )
        self._audio = encoder.add_audio(
            sample_rate=shape.sound.sample_rate_hz,
            num_channels=shape.sound.samples.shape[0],
            out_num_channels=min(shape.sound.samples.shape[0], 2),
        )
        self._file = encoder.open_file(path)
        self._audio.add_samples(torch.from_numpy(np.ascontiguousarray(shape.sound.samples[:, : shape.n_samples])))

    def write(self, frames: Tensor) -> None:
        self._video.add_frames(frames.contiguous())

    def finish(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        try:
            self._file.close()
        except RuntimeError:  # an unfinished file need not close cleanly
            return


def _pictures(frames: Tensor) -> Iterator[Any]:
    import av
    from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

    if frames.device.type != "cpu":
        # Half the bytes of RGB cross to the host, in one pinned copy.
        planes = rgb_to_yuv420(frames)
        host = torch.empty(planes.shape, dtype=torch.uint8, pin_memory=True)
        host.copy_(planes, non_blocking=True)
        torch.cuda.current_stream(frames.device).synchronize()
        for plane in host.numpy():
            yield _tagged(av.VideoFrame.from_ndarray(plane, format="yuv420p"))
        return
    # swscale converts twice as fast as torch on a CPU.
    reformatter = VideoReformatter()
    for pixels in frames.permute(0, 2, 3, 1).contiguous().numpy():
        yield _tagged(
            reformatter.reformat(
                av.VideoFrame.from_numpy_buffer(pixels, format="rgb24"),  # as it lies, without a copy
                format="yuv420p",
                src_colorspace=Colorspace.ITU709,
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
                threads=1,
            )
        )


def _tagged(picture: Any) -> Any:
    picture.colorspace, picture.color_range = _BT709, _LIMITED_RANGE
    return picture


def open_backend(
    path: Path, shape: StreamShape, config: EncodeConfig, device: torch.device, notes: list[str]
) -> Backend:
    import av

    wanted = config.encoder
    if wanted == "h264_nvenc" and device.type != "cuda":
        raise EncodeError(f"encoder h264_nvenc needs a CUDA device, got {device}; use --encoder auto or libx264")
    if wanted != "libx264" and device.type == "cuda":
        try:
            return TorchcodecBackend(path, shape, config, device)
        except (ImportError, OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0][:160]
            if wanted == "h264_nvenc":
                raise EncodeError(f"h264_nvenc does not open here ({reason}); use --encoder libx264") from error
            notes.append(f"encoding with libx264: h264_nvenc does not open here ({reason})")
    try:
        return PyavBackend(path, shape, config)
    except (av.FFmpegError, OSError) as error:
        raise cannot_write(path, error) from error


def cannot_write(target: Path, error: Exception) -> EncodeError:
    reason = getattr(error, "strerror", None) or str(error)
    return EncodeError(f"{target} cannot be written ({reason}); free space there or choose another --outfile")


def _muxer(path: Path) -> str:
    return {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}[path.suffix.lower()]


def _muxer_options(path: Path) -> dict[str, str]:
    # A player, or the application that waits for the file, can start before it has read all of it.
    return {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".m4v", ".mov") else {}

"""The sound of the written file, and what the file's streams look like."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_lipsync.media.colours import BT709, Colours
from gpu_lipsync.media.sound_file import Sound

if TYPE_CHECKING:
    from gpu_lipsync.video import Video

_AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_FRAME = 1024  # samples
_AAC_BITS_PER_CHANNEL = 96_000


@dataclass(frozen=True, kw_only=True)
class StreamShape:
    """What is to be written: size of the frames that come, rate, colours, and the sound that goes with them."""

    height: int
    width: int
    fps: Fraction
    n_frames: int
    pixel_aspect: Fraction
    sound: Sound
    colours: Colours = BT709  # another matrix only of frames that come as 4:2:0

    @classmethod
    def of_video(cls, video: Video, n_frames: int, sound: Sound) -> StreamShape:
        """That of so many frames like a video's, and another sound."""
        height, width = video.size
        return cls(
            height=height,
            width=width,
            fps=video.fps,
            n_frames=n_frames,
            pixel_aspect=video.pixel_aspect,
            sound=sound,
            colours=video.colours,
        )

    @property
    def written_size(self) -> tuple[int, int]:
        """Height and width in the file: 4:2:0 has no odd sides, so that one more is added to those."""
        return self.height + self.height % 2, self.width + self.width % 2

    @property
    def n_samples(self) -> int:
        """Samples of the sound that are heard while the frames are shown."""
        return round(self.n_frames / self.fps * self.sound.sample_rate_hz)


def _stereo_matrix(layout: str, n_channels: int) -> np.ndarray:
    """What each of the channels adds to left and right, (n_channels, 2), no louder together than the loudest of them.

    FFmpeg's mix, which it would scale so for whole numbers only. What it cannot mix becomes the mean, which is what the
    generator hears; and so does what has no names: FFmpeg would leave out the fourth track of six as the bass of 5.1.
    """
    import av

    mean = np.full((n_channels, 2), 1 / n_channels, np.float32)
    if n_channels > 2 and layout == f"{n_channels} channels":
        return mean
    impulses = np.eye(n_channels, dtype=np.float32).reshape(1, -1)  # at each moment one channel
    try:
        resampler = av.AudioResampler(format="flt", layout="stereo", rate=48000)
        frame = av.AudioFrame.from_ndarray(impulses, format="flt", layout=layout)
        frame.sample_rate = 48000
        parts = [part.to_ndarray() for part in (*resampler.resample(frame), *resampler.resample(None))]
        matrix = np.concatenate(parts, axis=1).reshape(n_channels, 2)
    except (av.FFmpegError, ValueError):
        return mean
    return matrix / max(1.0, np.abs(matrix).sum(axis=0).max())


class SoundTrack:
    """The speech, cut to the length of the video, muxed along with it. More than two channels become stereo.

    It is AAC, but in AVI PCM: of AAC that would play what encoders put before the sound, and be late by 1024 samples.
    """

    def __init__(self, container: Any, shape: StreamShape) -> None:
        self._sound = shape.sound
        self._samples = shape.sound.samples[:, : shape.n_samples]
        self._n_sent = 0
        self._to_stereo = None if len(self._samples) == 1 else _stereo_matrix(shape.sound.layout, len(self._samples))
        rate, n_channels = shape.sound.sample_rate_hz, min(len(self._samples), 2)
        layout = "mono" if n_channels == 1 else "stereo"
        if container.format.name == "avi":
            self._stream = container.add_stream("pcm_s16le", rate=rate, layout=layout)
        else:
            rate = next((r for r in _AAC_RATES_HZ if r >= rate), _AAC_RATES_HZ[-1])
            self._stream = container.add_stream("aac", rate=rate, layout=layout)
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
        part = self._samples[:, self._n_sent : stop].T
        part, layout = (part, "mono") if self._to_stereo is None else (part @ self._to_stereo, "stereo")
        part = np.ascontiguousarray(part, dtype=np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, self._n_sent, Fraction(1, rate)
        self._n_sent = stop
        # The stream resamples and regroups to what the encoder takes.
        self._container.mux(self._stream.encode(frame))

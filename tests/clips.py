"""Small media files made for a test: known pictures, known sound, any codec and container that PyAV writes."""

from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from gpu_lipsync.video import Video

Picture = Callable[[int, int, int], np.ndarray]


def gradient(index: int, height: int, width: int) -> np.ndarray:
    """A smooth picture whose brightness tells which frame it is: (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    level = 40 + 5 * (index % 40)
    return np.stack([level + 20 * x / width, level + 20 * y / height, np.full((height, width), level)], -1).astype(
        np.uint8
    )


def write_clip(
    path: Path,
    *,
    n_frames: int = 20,
    size: tuple[int, int] = (96, 128),
    fps: Fraction = Fraction(25),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    picture: Picture = gradient,
    pts: Sequence[int] | None = None,
    clock: Fraction = Fraction(1, 1000),
    sound: np.ndarray | None = None,
    sound_rate: int = 16000,
    sound_start_s: float = 0.0,
    options: dict[str, str] | None = None,
    rotation: int = 0,
    flips: Collection[str] = (),
) -> Path:
    """Encode a clip; `pts` (in ticks of `clock`) make the rate variable, `rotation` and `flips`, hflip or vflip, are
    written as metadata.

    `sound` is (channels, n) at `sound_rate`, and begins at `sound_start_s`.
    """
    height, width = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.options = options or ({"crf": "8"} if codec == "libx264" else {})
        if rotation or flips:
            stream.set_display_rotation(rotation, **dict.fromkeys(flips, True))
        stream.codec_context.time_base = clock if pts is not None else 1 / fps
        track = None
        if sound is not None:
            track = container.add_stream("aac", rate=sound_rate, layout="mono" if len(sound) == 1 else "stereo")
        for i in range(n_frames):
            frame = av.VideoFrame.from_ndarray(picture(i, height, width), format="rgb24").reformat(format=pix_fmt)
            frame.pts = pts[i] if pts is not None else i
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(sound.astype(np.float32), format="fltp", layout=track.layout.name)
            frame.sample_rate, frame.pts = sound_rate, 0
            for packet in [*track.encode(frame), *track.encode(None)]:
                late = round(sound_start_s / packet.time_base)
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
                container.mux(packet)
    return path


def write_sound(path: Path, samples: np.ndarray, *, rate: int = 16000, codec: str = "pcm_s16le") -> Path:
    """Encode samples (channels, n) in [-1, 1]; the container follows from the name."""
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(samples)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for start in range(0, samples.shape[1], 4096):
            interleaved = samples[:, start : start + 4096].T.reshape(1, -1).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tone(seconds: float, rate: int = 16000, *, hertz: float = 220.0, channels: int = 1) -> np.ndarray:
    """A steady tone of amplitude 0.5: (channels, n)."""
    return np.tile(0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate), (channels, 1))


def write_clip_of_two_sizes(path: Path, *, sizes: Sequence[tuple[int, int]] = ((96, 128), (144, 192))) -> Path:
    """Ten frames of each size in one H.264 stream at 25 fps, brightness going on as in `write_clip`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        (stream.height, stream.width), stream.pix_fmt = sizes[0], "yuv420p"
        for part, (height, width) in enumerate(sizes):
            coder = av.CodecContext.create("libx264", "w")
            coder.width, coder.height, coder.pix_fmt = width, height, "yuv420p"
            coder.framerate, coder.time_base, coder.options = 25, Fraction(1, 25), {"bf": "0", "crf": "8"}
            frames = []
            for i in range(10 * part, 10 * part + 10):
                frame = av.VideoFrame.from_ndarray(gradient(i, height, width), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                frames.append(frame.reformat(format="yuv420p"))
            for packet in [packet for frame in (*frames, None) for packet in coder.encode(frame)]:
                packet.stream = stream
                container.mux(packet)
    return path


def hold_last_frame(source: Path, target: Path, *, milliseconds: int) -> Path:
    """Copy the pictures of a clip without B-frames, the last one shown for so long, as screen captures have it."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(video=0) if packet.size]
        packets[-1].duration = round(Fraction(milliseconds, 1000) / packets[-1].time_base)
        for packet in packets:
            packet.stream = stream
            write.mux(packet)
    return target


def blank_frames(path: Path, frames: slice) -> Path:
    """Overwrite coded frames with zeros, in place: no decoder makes anything of them."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for position, size in places[frames]:
        content[position + 4 : position + size] = bytes(size - 4)
    path.write_bytes(content)
    return path


def all_frames(video: Video, *, at_a_time: int = 7) -> Tensor:
    """Of an opened clip, one after the other, as its layout has them."""
    return torch.cat([frames for _, frames in video.batches(range(video.n_frames), at_a_time)])

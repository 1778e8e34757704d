"""Files as recorders leave them: channels in an order of their own, streams that come up late, unknown codecs."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.encoding.streams import SoundTrack
from gpu_lipsync.errors import MediaError
from gpu_lipsync.media.colours import is_yuv
from gpu_lipsync.media.containers import decoded
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.media.video_info import probe_video
from gpu_lipsync.video import open_video
from tests.clips import gradient, tone, write_clip

FILM_ORDER_51 = (122 << 16) | 6  # kAudioChannelLayoutTag_MPEG_5_1_B: L R Ls Rs C LFE
RIGHT_BEFORE_LEFT = (2, 1)  # kAudioChannelLabel_Right, _Left


def write_caf(path: Path, samples: np.ndarray, layout: bytes) -> Path:
    """PCM (channels, n) in Apple's Core Audio Format, with the `chan` chunk given."""
    n_channels = len(samples)
    words = np.round(samples.T * 32767).astype("<i2").tobytes()
    description = struct.pack(">d4sIIIII", 16000.0, b"lpcm", 2, 2 * n_channels, 1, n_channels, 16)
    chunks = ((b"desc", description), (b"chan", layout), (b"data", bytes(4) + words))
    path.write_bytes(
        b"caff" + struct.pack(">HH", 1, 0) + b"".join(n + struct.pack(">q", len(d)) + d for n, d in chunks)
    )
    return path


@pytest.mark.parametrize("order", ["film's", "right before left"])
def test_channels_in_an_order_of_their_own_are_read(tmp_path: Path, order: str) -> None:
    """In a process of its own: PyAV 18.1 ends it, by freeing twice what two frames share."""
    by_labels = order != "film's"
    samples = np.arange(1, 3 if by_labels else 7)[:, None] / 20 * np.ones(32000)
    layout = struct.pack(">III", 0 if by_labels else FILM_ORDER_51, 0, 2 if by_labels else 0)
    if by_labels:
        layout += b"".join(struct.pack(">IIfff", label, 0, 0, 0, 0) for label in RIGHT_BEFORE_LEFT)
    path = write_caf(tmp_path / "a.caf", samples, layout)
    show = f"print(*read_sound({str(path)!r}).samples.max(1).round(3))"
    program = f"from gpu_lipsync.media.sound_file import read_sound; {show}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-500:]
    assert [float(word) for word in ran.stdout.split()] == pytest.approx(samples[:, 0].tolist(), abs=1e-3)


@pytest.mark.parametrize(("n_tracks", "spoken_on"), [(3, 2), (6, 3), (8, 3)])
def test_a_recorder_s_tracks_are_all_heard(tmp_path: Path, n_tracks: int, spoken_on: int) -> None:
    """Without names: FFmpeg would take them for 2.1, 5.1 or 7.1, and leave out what it takes for the bass."""
    samples = np.zeros((n_tracks, 16000))
    samples[spoken_on] = tone(1.0)[0]
    words = np.round(samples.T * 32767).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, n_tracks, 16000, 32000 * n_tracks, 2 * n_tracks, 16)
    chunks = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(words)) + words
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    sound = read_sound(tmp_path / "a.wav")
    shape: Any = SimpleNamespace(sound=sound, n_samples=16000)
    with av.open(str(tmp_path / "b.mkv"), "w") as container:
        SoundTrack(container, shape).finish()
    written = read_sound(tmp_path / "b.mkv").samples
    assert len(written) == 2
    assert np.abs(written).max(axis=1) == pytest.approx(np.abs(sound.samples.mean(0)).max(), rel=0.1)  # AAC


def test_a_stream_that_comes_up_on_the_way_ends_nothing(tmp_path: Path) -> None:
    """PyAV 18.1 raises IndexError at the end of a file (FLV, MPEG-TS) with more streams than it had at first."""

    class Grown:
        def __init__(self, container: Any) -> None:
            self.format, self._container = container.format, container

        def demux(self, stream: Any) -> Iterator[Any]:
            yield from self._container.demux(stream)
            raise IndexError("list index out of range")

    with av.open(str(write_clip(tmp_path / "a.ts"))) as container:
        assert len(list(decoded(Grown(container), container.streams.video[0]))) == 20


@pytest.mark.parametrize(("suffix", "tag"), [(".mp4", b"avc1"), (".avi", b"H264"), (".mkv", b"V_MPEG4/ISO/AVC")])
def test_a_codec_without_a_decoder_is_said(tmp_path: Path, suffix: str, tag: bytes) -> None:
    path = write_clip(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes().replace(tag, tag[:-3] + b"XYZ"))
    with pytest.raises(MediaError, match=r"has video of a kind that FFmpeg has no decoder for; re-encode it"):
        open_video(path, FrameConfig())


@pytest.mark.parametrize(
    ("suffix", "codec", "pixel_format"),
    [(".mov", "rawvideo", "uyvy422"), (".avi", "rawvideo", "yuyv422"), (".mkv", "ffv1", "yuv422p")],
)
def test_packed_pictures_of_capture_cards_have_colours_like_others(
    tmp_path: Path, suffix: str, codec: str, pixel_format: str
) -> None:
    """From 720 lines on what is not tagged is BT.709."""

    def red(_: int, height: int, width: int) -> np.ndarray:
        return np.full((height, width, 3), (200, 60, 40), np.uint8)

    made: dict[str, Any] = {"codec": codec, "pix_fmt": pixel_format, "picture": red, "size": (720, 64)}
    path = write_clip(tmp_path / f"a{suffix}", n_frames=1, **made)
    with open_video(path, FrameConfig()) as video:
        _, frames = next(video.batches(range(1), 1))
    # Written as BT.601, which is what PyAV does unasked: read as BT.709 it is another red.
    planes = av.VideoFrame.from_ndarray(red(0, 720, 64), format="rgb24").reformat(format="yuv444p")
    planes.colorspace = 1
    expected = torch.from_numpy(planes.reformat(format="rgb24").to_ndarray()).permute(2, 0, 1)
    assert (frames[0].float() - expected.float()).abs().max() <= 3  # swscale's ways differ


def test_what_has_chroma_is_told_by_its_components() -> None:
    formats = {
        True: ["yuv420p", "yuv444p", "nv12", "p010le", "uyvy422", "yuyv422", "y210le", "yuva420p"],
        False: ["gray", "gray10le", "rgb24", "gbrp", "pal8", "ya8", "bgra"],
    }
    for expected, names in formats.items():
        frames: list[Any] = [av.VideoFrame(64, 64, name) for name in names]
        assert [is_yuv(frame) for frame in frames] == [expected] * len(names)


@pytest.mark.parametrize(("codec", "options"), [("libx264", {"bf": "2"}), ("mpeg4", {"bf": "0"}), ("mjpeg", {})])
def test_frames_of_avi_are_counted_from_the_first(tmp_path: Path, codec: str, options: dict[str, str]) -> None:
    """It does not say when they are shown; FFmpeg has the first wait where frames might have to be reordered."""
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_clip(tmp_path / "a.avi", codec=codec, pix_fmt=pixel_format, options=options)
    info = probe_video(path)
    assert info.constant_rate and info.shown_at[0] == 0
    with open_video(path, FrameConfig()) as video:
        assert video.timeline(25).source == (*range(20), *range(5))
        assert not [note for note in video.notes if "frame " in note]  # none is held for one that is missing
        luma = torch.cat([batch for _, batch in video.batches(range(20), 7)]).float().mean((1, 2, 3))
    expected = torch.tensor([gradient(i, 96, 128).mean() for i in range(20)])
    assert (luma - expected).abs().max() < 2.5  # half of what a frame is brighter than the one before

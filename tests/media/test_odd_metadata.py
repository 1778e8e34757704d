"""What files say of themselves and nobody can show: angles and matrices that are none, and clips without a clock."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.media.video_info import _shape
from gpu_lipsync.video import open_video
from tests.clips import all_frames, tone, write_clip

ONE = b"\x00\x01\x00\x00"
IDENTITY = ONE + bytes(12) + ONE + bytes(12) + b"\x40\x00\x00\x00"  # as MP4 has it of a track


def frames_of(path: Path, *, as_decoded: bool = False) -> Tensor:
    with open_video(path, FrameConfig(), as_decoded=as_decoded) as video:
        return all_frames(video)


@pytest.mark.parametrize("as_decoded", [False, True])
def test_a_display_matrix_of_zeros_turns_nothing(tmp_path: Path, as_decoded: bool) -> None:
    """Some tools leave it empty; FFmpeg has no angle for it, and PyAV makes 2 147 483 648 degrees of that."""
    path = write_clip(tmp_path / "a.mp4", n_frames=4)
    plain, content = frames_of(path, as_decoded=as_decoded), path.read_bytes()
    header = content.index(b"tkhd")
    at = content.index(IDENTITY, header)
    for zeros in (bytes(36), bytes(32) + b"\x40\x00\x00\x00"):
        path.write_bytes(content[:at] + zeros + content[at + 36 :])
        with av.open(str(path)) as container:
            assert abs(next(container.decode(video=0)).rotation) > 360
        assert torch.equal(frames_of(path, as_decoded=as_decoded), plain)


@pytest.mark.parametrize("as_decoded", [False, True])
@pytest.mark.parametrize(("matrix", "number"), [("YCgCo", 8), ("ICtCp", 14), ("bt2020c", 10), ("GBR", 0)])
def test_matrices_that_the_scaler_lacks_are_read_as_others_are(
    tmp_path: Path, matrix: str, number: int, as_decoded: bool
) -> None:
    """As untagged clips, or the nearest one; swscale refuses them, which was taken for damage."""
    settings = {"n_frames": 4, "size": (720, 128)}
    tagged = write_clip(tmp_path / "a.mp4", options={"x264-params": f"colormatrix={matrix}"}, **settings)  # type: ignore[arg-type]
    with av.open(str(tagged)) as container:
        assert next(container.decode(video=0)).colorspace == number
    nearest = {"x264-params": "colormatrix=bt2020nc"} if number == 10 else {"x264-params": "colormatrix=undef"}
    other = write_clip(tmp_path / "b.mp4", options=nearest, **settings)  # type: ignore[arg-type]
    assert torch.equal(frames_of(tagged, as_decoded=as_decoded), frames_of(other, as_decoded=as_decoded))


@pytest.mark.parametrize("aspect", [None, Fraction(0), Fraction(-4, 3)])
def test_pixels_of_no_shape_or_of_an_impossible_one_are_square(aspect: Fraction | None) -> None:
    assert _shape(SimpleNamespace(width=64, height=48), aspect, 0) == (64, 48, 1)


def test_time_without_sound_is_silence_in_mpeg_ps_too(tmp_path: Path) -> None:
    """A second and a half of sound, a second of nothing, half a second of sound."""
    path = tmp_path / "a.mpg"
    with av.open(str(path), "w", format="mpeg") as container:
        stream = container.add_stream("mp2", rate=48000, layout="mono")
        for start in range(0, 96000, 1152):
            samples = (tone(1152 / 48000, 48000, hertz=500) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            for packet in stream.encode(frame):
                later = 0 if packet.pts * packet.time_base < 1.5 else round(1 / packet.time_base)
                packet.pts, packet.dts = packet.pts + later, packet.dts + later
                container.mux(packet)
    heard = read_sound(path)
    assert heard.duration_s == pytest.approx(3.0, abs=0.1)
    loud = np.abs(heard.samples[0, : len(heard.samples[0]) // 480 * 480].reshape(-1, 480)).max(axis=1) > 0.25
    assert loud[10:140].all() and not loud[165:245].any() and loud[262:280].all(), "hundredths of a second"

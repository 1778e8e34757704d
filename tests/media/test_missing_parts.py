"""How much of a file may be missing before it is refused, and what is shown and said instead."""

import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.errors import MediaError
from gpu_lipsync.media.containers import refuse_truncated
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.video import open_video
from tests.clips import blank_frames, tone, write_clip, write_sound

WRITTEN_WITH_THEIR_LENGTH = {"a.flac": "flac", "a.aiff": "pcm_s16be", "a.au": "pcm_s16be", "a.tta": "tta"}


def announcing(seconds: int, kind: str, *, starts_at_s: int = 0) -> Any:
    """A stream, as PyAV has it, that is said to be so long."""
    clock = Fraction(1, 1000)
    return SimpleNamespace(duration=1000 * seconds, start_time=1000 * starts_at_s, time_base=clock, type=kind, index=0)


def container_of(name: str, path: Path, *, n_bytes: int | None = None) -> Any:
    return SimpleNamespace(format=SimpleNamespace(name=name), size=n_bytes or path.stat().st_size)


def test_a_fiftieth_of_the_time_may_be_missing(tmp_path: Path) -> None:
    """Beyond the half second that short files are allowed: two of a hundred."""
    path = write_clip(tmp_path / "a.mp4", n_frames=2)
    container, stream = container_of("mov,mp4", path), announcing(100, "video")
    refuse_truncated(path, "face video", container, stream, Fraction("98.1"))
    with pytest.raises(MediaError, match="announces 100.0 s and holds 97.9 s"):
        refuse_truncated(path, "face video", container, stream, Fraction("97.9"))


@pytest.mark.parametrize(
    ("name", "codec", "seconds"),
    [
        *(("a.wav", "pcm_s16le", seconds) for seconds in (0.05, 3.0)),
        *((name, codec, 3.0) for name, codec in WRITTEN_WITH_THEIR_LENGTH.items()),
    ],
)
def test_sound_cut_in_half_is_refused(tmp_path: Path, name: str, codec: str, seconds: float) -> None:
    path = write_sound(tmp_path / name, tone(seconds), codec=codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="cut short"):
        read_sound(path)


def test_aiff_of_writers_who_do_not_know_the_end_is_whole(tmp_path: Path) -> None:
    """SoX's into a pipe: what it promises is no length."""
    path = write_sound(tmp_path / "a.aiff", tone(3.0), codec="pcm_s16be")
    content = bytearray(path.read_bytes())
    common, sound = content.index(b"COMM"), content.index(b"SSND")
    content[4:8] = (0x7F000000 + sound).to_bytes(4, "big")
    content[common + 10 : common + 14] = (0x7F000000 // 2).to_bytes(4, "big")
    content[sound + 4 : sound + 8] = (0x7F000000).to_bytes(4, "big")
    path.write_bytes(content)
    assert read_sound(path).duration_s == pytest.approx(3.0, abs=0.01)


def test_a_video_of_broadcasters_that_is_cut_in_half_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mxf", n_frames=50, codec="mpeg2video")
    with open_video(path, FrameConfig()) as video:
        assert video.n_frames == 50
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="announces 2.0 s and holds"):
        open_video(path, FrameConfig())


def test_what_is_missing_counts_from_where_a_stream_starts(tmp_path: Path) -> None:
    """A stream's length is its own; when its sound ends is told by the clock that all streams share."""
    path = write_clip(tmp_path / "a.mp4", n_frames=2)
    container, stream = container_of("mov,mp4", path), announcing(10, "audio", starts_at_s=10)
    refuse_truncated(path, "audio", container, stream, Fraction(20))
    with pytest.raises(MediaError, match="announces 20.0 s and holds 15.0 s"):
        refuse_truncated(path, "audio", container, stream, Fraction(15))


@pytest.mark.parametrize(("n_bytes", "whole"), [(0x1000000, True), (0xD0000000, False)])
def test_a_promise_of_gigabytes_is_believed_where_there_are_some(tmp_path: Path, n_bytes: int, whole: bool) -> None:
    """Writers who do not know the end promise as much too, and leave less than half of it."""
    path, announced = tmp_path / "a.wav", 0xE0000000
    path.write_bytes(b"RIFF" + struct.pack("<I", announced) + b"WAVE" + bytes(60))
    arguments = (path, "audio", container_of("wav", path, n_bytes=n_bytes), announcing(9, "audio"), Fraction(9))
    if whole:
        refuse_truncated(*arguments)
    else:
        with pytest.raises(MediaError, match=f"it holds {n_bytes} of {announced + 8} bytes"):
            refuse_truncated(*arguments)


def test_an_avi_whose_sound_starts_late_is_whole(tmp_path: Path) -> None:
    """There a stream's length does not tell how much sound it has."""
    path = tmp_path / "a.avi"
    path.write_bytes(b"RIFF" + struct.pack("<I", 56) + b"AVI " + bytes(52))
    refuse_truncated(path, "audio", container_of("avi", path), announcing(5, "audio"), Fraction(3))


def test_of_a_slide_lost_at_the_end_the_one_before_it_is_shown(tmp_path: Path) -> None:
    """Half a second may be lost there; of one slide a second that would be none."""
    path = write_clip(tmp_path / "a.mp4", n_frames=4, fps=Fraction(1), options={"bf": "0", "g": "1"})
    with open_video(blank_frames(path, slice(-1, None)), FrameConfig(decoder="pyav")) as video:
        frames = torch.cat([batch for _, batch in video.batches(range(4), 4)])
    assert torch.equal(frames[3], frames[2])


def test_what_comes_up_while_decoding_is_in_the_report(checkpoint: Path, tmp_path: Path) -> None:
    face = blank_frames(write_clip(tmp_path / "a.mp4", options={"bf": "0", "g": "10"}), slice(5, 7))
    sound = write_sound(tmp_path / "a.wav", tone(0.6))
    config = LipSyncConfig(
        checkpoint_path=checkpoint,
        face=face,
        audio=sound,
        outfile=tmp_path / "out.mp4",
        box=(16, 80, 16, 80),
        device="cpu",
    )
    told = [note for note in run(config).notes if "cannot be decoded" in note]
    assert len(told) == 1 and "a.mp4 is damaged: frame 5 cannot be decoded" in told[0]

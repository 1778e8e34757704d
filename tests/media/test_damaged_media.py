"""Files cut short or damaged are refused or bridged; whole ones that only look cut short are taken."""

import errno
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.frame_layout import RGB
from gpu_lipsync.errors import MediaError
from gpu_lipsync.media.containers import decoded
from gpu_lipsync.media.sound_file import _without_gaps, read_sound
from gpu_lipsync.media.video_info import probe_video
from gpu_lipsync.video import open_video
from tests.clips import all_frames, blank_frames, hold_last_frame, tone, write_clip, write_sound


def noise(index: int, height: int, width: int) -> np.ndarray:
    """A picture that shares nothing with its neighbours."""
    return np.random.default_rng(index).integers(0, 255, (height, width, 3), np.uint8)


DECODERS = ["auto", "pyav", "planes"]  # the last one as the pipeline has it on a CPU


def read_all(path: Path, decoder: str) -> tuple[torch.Tensor, list[str]]:
    """All frames, and what was noted on the way."""
    planes = decoder == "planes"
    with open_video(path, FrameConfig(decoder="auto" if planes else decoder), as_decoded=planes) as video:  # type: ignore[arg-type]
        frames = all_frames(video)
        for _ in video.batches(range(video.n_frames), 7):
            pass  # a second pass, as for long sounds, says nothing new
        assert (video.layout is not RGB) == planes
        return frames, video.notes


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_picture_and_sound_may_differ_in_length(tmp_path: Path, suffix: str) -> None:
    long_sound = write_clip(tmp_path / f"a{suffix}", n_frames=75, sound=tone(6.0))
    assert probe_video(long_sound).n_frames == 75
    short_sound = write_clip(tmp_path / f"b{suffix}", n_frames=75, sound=tone(1.0))
    assert read_sound(short_sound).duration_s == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_the_last_picture_may_be_held(tmp_path: Path, suffix: str) -> None:
    plain = write_clip(tmp_path / f"a{suffix}", options={"bf": "0"})
    held = hold_last_frame(plain, tmp_path / f"b{suffix}", milliseconds=5000)
    assert probe_video(held).n_frames == 20


def test_an_avi_whose_last_pictures_stay_as_they_are_is_whole(tmp_path: Path) -> None:
    """Capture programs write empty chunks for those, which its header counts and FFmpeg makes no packets of."""
    path = write_clip(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    n_frames = data.index(b"strh") + 8 + 32  # past the chunk's name and size, and what a stream's header has before it
    assert int.from_bytes(data[n_frames : n_frames + 4], "little") == 20
    data[n_frames : n_frames + 4] = (60).to_bytes(4, "little")
    path.write_bytes(data)
    assert probe_video(path).n_frames == 20


def test_an_avi_that_is_cut_short_in_its_second_part_is_refused(tmp_path: Path) -> None:
    """Each gigabyte of one is a RIFF of its own."""
    path = write_clip(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p")
    whole = path.read_bytes()
    for announced, fits in ((1000, True), (1_000_000, False)):
        path.write_bytes(
            whole + b"RIFF" + announced.to_bytes(4, "little") + b"AVIX" + b"JUNK" + bytes(announced % 4096)
        )
        if fits:
            assert probe_video(path).n_frames == 20
        else:
            with pytest.raises(MediaError, match="is cut short: it holds .* bytes; copy it again"):
                probe_video(path)


def test_matroska_cut_short_is_refused_whichever_stream_is_the_longer(tmp_path: Path) -> None:
    for name, seconds in (("a", 8.0), ("b", 3.0)):
        whole = write_clip(tmp_path / f"{name}.mkv", n_frames=125, picture=noise, sound=tone(seconds))
        cut = tmp_path / f"{name}_cut.mkv"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        with pytest.raises(MediaError, match="cut short"):
            probe_video(cut)
    with pytest.raises(MediaError, match="cut short"):
        read_sound(tmp_path / "a_cut.mkv")


@pytest.mark.parametrize("lost", [slice(-1, None), slice(28, None), slice(20, 22)])  # the second is 0.48 s
@pytest.mark.parametrize("decoder", DECODERS)
def test_lost_frames_show_the_one_before_them(tmp_path: Path, lost: slice, decoder: str) -> None:
    path = write_clip(tmp_path / "a.mp4", n_frames=40, picture=noise, options={"bf": "0", "g": "10"})
    whole, notes = read_all(path, decoder)
    assert not notes
    frames, notes = read_all(blank_frames(path, lost), decoder)
    assert ["a.mp4 is damaged" in note for note in notes] == [True]
    indices = range(40)[lost]
    assert torch.equal(frames[: indices.start], whole[: indices.start])
    assert all(torch.equal(frames[i], whole[indices.start - 1]) for i in indices)


@pytest.mark.parametrize("decoder", DECODERS)
def test_more_lost_at_the_end_than_half_a_second_is_an_error(tmp_path: Path, decoder: str) -> None:
    path = write_clip(tmp_path / "a.mp4", n_frames=40, picture=noise, options={"bf": "0", "g": "10"})
    with pytest.raises(MediaError, match="decoding ends at frame 27 of 40"):
        read_all(blank_frames(path, slice(27, None)), decoder)


def test_decord_asked_for_by_name_does_not_call_another(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", n_frames=40, picture=noise, options={"bf": "0", "g": "10"})
    with pytest.raises(MediaError, match="cannot be decoded from frame"):
        read_all(blank_frames(path, slice(-1, None)), "decord")


@pytest.mark.parametrize("announced", [0x7FFFF024, 0x7FFFF000, 0xFFFFFFFF - 100 + 36, 0xFFFFFFFF, 0])
def test_wav_of_writers_who_do_not_know_the_end_is_whole(tmp_path: Path, announced: int) -> None:
    """What espeak-ng, SoX and others put into a pipe."""
    path = write_sound(tmp_path / "a.wav", tone(1.0))
    whole = read_sound(path).samples
    content = bytearray(path.read_bytes())
    data = content.index(b"data") + 4
    content[4:8] = announced.to_bytes(4, "little")
    content[data : data + 4] = min(max(announced - 36, 0), 0xFFFFFFFF).to_bytes(4, "little")
    path.write_bytes(content)
    np.testing.assert_array_equal(read_sound(path).samples, whole)


@pytest.mark.parametrize("too_many", [8, 44, 45])
def test_wav_of_writers_who_count_its_header_too_is_whole(tmp_path: Path, too_many: int) -> None:
    """The first eight bytes, which are not to be counted, or all 44 twice; what lacks more is cut short."""
    path = write_sound(tmp_path / "a.wav", tone(1.0))
    content = bytearray(path.read_bytes())
    content[4:8] = (len(content) - 8 + too_many).to_bytes(4, "little")
    path.write_bytes(content)
    if too_many <= 44:
        assert read_sound(path).duration_s == 1
    else:
        with pytest.raises(MediaError, match="cut short"):
            read_sound(path)


def test_damaged_packets_of_sound_cost_their_own_moments(tmp_path: Path) -> None:
    """Twenty bits turned over: FFmpeg's AAC decoder has several names for that, and what follows stays in its place."""
    noisy = tone(6.0, 44100) * np.random.default_rng(0).uniform(0.2, 1, (1, 6 * 44100))
    path = write_sound(tmp_path / "a.m4a", noisy, rate=44100, codec="aac")
    whole = read_sound(path).samples[0]
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for place in rng.integers(4000, len(content) // 2, 20):
        content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    with av.open(str(path)) as container, pytest.raises(av.PermissionError):
        for packet in container.demux(audio=0):
            with suppress(av.InvalidDataError):
                packet.decode()
    damaged = read_sound(path).samples[0]
    assert abs(len(damaged) - len(whole)) < 0.05 * 44100
    late = slice(4 * 44100, 5 * 44100)
    off = np.argmax(np.correlate(damaged[4 * 44100 - 3000 : 5 * 44100 + 3000], whole[late])) - 3000
    assert abs(off) < 0.05 * 44100, "samples; two lost packets are 0.046 s"


@pytest.mark.parametrize("joined_s", [0, 72])
def test_time_without_sound_is_silence(tmp_path: Path, joined_s: int) -> None:
    """As browsers record it, which send nothing while nobody speaks. After a joint, too, where timestamps jump."""
    speech, path = tone(1.0, 48000)[0].astype(np.float32), tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        for start in range(0, 48000, 960):
            frame = av.AudioFrame.from_ndarray(speech[None, start : start + 960], format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            for packet in stream.encode(frame):
                at_s = packet.pts * packet.time_base
                later = round(((joined_s if at_s >= 0.25 else 0) + (2 if at_s >= 0.5 else 0)) / packet.time_base)
                packet.pts, packet.dts = packet.pts + later, packet.dts + later
                container.mux(packet)
    heard = read_sound(path)
    assert heard.duration_s == pytest.approx(3.0, abs=0.05)
    whole = heard.samples[0, : heard.samples.shape[1] // 480 * 480]
    loud = np.abs(whole.reshape(-1, 480)).max(axis=1) > 0.25
    assert loud[5:45].all() and not loud[60:240].any() and loud[260:290].all(), "hundredths of a second"


@pytest.mark.parametrize(("layout", "n_channels"), [("mono", 1), ("stereo", 2)])
def test_timestamps_that_begin_anew_leave_no_time_and_count_from_there_on(layout: str, n_channels: int) -> None:
    """Forth or back, as recordings that were joined have them; smaller steps back are made good by the next pause."""

    def frame(begin_s: float) -> av.AudioFrame:
        interleaved = np.ones((1, 800 * n_channels), np.float32)
        made = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        made.sample_rate, made.pts, made.time_base = 8000, round(begin_s * 8000), Fraction(1, 8000)
        return made

    def filled(*begins_s: float) -> list[float]:
        """Seconds of silence in front of each tenth of sound."""
        lengths, silence = [], 0.0
        for one in _without_gaps(frame(begin) for begin in begins_s):
            if one.to_ndarray().any():
                lengths.append(silence)
                silence = 0.0
            else:
                silence += one.samples / 8000
        return lengths

    assert filled(0, 0.1, 75, 75.1, 75.7) == [0, 0, 0, 0, 0.5]
    assert filled(20, 20.1, 0, 0.1, 0.7) == [0, 0, 0, 0, 0.5]
    assert filled(0, 0.1, 0.15, 0.7) == pytest.approx([0, 0, 0, 0.4])


def test_any_error_of_the_decoder_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mp4")

    def unsupported(*_: Any, **__: Any) -> Any:
        raise av.FFmpegError(-1163346256, "Not yet implemented in FFmpeg, patches welcome")

    with open_video(path, FrameConfig(decoder="pyav")) as video:
        monkeypatch.setattr("gpu_lipsync.decoding.pyav_decoder.decoded", unsupported)
        with pytest.raises(MediaError, match=f"{path}.*patches welcome"):
            next(video.batches(range(20), 7))


def test_packets_that_repeat_a_frame_are_no_damage() -> None:
    """Theora's are empty, which PyAV does not decode; so is the last of all, which flushes and has no buffer."""

    def packet(size: int, buffer_ptr: int, frames: list[int]) -> SimpleNamespace:
        def decode() -> list[int]:
            if not size and buffer_ptr:
                raise av.error.ValueError(errno.EINVAL, "Invalid argument")
            return frames

        return SimpleNamespace(size=size, buffer_ptr=buffer_ptr, decode=decode)

    demuxed = [packet(9, 1, [0]), packet(0, 1, []), packet(9, 1, [1]), packet(0, 0, [2])]
    container = SimpleNamespace(demux=lambda _: demuxed, format=SimpleNamespace(flags=0))
    assert list(decoded(container, SimpleNamespace(type="video"))) == [0, 1, 2]


def test_pipes_and_folders_are_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(MediaError, match=f"{path} is not a regular file"):
            open_video(path, FrameConfig())
        with pytest.raises(MediaError, match=f"{path} is not a regular file"):
            read_sound(path)

"""Files that are whole but out of the ordinary: names, sizes and channels that change, single frames, HDR."""

import gc
import os
import shutil
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import pytest
import torch
from PIL import Image

from gpu_lipsync.audio import load_audio
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.frame_layout import RGB
from gpu_lipsync.errors import ConfigError, MediaError
from gpu_lipsync.media import video_info
from gpu_lipsync.media.colours import Colours
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.media.video_info import probe_video
from gpu_lipsync.video import open_video
from tests.clips import all_frames, gradient, tone, write_clip, write_clip_of_two_sizes, write_sound


def read_all(path: Path, decoder: str = "auto") -> torch.Tensor:
    with open_video(path, FrameConfig(decoder=decoder)) as video:  # type: ignore[arg-type]
        return all_frames(video)


NAMES = ["2024-05-01T12:30", "http:a", "a%03d", "100%", "a#b?c=d&e", 'two  words \'n "more"', "-i", "ä嘴🙂"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_names_may_contain_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, decoder: str) -> None:
    write_clip(tmp_path / "face.mp4").rename(tmp_path / f"{name}.mp4")
    write_sound(tmp_path / "speech.wav", tone(0.5)).rename(tmp_path / f"{name}.wav")
    monkeypatch.chdir(tmp_path)
    assert len(read_all(Path(f"{name}.mp4"), decoder)) == 20
    assert read_sound(f"{name}.wav").duration_s == 0.5


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("name", ["face%d.png", "face%d.ppm", "face%01d.jpg"])
def test_a_name_with_a_pattern_stands_for_no_other_files(tmp_path: Path, name: str, broken: bool) -> None:
    """FFmpeg would read the pictures beside it whose names fit: of a folder of uploads, somebody else's."""
    for i in range(3):
        Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(
            tmp_path / name.replace("%01d", "%d").replace("%d", str(i))
        )
    path = tmp_path / name
    if broken:
        path.write_bytes(b"not a picture")
        with pytest.raises(MediaError):
            open_video(path, FrameConfig())
        return
    Image.fromarray(np.full((64, 64, 3), 20, np.uint8)).save(path)
    with open_video(path, FrameConfig()) as video:
        _, frames = next(video.batches(range(1), 1))
        assert video.n_frames == 1 and frames.float().mean() < 30


@pytest.mark.parametrize(
    ("suffix", "codec", "begins_s", "lengths"),
    [
        (".ts", "libx264", 0, (25, 15)),
        (".ts", "libx264", 3600, (25, 15)),
        (".ts", "libx264", 0, (15, 15, 15, 15)),
        (".mpg", "mpeg2video", 0, (25, 15)),
    ],
)
def test_recordings_joined_byte_by_byte_follow_each_other(
    tmp_path: Path, suffix: str, codec: str, begins_s: int, lengths: tuple[int, ...]
) -> None:
    """Each has a clock of its own, which begins anew or long after the first one's end; brightness counts frames."""

    def part(first: int, n: int) -> bytes:
        def picture(index: int, height: int, width: int) -> np.ndarray:
            return gradient(first + index, height, width)

        options, sound = ({"b": "8M"}, None) if codec == "mpeg2video" else (None, tone(n / 25))
        pts = [begins_s * 1000 + 40 * i for i in range(n)] if first and begins_s else None
        path = tmp_path / f"{first}{suffix}"
        write_clip(path, codec=codec, options=options, n_frames=n, picture=picture, pts=pts, sound=sound)
        return path.read_bytes()

    path = tmp_path / f"joined{suffix}"
    path.write_bytes(b"".join(part(sum(lengths[:i]), n) for i, n in enumerate(lengths)))
    info, frames = probe_video(path), read_all(path)
    counted = [round((level - 47) / 5) for level in frames.float().mean((1, 2, 3)).tolist()]
    assert counted == [i % 40 for i in range(sum(lengths))]
    steps = {later - earlier for earlier, later in pairwise(info.shown_at)}
    assert steps == {Fraction(1, 25)} and info.fps == 25
    if suffix == ".ts":
        # Of each part a packet of 0.064 s that encoders put before it, and what fills its last one.
        assert read_sound(path).duration_s == pytest.approx(sum(lengths) / 25, abs=0.13 * len(lengths))


def test_a_name_that_is_not_utf8_is_left_to_pyav(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    try:
        shutil.copy(write_clip(tmp_path / "a.mp4", sound=tone(0.5)), path)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with open_video(path, FrameConfig()) as video:
        assert video.decoder.startswith("PyAV")
        assert "decord" in video.notes[0]
    assert read_sound(path).duration_s > 0.4
    with pytest.raises(ConfigError, match="--decoder decord cannot read"):
        open_video(path, FrameConfig(decoder="decord"))


@pytest.mark.parametrize(("name", "decoder"), [("a.ts", "auto"), ("a.mkv", "pyav"), ("a.mkv", "decord")])
def test_a_change_of_size_is_brought_to_the_first(tmp_path: Path, name: str, decoder: str) -> None:
    frames = read_all(write_clip_of_two_sizes(tmp_path / name), decoder)
    expected = np.stack([gradient(i, 96, 128) for i in range(20)])
    difference = (frames.float() - torch.from_numpy(expected).permute(0, 3, 1, 2).float()).abs()
    assert difference.mean((1, 2, 3)).max() < 2.5  # lossy; neighbours differ by 5 levels


@pytest.mark.parametrize("channels", [(1, 2), (2, 1)])
def test_sound_that_changes_its_channels_goes_on(tmp_path: Path, channels: tuple[int, int]) -> None:
    parts = [
        write_sound(tmp_path / f"{n}.mp3", tone(1.0, 44100, channels=n), rate=44100, codec="mp3") for n in channels
    ]
    path = tmp_path / "joined.mp3"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    sound = read_sound(path)
    assert len(sound.samples) == channels[0]
    assert_steady_tone(path)


@pytest.mark.parametrize("rates", [(44100, 22050), (24000, 48000)])
def test_sound_that_changes_its_rate_goes_on(tmp_path: Path, rates: tuple[int, int]) -> None:
    parts = [write_sound(tmp_path / f"{r}.aac", tone(1.0, r), rate=r, codec="aac") for r in rates]
    path = tmp_path / "joined.aac"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    sound = read_sound(path)
    assert sound.sample_rate_hz == rates[0]
    with av.open(str(path)) as container:
        decoded_s = sum(Fraction(frame.samples, frame.sample_rate) for frame in container.decode(audio=0))
    assert sound.samples.shape[1] == decoded_s * rates[0], "to the last sample that a resampler holds back"
    assert_steady_tone(path)


def assert_steady_tone(path: Path) -> None:
    """Two seconds of the tone of `tests.clips`, but for what a codec adds where it begins and ends."""
    loaded = load_audio(path)
    assert loaded.shape[0] == pytest.approx(32000, abs=3200)
    for seconds in (slice(4000, 12000), slice(22000, 28000)):
        assert loaded[seconds].square().mean().sqrt().item() == pytest.approx(0.5 / 2**0.5, rel=0.05)
        spectrum = torch.fft.rfft(loaded[seconds]).abs()
        assert spectrum.argmax().item() * 16000 / len(loaded[seconds]) == pytest.approx(220, abs=3)


def test_probing_lets_go_of_the_packets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def n_packets() -> int:
        return sum(type(thing) is av.Packet for thing in gc.get_objects())

    alive = []

    def counting(*arguments: Any) -> Any:
        alive.append(n_packets())
        return first_frame(*arguments)

    first_frame = video_info._first_frame
    monkeypatch.setattr(video_info, "_first_frame", counting)
    path = write_clip(tmp_path / "a.mp4", n_frames=60)
    before = n_packets()  # of other tests
    probe_video(path)
    assert alive[0] <= before + 2  # all 60 would be the file in memory


def test_the_rate_of_a_single_frame_is_asked_for_unless_it_says(tmp_path: Path) -> None:
    for name, settings in (("a.gif", {}), ("b.gif", {"duration": 100})):  # clocks of 1/100 s
        Image.fromarray(gradient(0, 96, 128)).save(tmp_path / name, **settings)
    write_clip(tmp_path / "a.mkv", n_frames=1, pts=[0], fps=Fraction(1000))
    pictures = ("a.ppm", "a.tif")  # which FFmpeg reads, as it says at 25 frames a second
    for name in pictures:
        Image.fromarray(gradient(0, 96, 128)).save(tmp_path / name)
    write_clip(tmp_path / "slide.mp4", n_frames=1, fps=Fraction(1))  # how long it is shown, no more
    for name in ("a.gif", "b.gif", "a.mkv", "slide.mp4", *pictures):
        with open_video(tmp_path / name, FrameConfig(fps=30.0)) as video:
            assert (video.n_frames, video.fps) == (1, 30)
    with open_video(write_clip(tmp_path / "a.mp4", n_frames=1, fps=Fraction(50)), FrameConfig(fps=30.0)) as video:
        assert (video.n_frames, video.fps) == (1, 50)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".webm"])  # some of which state the rate, or nearly
def test_slides_an_hour_apart_are_shown_at_the_rate_asked_for(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    slides = write_clip(tmp_path / f"a{suffix}", n_frames=3, pts=[0, 2_500_000, 5_000_000], codec=codec)
    with open_video(slides, FrameConfig(fps=30.0)) as video:
        assert (video.fps, video.n_frames) == (30, 3) and video.source_fps == pytest.approx(1 / 2500)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_frames_that_come_in_bunches_have_the_rate_of_all(tmp_path: Path, suffix: str) -> None:
    """As a recording of a network stream is stamped, by when its packets came."""
    bunches = write_clip(tmp_path / f"a{suffix}", n_frames=40, pts=[40 * (i - i % 2) + i % 2 for i in range(40)])
    with open_video(bunches, FrameConfig()) as video:
        assert float(video.fps) == pytest.approx(25, abs=0.7) and video.n_frames == 40


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile a.mp4\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n"),
        ("live.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nnone.ts\n"),
        ("itself.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nitself.m3u8\n"),
        ("itself.mp4", "ffconcat version 1.0\nfile itself.mp4\n"),
        ("a.mpd", '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>\n'),
        ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n"),
    ],
)
def test_a_list_of_files_is_no_clip(tmp_path: Path, name: str, text: str) -> None:
    """In a folder of uploads it would fetch somebody else's, and one that names itself is never done."""
    write_clip(tmp_path / "a.mp4", sound=tone(1.0))
    (tmp_path / name).write_text(text)
    for role, opened in (("face", lambda path: open_video(path, FrameConfig())), ("audio", read_sound)):
        with pytest.raises(MediaError, match=rf"{role} file .*{name} is a list of other files"):
            opened(tmp_path / name)


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ("colorprim=smpte432:transfer=iec61966-2-1:colormatrix=bt709", (12, 13)),  # P3, as phones have it
        ("colorprim=smpte431:transfer=bt709:colormatrix=bt709", (11, 1)),  # P3 of cinemas
        ("colorprim=bt2020:transfer=bt2020-10:colormatrix=bt2020nc", (9, 14)),
        ("colorprim=smpte170m:transfer=smpte170m:colormatrix=smpte170m", (1, 1)),
        ("colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc", (1, 1)),  # HDR, which is converted
    ],
)
def test_what_was_rgb_on_the_way_says_what_its_colours_mean(tmp_path: Path, tags: str, kept: tuple[int, int]) -> None:
    path = write_clip(tmp_path / "a.mp4", pix_fmt="yuv420p10le", options={"x264-params": tags})
    with open_video(path, FrameConfig(resize_factor=2)) as video:
        assert video.layout is RGB and video.colours == Colours("bt709", 1, *kept)


@pytest.mark.parametrize(("curve", "name"), [(18, "HLG"), (16, "PQ"), (1, None)])  # more in test_hdr.py
def test_hdr_is_said(tmp_path: Path, curve: int, name: str | None) -> None:
    names = {18: "arib-std-b67", 16: "smpte2084", 1: "bt709"}
    options = {"x264-params": f"transfer={names[curve]}"}
    path = write_clip(tmp_path / "a.mkv", pix_fmt="yuv420p10le", options=options)
    with open_video(path, FrameConfig()) as video:
        said = [note for note in video.notes if "is HDR" in note]
    assert len(said) == (name is not None)
    assert name is None or f"({name})" in said[0]


def test_a_program_may_have_told_decord_to_return_tensors(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    expected = read_all(path, "decord")
    decord.bridge.set_bridge("torch")
    try:
        assert torch.equal(read_all(path, "decord"), expected)
    finally:
        decord.bridge.reset_bridge()

"""Decoding: pixels against PyAV's exact conversion, timing against what was written, edits against OpenCV and NumPy."""

import weakref
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from av.video.reformatter import Interpolation
from PIL import Image

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.pyav_decoder import PyavDecoder
from gpu_lipsync.errors import ConfigError, MediaError
from gpu_lipsync.media.video_info import probe_video
from gpu_lipsync.video import open_video
from tests.clips import all_frames, gradient, tone, write_clip, write_sound


def read_all(path: Path, **settings: object) -> torch.Tensor:
    with open_video(path, FrameConfig(**settings)) as video:  # type: ignore[arg-type]
        frames = all_frames(video)
        assert frames.shape == (video.n_frames, 3, *video.size)
    return frames


def expected_frames(n_frames: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.from_numpy(np.stack([gradient(i, *size) for i in range(n_frames)])).permute(0, 3, 1, 2)


CODECS = [
    ("a.mp4", "libx264", "yuv420p"),
    ("a.mov", "libx265", "yuv420p"),
    ("a.mkv", "libx265", "yuv420p10le"),
    ("a.avi", "mpeg4", "yuv420p"),
    ("a.avi", "libx264", "yuv420p"),  # B-frames, in a container that does not say when frames are shown
    ("a.webm", "libvpx-vp9", "yuv420p"),
    ("a.mp4", "libsvtav1", "yuv420p"),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), CODECS)
@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_every_codec_and_container(tmp_path: Path, name: str, codec: str, pix_fmt: str, decoder: str) -> None:
    options = {"b": "4M"} if codec == "mpeg4" else None
    path = write_clip(tmp_path / name, codec=codec, pix_fmt=pix_fmt, options=options)
    frames = read_all(path, decoder=decoder)
    assert len(frames) == 20
    difference = (frames.float() - expected_frames(20, (96, 128)).float()).abs()
    # Lossy codecs on a smooth picture; frames differ by 5 levels, so each one early or late would show.
    assert difference.mean((1, 2, 3)).max() < 2.5


def test_decord_and_pyav_agree(media: Path) -> None:
    path = media / "video" / "vretalk_3_woman_flag.mp4"
    decord, pyav = read_all(path, decoder="decord").float(), read_all(path, decoder="pyav").float()
    assert torch.equal(decord, pyav)  # the same swscale path, corrected alike


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv420p10le"])
@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_a_clip_that_opens_on_black_is_as_bright_as_any(tmp_path: Path, decoder: str, pix_fmt: str) -> None:
    """Against swscale's exact conversion; its fast one is a level darker, which black does not show."""

    def faded_in(index: int, height: int, width: int) -> np.ndarray:
        return gradient(index, height, width) * np.uint8(index > 0)

    path = write_clip(tmp_path / "a.mp4", n_frames=4, pix_fmt=pix_fmt, picture=faded_in)
    exact = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    with av.open(str(path)) as container:
        expected = [f.reformat(format="rgb24", interpolation=exact).to_ndarray() for f in container.decode(video=0)]
    darker = np.stack(expected).astype(float) - read_all(path, decoder=decoder).permute(0, 2, 3, 1).numpy()
    assert abs(darker[1:].mean()) < 0.5  # 1.0 to 1.5 where it is not made up for


def test_auto_takes_decord_and_says_when_it_cannot(tmp_path: Path) -> None:
    with open_video(write_clip(tmp_path / "a.mp4"), FrameConfig()) as video:
        assert video.decoder.startswith("decord")
        assert not video.notes
    with open_video(write_clip(tmp_path / "b.mp4", codec="libsvtav1"), FrameConfig()) as video:
        assert video.decoder.startswith("PyAV")
        assert "decord" in video.notes[0]


def test_auto_leaves_long_clips_to_a_decoder_of_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mp4")
    monkeypatch.setattr("gpu_lipsync.decoding.decoder_choice._DECORD_AHEAD_BYTES", 20 * 96 * 128 * 2 - 1)
    with open_video(path, FrameConfig()) as video:
        assert video.decoder.startswith("PyAV")
        assert "ahead" in video.notes[0]
    with open_video(path, FrameConfig(decoder="decord")) as video:  # by name it is taken all the same
        assert video.decoder.startswith("decord")


def test_a_decoder_asked_for_by_name_is_not_replaced(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "b.mp4", codec="libsvtav1")
    with pytest.raises(ConfigError, match="--decoder decord"):
        open_video(path, FrameConfig(decoder="decord"))


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(50)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_rate_is_exact(tmp_path: Path, fps: Fraction, suffix: str) -> None:
    info = probe_video(write_clip(tmp_path / f"a{suffix}", fps=fps))
    assert info.fps == fps  # matroska stores milliseconds; the nominal rate survives
    assert info.constant_rate


def test_nominal_rate_of_real_clips(media: Path) -> None:
    assert probe_video(media / "more" / "grid_s1_bbie8n.mpg").fps == 25  # the stream header says 50 (fields)
    ntsc = probe_video(media / "more" / "astorfi_sample_video_m_en_7s_480x360.mp4")
    assert ntsc.fps == Fraction(30000, 1001)
    assert (ntsc.n_frames, ntsc.n_hidden) == (209, 57)  # ffprobe: 266 packets, 57 of them marked discard
    late = probe_video(media / "more" / "dfrf_french_m_fr_50s_512_30fps.mp4")
    assert late.shown_at[0] == Fraction(8, 100)
    assert not late.constant_rate


def test_hidden_frames_are_left_to_a_decoder_that_can_count_them(media: Path) -> None:
    with open_video(media / "more" / "astorfi_sample_video_m_en_7s_480x360.mp4", FrameConfig()) as video:
        assert video.decoder.startswith("PyAV")
        assert "edit list" in video.notes[0]
        assert sum(len(frames) for _, frames in video.batches(range(video.n_frames), 16)) == 209


def test_streams_in_which_decord_loses_its_place_are_left_to_another(media: Path) -> None:
    # Frame by frame against PyAV, 73 of decord's 75 frames are others.
    with open_video(media / "more" / "grid_s33_lwbi5s.mpg", FrameConfig()) as video:
        assert video.decoder.startswith("PyAV")
        assert "without an index" in video.notes[0]
        assert sum(len(frames) for _, frames in video.batches(range(video.n_frames), 16)) == 75


def test_variable_rate_is_read_from_the_timestamps(tmp_path: Path) -> None:
    pts = [0, 40, 80, 200, 240, 400, 440, 480]
    info = probe_video(write_clip(tmp_path / "a.mkv", n_frames=8, pts=pts))
    assert [round(t * 1000) for t in info.shown_at] == pts
    assert not info.constant_rate
    assert info.fps == 25


def test_the_rate_of_a_clip_with_pauses_is_that_between_them(tmp_path: Path) -> None:
    """Its average, within a millisecond of that a frame, is nobody's rate, and would leave a frame out now and then."""
    pts = [20 * i + 7 * (i > 30) + 40 * (i > 45) for i in range(60)]
    path = write_clip(tmp_path / "a.mov", n_frames=60, fps=Fraction(30), pts=pts, clock=Fraction(1, 600))
    assert probe_video(path).fps == 30


def test_jitter_makes_no_rate_of_its_own(tmp_path: Path) -> None:
    """Milliseconds as they came: the mean step is a little off, the file's own 30 is not."""
    jitter = np.random.default_rng(0).normal(0, 4, 60).round().astype(int)
    pts = [0, *(round(1000 * i / 30) + int(jitter[i]) for i in range(1, 60))]
    assert probe_video(write_clip(tmp_path / "a.mkv", n_frames=60, fps=Fraction(30), pts=pts)).fps == 30


def test_batches_start_anywhere(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", n_frames=30)
    for decoder in ("decord", "pyav"):
        with open_video(path, FrameConfig(decoder=decoder)) as video:
            whole = torch.cat([frames for _, frames in video.batches(range(30), 8)])
            again = list(video.batches(range(11, 23), 5))
        assert [batch for batch, _ in again] == [range(11, 16), range(16, 21), range(21, 23)]
        assert torch.equal(torch.cat([frames for _, frames in again]), whole[11:23])


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path: Path, rotation: int, decoder: str) -> None:
    frames = read_all(write_clip(tmp_path / "a.mp4", rotation=rotation), decoder=decoder)
    # FFmpeg's convention: the matrix turns counter-clockwise.
    expected = torch.rot90(expected_frames(20, (96, 128)), rotation // 90, dims=(2, 3))
    assert frames.shape == expected.shape
    assert (frames.float() - expected.float()).abs().mean() < 2  # lossy; a wrong turn differs by 8 and more


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize(("flip", "side"), [("hflip", 3), ("vflip", 2)])
def test_mirroring_metadata_is_applied(tmp_path: Path, rotation: int, flip: str, side: int) -> None:
    """As cameras on the user's side write it. FFmpeg's convention: turned, then flipped."""
    path = write_clip(tmp_path / "a.mp4", rotation=rotation, flips=[flip])
    expected = torch.rot90(expected_frames(20, (96, 128)), rotation // 90, dims=(2, 3)).flip(side)
    for frames in (read_all(path), read_all(path, decoder="pyav")):
        assert frames.shape == expected.shape
        assert (frames.float() - expected.float()).abs().mean() < 2  # lossy; see above


def test_a_picture_that_is_not_turned_is_not_copied_into_planes(tmp_path: Path) -> None:
    """torch.rot90 does so even by nothing, and the way back takes as long as decoding."""
    path = write_clip(tmp_path / "a.mp4", n_frames=4)
    batch = next(PyavDecoder(probe_video(path)).batches(0, 4, 4))
    assert batch.is_contiguous(memory_format=torch.channels_last) and not batch.is_contiguous()


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_a_second_pass_gives_the_same_frames(media: Path, decoder: str) -> None:
    for name in ("vretalk_4_woman_30fps.mp4", "vretalk_3_woman_flag.mp4"):
        with open_video(media / "video" / name, FrameConfig(decoder=decoder)) as video:
            first = [frames.clone() for _, frames in video.batches(range(video.n_frames), 16)]
            for once, again in zip(first, video.batches(range(video.n_frames), 16), strict=True):
                assert torch.equal(once, again[1])


def test_resize_matches_opencv_area(media: Path) -> None:
    path = media / "video" / "vretalk_3_woman_flag.mp4"
    plain, small = read_all(path)[0], read_all(path, resize_factor=2)[0]
    expected = cv2.resize(plain.permute(1, 2, 0).numpy(), (295, 295), interpolation=cv2.INTER_AREA)
    difference = np.abs(small.permute(1, 2, 0).numpy().astype(int) - expected)
    # The antialiased bilinear filter is wider (a triangle) than the area filter (a box): softer at edges.
    assert difference.mean() < 1.5


def test_rotate_then_crop(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", size=(96, 128))
    plain, edited = read_all(path), read_all(path, rotate=True, crop=(10, -1, 5, 60))
    turned = np.rot90(plain[3].permute(1, 2, 0).numpy(), -1)  # clockwise, as cv2.ROTATE_90_CLOCKWISE
    assert np.array_equal(turned, cv2.rotate(plain[3].permute(1, 2, 0).numpy(), cv2.ROTATE_90_CLOCKWISE))
    assert np.array_equal(edited[3].permute(1, 2, 0).numpy(), turned[10:, 5:60])


def test_bad_faces_are_media_errors_that_name_the_file(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", n_frames=60, options={"crf": "0"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    text = tmp_path / "text.mp4"
    text.write_text("this is no video\n" * 50)
    half_png = tmp_path / "half.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "full.png")
    half_png.write_bytes((tmp_path / "full.png").read_bytes()[:3000])
    empty = tmp_path / "empty.mp4"
    empty.touch()
    only_sound = write_sound(tmp_path / "sound.wav", tone(1.0))
    for path in (cut, text, half_png, empty, only_sound, tmp_path / "missing.mp4", tmp_path):
        with pytest.raises(MediaError, match=str(path)):
            open_video(path, FrameConfig())


def test_a_video_cut_short_after_its_index_is_refused(tmp_path: Path) -> None:
    whole = write_clip(
        tmp_path / "whole.mp4",
        n_frames=120,
        options={"crf": "0", "g": "10"},
        picture=lambda i, h, w: np.random.default_rng(i).integers(0, 255, (h, w, 3), np.uint8),
    )
    fast = tmp_path / "fast.mp4"
    import av

    with av.open(str(whole)) as source, av.open(str(fast), "w", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(fast.read_bytes()[: fast.stat().st_size // 2])
    with pytest.raises(MediaError, match="cut short"):
        open_video(cut, FrameConfig())


def test_a_clip_that_is_closed_keeps_no_decoder(tmp_path: Path) -> None:
    """A run goes on to its encoder's end without the frames that a decoder holds and, on a GPU, its surfaces."""
    with open_video(write_clip(tmp_path / "a.mp4"), FrameConfig(decoder="pyav")) as video:
        decoder = weakref.ref(video._decoder)
        assert decoder() is not None
    assert decoder() is None


@pytest.mark.parametrize("crop", [(0, 10, 0, -1), (90, 200, 0, -1), (50, 20, 0, -1)])
def test_a_crop_that_leaves_nothing_is_refused(tmp_path: Path, crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(ConfigError, match="crop"):
        open_video(write_clip(tmp_path / "a.mp4"), FrameConfig(crop=crop))

"""Pictures at the limits: crops at the edges, the smallest size, pixels that are not square, alpha, pure white."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpu_lipsync.config import DecoderName, FrameConfig
from gpu_lipsync.errors import ConfigError, MediaError
from gpu_lipsync.media.stills import read_still
from gpu_lipsync.media.video_info import probe_video
from gpu_lipsync.video import open_video
from tests.clips import gradient, write_clip


@pytest.mark.parametrize(
    ("crop", "size"),
    [((-1, 9999, -1, 9999), (96, 128)), ((0, 32, 0, 32), (32, 32)), ((64, -1, 96, -1), (32, 32))],
)
def test_crops_end_at_the_edges_and_may_leave_32_pixels(
    tmp_path: Path, crop: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    path = write_clip(tmp_path / "a.mp4", n_frames=2)
    with open_video(path, FrameConfig(crop=crop)) as video:
        _, frames = next(video.batches(range(1), 1))
        assert video.size == tuple(frames.shape[2:]) == size


def test_a_clip_of_32_pixels_is_large_enough(tmp_path: Path) -> None:
    with open_video(write_clip(tmp_path / "a.mp4", n_frames=2, size=(32, 32)), FrameConfig()) as video:
        _, frames = next(video.batches(range(1), 1))
        assert video.size == tuple(frames.shape[2:]) == (32, 32)


def test_a_clip_that_would_become_smaller_than_that_needs_another_setting(tmp_path: Path) -> None:
    """And not another clip: 24 rows of 96 are left."""
    path = write_clip(tmp_path / "a.mp4", n_frames=2)
    with pytest.raises(ConfigError, match="resize_factor 4 leaves frames of 32x24"):
        open_video(path, FrameConfig(resize_factor=4))
    with open_video(path, FrameConfig(resize_factor=3)) as video:
        assert video.size == (32, 42)


def test_pixels_that_are_not_square_are_turned_with_the_picture(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", n_frames=2, rotation=90, options={"x264-params": "sar=16/15"})
    assert probe_video(path).pixel_aspect == Fraction(15, 16)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_white_stays_white(tmp_path: Path, decoder: DecoderName) -> None:
    """What the fast way to RGB loses by truncation is made up for, without going over."""
    path = write_clip(tmp_path / "a.mp4", n_frames=4, picture=lambda *_: np.full((96, 128, 3), 255, np.uint8))
    with open_video(path, FrameConfig(decoder=decoder)) as video:
        _, frames = next(video.batches(range(4), 4))
    assert frames.min() >= 252  # two levels of luma, by which a coder may be off


def test_of_a_webm_s_alpha_a_line_tells(tmp_path: Path) -> None:
    """VP9 has a second picture for it, which FFmpeg's own decoder leaves out."""
    path = write_clip(tmp_path / "a.webm", n_frames=2, codec="libvpx-vp9", pix_fmt="yuva420p")
    with open_video(path, FrameConfig()) as video:
        assert any("transparent parts" in note for note in video.notes)


def test_a_colour_of_a_palette_that_is_transparent_is_shown_on_black(tmp_path: Path) -> None:
    picture = Image.frombytes(
        "P", (80, 64), np.repeat(np.array([0, 1], np.uint8), 40).tobytes() * 64
    )  # left and right half
    picture.putpalette([200, 60, 60, 40, 90, 200])
    picture.save(tmp_path / "a.png", transparency=0)
    still = read_still(tmp_path / "a.png")
    assert still.had_alpha
    assert still.pixels[0, 0].tolist() == [0, 0, 0] and still.pixels[0, 79].tolist() == [40, 90, 200]


def test_what_phones_store_in_two_sizes_is_no_animation(tmp_path: Path) -> None:
    """MPO, in files called .jpg."""
    both = [Image.fromarray(gradient(i, 64, 80)) for i in range(2)]
    both[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=both[1:])
    assert read_still(tmp_path / "a.jpg").n_pictures == 1


def test_a_picture_that_would_take_the_host_s_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow's limit is twice as many pixels as it warns of."""
    Image.fromarray(gradient(0, 64, 80)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 80 // 3)
    with pytest.raises(MediaError, match="a.png is too large .*exceeds limit.*; make it smaller"):
        read_still(tmp_path / "a.png")

"""Pictures as faces: known by their content, upright, in sRGB."""

import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.media.stills import read_still
from gpu_lipsync.video import open_video
from tests.clips import gradient


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "bmp"])
def test_stills_are_known_by_their_content(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "in" / "v1.2"
    folder.mkdir(parents=True)
    Image.fromarray(gradient(3, 64, 80)).save(folder / f"a.{suffix}")
    (folder / f"a.{suffix}").rename(folder / "a.mp4")  # a wrong name changes nothing
    with open_video(folder / "a.mp4", FrameConfig(fps=12.5)) as video:
        assert (video.decoder, video.n_frames, video.size, video.fps) == ("Pillow", 1, (64, 80), Fraction(25, 2))


def test_still_with_exif_rotation_and_alpha(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise to show
    Image.fromarray(gradient(3, 64, 80)).save(tmp_path / "a.jpg", exif=exif)
    with open_video(tmp_path / "a.jpg", FrameConfig()) as video:
        assert video.size == (80, 64)
    rgba = np.dstack([np.full((64, 80, 3), 200, np.uint8), np.full((64, 80), 255, np.uint8)])
    rgba[:, :40, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "b.png")
    with open_video(tmp_path / "b.png", FrameConfig()) as video:
        (_, frames), *_ = video.batches(range(1), 1)
        assert "on black" in video.notes[0]
    assert frames[0, :, :, :40].max() == 0
    assert frames[0, :, :, 40:].min() == 200


def test_sixteen_bits_of_grey_are_cut_to_eight(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 80).astype(np.uint16).reshape(64, 80)
    cv2.imwrite(str(tmp_path / "a.png"), ramp)
    np.testing.assert_array_equal(read_still(tmp_path / "a.png").pixels, np.repeat((ramp // 256)[..., None], 3, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright_whatever_else_their_exif_says(tmp_path: Path, orientation: int) -> None:
    """A resolution of -72 dots, which Pillow reads and cannot write; the reference is its own way with a clean file."""
    entries = struct.pack("<HHIHH", ExifTags.Base.Orientation, 3, 1, orientation, 0)
    clean = struct.pack("<2sHIH", b"II", 42, 8, 1) + entries + bytes(4)
    entries += struct.pack("<HHII", ExifTags.Base.XResolution, 10, 1, 38)
    odd = struct.pack("<2sHIH", b"II", 42, 8, 2) + entries + bytes(4) + struct.pack("<ii", -72, 1)
    for name, exif in (("clean", clean), ("odd", odd)):
        Image.fromarray(gradient(3, 64, 80)).save(tmp_path / f"{name}.png", exif=exif)
    if orientation > 1:
        with Image.open(tmp_path / "odd.png") as picture, pytest.raises(struct.error):
            ImageOps.exif_transpose(picture)
    with Image.open(tmp_path / "clean.png") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    for name in ("clean", "odd"):
        assert np.array_equal(read_still(tmp_path / f"{name}.png").pixels, expected)


def display_p3() -> bytes:
    """An ICC profile with the primaries of Apple's screens, which its cameras use: sRGB's with others put in."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace("sRGB built-in".encode("utf-16-be"), "like P3's red".encode("utf-16-be"))
    primaries = {
        b"rXYZ": (0.5151, 0.2412, -0.0011),
        b"gXYZ": (0.2920, 0.6922, 0.0419),
        b"bXYZ": (0.1571, 0.0666, 0.7841),
    }
    for name, xyz in primaries.items():
        at = int.from_bytes(profile[profile.index(name) + 4 :][:4], "big")
        profile = profile[: at + 8] + struct.pack(">3i", *(round(x * 65536) for x in xyz)) + profile[at + 20 :]
    return profile


@pytest.mark.parametrize("alpha", [False, True])
def test_pictures_are_shown_as_their_colour_profile_means_them(tmp_path: Path, alpha: bool) -> None:
    picture = Image.fromarray(np.full((64, 80, 3), (200, 140, 120), np.uint8))  # skin
    if alpha:
        picture.putalpha(255)
    picture.save(tmp_path / "p3.png", icc_profile=display_p3())
    # CSS Color 4, color(display-p3 0.7843 0.5490 0.4706) in sRGB; one level of rounding on the way.
    assert np.abs(read_still(tmp_path / "p3.png").pixels.astype(int) - (211, 137, 116)).max() <= 1
    picture.save(tmp_path / "srgb.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    picture.save(tmp_path / "junk.png", icc_profile=b"no profile")
    for name in ("srgb.png", "junk.png"):
        assert np.array_equal(read_still(tmp_path / name).pixels, np.asarray(picture.convert("RGB"))), name

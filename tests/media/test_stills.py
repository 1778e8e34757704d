"""Pictures as faces: known by their content, upright, in sRGB."""

import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.errors import MediaError
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


@pytest.mark.parametrize(("alpha", "shown"), [(0, 0), (128, 100), (254, 199)])
def test_still_with_exif_rotation_and_alpha(tmp_path: Path, alpha: int, shown: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise to show
    Image.fromarray(gradient(3, 64, 80)).save(tmp_path / "a.jpg", exif=exif)
    with open_video(tmp_path / "a.jpg", FrameConfig()) as video:
        assert video.size == (80, 64)
    rgba = np.dstack([np.full((64, 80, 3), 200, np.uint8), np.full((64, 80), 255, np.uint8)])
    rgba[:, :40, 3] = alpha
    Image.fromarray(rgba).save(tmp_path / "b.png")
    with open_video(tmp_path / "b.png", FrameConfig()) as video:
        (_, frames), *_ = video.batches(range(1), 1)
        assert "on black" in video.notes[0]
    assert (frames[0, :, :, :40].int() - shown).abs().max() <= 1  # rounding
    assert frames[0, :, :, 40:].min() == 200


@pytest.mark.parametrize(("place", "byte", "error"), [(11, 12, ValueError), (36, 0, SyntaxError)])
def test_a_damaged_picture_is_one_whatever_pillow_calls_it(
    tmp_path: Path, place: int, byte: int, error: type[Exception]
) -> None:
    """The length of a PNG's header, and that of its pixels."""
    path = tmp_path / "a.png"
    Image.fromarray(gradient(0, 64, 80)).save(path)
    content = bytearray(path.read_bytes())
    content[place] = byte
    path.write_bytes(content)
    with pytest.raises(error), Image.open(path) as picture:
        picture.load()
    with pytest.raises(MediaError, match=r"a.png cannot be decoded \(.*save it again"):
        read_still(path)


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


def icc_profile(space: bytes, name: bytes, content: bytes) -> bytes:
    """One of version 2, of whose tags one says what numbers mean: a printer's if they are ink, else a screen's."""
    kind, meant_as = (b"prtr", b"Lab ") if space == b"CMYK" else (b"mntr", b"XYZ ")
    d50 = struct.pack(">3I", 63190, 65536, 54061)  # the white of all profiles, in 65536ths
    tags = {b"desc": b"desc" + struct.pack(">II", 0, 5) + b"ours\0" + bytes(79), b"wtpt": b"XYZ " + bytes(4) + d50}
    table, body, begins = struct.pack(">I", 3), b"", 128 + 4 + 3 * 12
    for tag, data in {**tags, name: content}.items():
        table += tag + struct.pack(">II", begins + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", begins + len(body), b"lcms", 0x02400000, kind, space, meant_as)
    return ((head + bytes(12) + b"acsp").ljust(68, b"\0") + d50).ljust(128, b"\0") + table + body


def test_a_profile_of_grey_is_followed(tmp_path: Path) -> None:
    linear = icc_profile(b"GRAY", b"kTRC", b"curv" + bytes(8))
    Image.fromarray(np.full((64, 80), 55, np.uint8)).save(tmp_path / "a.png", icc_profile=linear)
    # IEC 61966-2-1: 0.2157 of white is 128 in sRGB; one level of rounding.
    assert np.abs(read_still(tmp_path / "a.png").pixels.astype(int) - 128).max() <= 1


def test_a_profile_of_ink_is_followed(tmp_path: Path) -> None:
    """By which this one, cyan without it, is grey: of full cyan, magenta, yellow and black the sixteen corners."""
    lightness = [0 if k else 255 - 60 * c - 60 * m - 20 * y for c, m, y, k in np.ndindex(2, 2, 2, 2)]
    corners, straight = b"".join(bytes([level, 128, 128]) for level in lightness), bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + straight * 4 + corners + straight * 3
    ink = icc_profile(b"CMYK", b"A2B0", table)
    Image.new("CMYK", (80, 64), (255, 0, 0, 0)).save(tmp_path / "a.jpg", icc_profile=ink, quality=95)
    # CIE L* 76.5 is 0.507 of white, 189 in sRGB; of rounding and JPEG two levels.
    assert np.abs(read_still(tmp_path / "a.jpg").pixels.astype(int) - 189).max() <= 2

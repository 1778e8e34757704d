"""Pictures: known by their content, read upright. Pillow; no torch."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gpu_lipsync.errors import MediaError

if TYPE_CHECKING:
    from PIL.Image import Image

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # Pillow's, by ICC colour space


@dataclass(frozen=True, kw_only=True)
class Still:
    """A picture: pixels (H, W, 3) uint8 RGB, upright; whether parts of it let through what is behind; and how many
    pictures an animation has, of which this is the first.
    """

    pixels: np.ndarray
    had_alpha: bool
    n_pictures: int


def is_still(path: Path) -> bool:
    """Whether the content, not the name, is a JPEG, PNG, WebP or BMP picture."""
    with path.open("rb") as stream:
        head = stream.read(16)
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or (head.startswith(b"BM") and head[6:10] == b"\0\0\0\0")
    )


def read_still(path: Path) -> Still:
    """Read a picture upright (EXIF) and in sRGB (ICC), its transparent parts on black.

    Raises:
        MediaError: it cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(path) as stored:
            picture = _upright(stored)
            may_be_clear = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
            if picture.mode.startswith("I;16"):
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            profile = stored.info.get("icc_profile")
            n_pictures = 1 if stored.format == "MPO" else getattr(stored, "n_frames", 1)  # MPO: the same in other sizes
            had_alpha = False
            if may_be_clear:
                rgba = picture.convert("RGBA")
                had_alpha = bool(np.asarray(rgba.getchannel("A")).min() < 255)
                picture = Image.new("RGB", rgba.size)
                picture.paste(_in_srgb(rgba.convert("RGB"), profile), mask=rgba.getchannel("A"))
            else:
                picture = _in_srgb(picture, profile)
            pixels = np.array(picture.convert("RGB"))
            return Still(pixels=pixels, had_alpha=had_alpha, n_pictures=n_pictures)
    except Image.DecompressionBombError as error:
        raise MediaError(f"picture {path} is too large ({error}); make it smaller") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise MediaError(f"picture {path} cannot be decoded ({error}); it is damaged, save it again") from error


def _upright(stored: Image) -> Image:
    """As the camera was held. Only that tag is read: Pillow's exif_transpose writes all anew, and fails at odd ones."""
    from PIL import ExifTags
    from PIL.Image import Transpose

    try:
        orientation = stored.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return stored  # a picture all the same
    moves = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return stored.transpose(moves[orientation]) if orientation in moves else stored


def _in_srgb(picture: Image, profile: bytes | None) -> Image:
    """A picture as its ICC profile means it; as it is without one, with one of sRGB, and with one that is no use."""
    if not profile:
        return picture
    from PIL import ImageCms

    try:
        theirs = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = _MODES.get(theirs.profile.xcolor_space.strip())
        if mode is None or "srgb" in (theirs.profile.profile_description or "").lower():
            return picture
        known = picture if picture.mode == mode else picture.convert(mode)
        ours = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(known, theirs, ours, outputMode="RGB") or picture
    except (OSError, ImageCms.PyCMSError):
        return picture

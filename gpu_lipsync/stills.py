"""Pictures: known by their content, read upright. Pillow; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpu_lipsync.errors import MediaError


@dataclass(frozen=True, kw_only=True)
class Still:
    """A picture: pixels (H, W, 3) uint8 RGB, upright."""

    path: Path
    pixels: np.ndarray
    had_alpha: bool


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
    """Read a picture upright (EXIF), its transparent parts on black.

    Raises:
        MediaError: it cannot be decoded.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as stored:
            picture = ImageOps.exif_transpose(stored)
            had_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
            if had_alpha:
                rgba = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
            elif picture.mode.startswith("I;16"):
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            return Still(path=path, pixels=np.array(picture.convert("RGB")), had_alpha=had_alpha)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"picture {path} cannot be decoded ({error}); it is damaged, save it again") from error

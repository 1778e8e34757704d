"""How a generated mouth moved from the source's: where the source shows what is seen of it now."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


@dataclass(frozen=True)
class Motion:
    """Of mouths, as far as their faces moved with them.

    Attributes:
        shift: (B, 2, 96, 96) float32, x and y in parts of the face's sides: from a pixel of the generated face to
            where the source shows it.
        shown: (B, 1, 96, 96) float32 in [0, 1], whether the source shows it at all: not what is between lips that
            have parted.
    """

    shift: Tensor
    shown: Tensor

    def first(self, n: int) -> Motion:
        """Of the first n."""
        return Motion(self.shift[:n], self.shown[:n])


def moved(pictures: Tensor, shift: Tensor, *, whole: tuple[int, int] | None = None) -> Tensor:
    """Show at each pixel what is `shift` away from it; edges are repeated.

    Args:
        pictures: (B, C, h, w) float32.
        shift: (B, 2, h, w) float32, x and y in parts of the sides.
        whole: height and width, in pixels, of the face that those are the sides of; by default the picture's own.

    Returns:
        Like `pictures`.
    """
    height, width = pictures.shape[2:]
    face_height, face_width = whole or (height, width)
    columns, rows = (_centres(length, pictures.device) for length in (width, height))
    x, y = shift.unbind(1)
    x = torch.add(columns, x, alpha=2 * face_width / width)
    y = torch.add(rows[:, None], y, alpha=2 * face_height / height)
    at = torch.stack((x, y), dim=3)
    return grid_sample(pictures, at, mode="bilinear", padding_mode="border", align_corners=False)


def _centres(length: int, device: torch.device) -> Tensor:
    """Where the pixels' middles lie on an axis from -1 to 1, (length,)."""
    return (torch.arange(length, dtype=torch.float32, device=device) * 2 + 1) / length - 1

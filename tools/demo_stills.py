"""The still faces that are made to speak: frames of GRID clips (Cooke et al. 2006, CC BY 4.0), whatever their mouths
do, and pictures in the public domain.
"""

from pathlib import Path
from typing import NamedTuple

import skimage.data
import torch
from torch import Tensor

PORTRAIT = "astronaut"  # in scikit-image
GRID_STEP = 2  # every so many frames of a clip are a still


class Still(NamedTuple):
    """`face` counts the detector's faces, best first."""

    file: str
    face: int = 0


PUBLIC_DOMAIN_STILLS = (
    Still("obama_official_portrait.jpg"),
    Still("two_people_obama_biden.jpg"),
    Still("two_people_obama_biden.jpg", face=1),
    Still("monalisa.jpg"),
    Still(PORTRAIT),
)


def read_portrait() -> Tensor:
    """The portrait of Eileen Collins (NASA, public domain), (1, 3, 512, 512) uint8."""
    return torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None].contiguous()


def path_of(still: Still, folder: Path) -> Path:
    """Where a still's file is.

    Raises:
        FileNotFoundError: it is not in the folder.
    """
    path = folder / still.file
    if not path.is_file():
        raise FileNotFoundError(f"{path}: wanted for the still faces; see tools/demo_stills.py for the list")
    return path

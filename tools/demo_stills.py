"""The still faces that are made to speak: frames of GRID clips (Cooke et al. 2006, CC BY 4.0), whatever their mouths
do, and pictures in the public domain.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage.data
import torch
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

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
)


def _grace_hopper() -> NDArray[np.uint8]:
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as picture:
        return np.asarray(picture.convert("RGB"))


PACKAGED_STILLS: dict[str, Callable[[], NDArray[np.uint8]]] = {  # works of the US government, in the public domain
    "astronaut": skimage.data.astronaut,  # Eileen Collins, NASA
    "grace_hopper": _grace_hopper,  # US Navy; comes with matplotlib
}


def read_packaged(name: str) -> Tensor:
    """A still of PACKAGED_STILLS, (1, 3, H, W) uint8."""
    return torch.from_numpy(PACKAGED_STILLS[name]().copy()).permute(2, 0, 1)[None].contiguous()


def still_path(still: Still, folder: Path) -> Path:
    """Where a still's file is.

    Raises:
        FileNotFoundError: it is not in the folder.
    """
    path = folder / still.file
    if not path.is_file():
        raise FileNotFoundError(f"{path}: wanted for the still faces; see tools/demo_stills.py for the list")
    return path

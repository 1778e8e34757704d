"""The still faces that are made to speak: which picture, where its mouth is, and how far its lips stand apart.

Frames of GRID clips (Cooke et al. 2006, CC BY 4.0) with the lips together, and pictures in the public domain. Corners
and sags, in pixels of the 128 px crop that demo_material makes, were fitted to the dark line between the lips and
corrected by eye.
"""

from pathlib import Path
from typing import NamedTuple

import skimage.data
import torch
from torch import Tensor

Point = tuple[float, float]
PORTRAIT = "astronaut"  # in scikit-image


class Still(NamedTuple):
    """`face` counts the detector's faces, best first; `sags` are the upper and lower lip's edges below the corners."""

    file: str
    corners: tuple[Point, Point]
    sags: tuple[float, float]
    frame: int = 0
    face: int = 0


GRID_STILLS = (
    Still("grid_rizkiarm_bbaf2n.mpg", frame=2, corners=((47.5, 86.9), (86.9, 86.1)), sags=(2.2, 2.2)),
    Still("grid_rizkiarm_brbk7n.mpg", frame=11, corners=((41.2, 87.2), (82.8, 86.9)), sags=(1.2, 1.2)),
    Still("grid_rizkiarm_id2_vcd_swwp2s.mpg", frame=32, corners=((40.7, 86.4), (80.0, 88.0)), sags=(-1.1, -1.1)),
    Still("grid_rizkiarm_lbbc2a.mpg", frame=18, corners=((44.2, 84.9), (82.6, 82.8)), sags=(2.1, 2.1)),
    Still("grid_rizkiarm_lrwp9a.mpg", frame=2, corners=((46.9, 87.3), (86.1, 86.5)), sags=(-1.1, -1.1)),
    Still("grid_rizkiarm_lwbsza.mpg", frame=2, corners=((45.6, 86.2), (84.5, 85.0)), sags=(0.0, 0.0)),
    Still("grid_rizkiarm_pwij3p.mpg", frame=12, corners=((43.4, 84.7), (82.1, 88.4)), sags=(-1.1, -1.1)),
    Still("grid_rizkiarm_sbia1a.mpg", frame=13, corners=((42.2, 82.0), (83.0, 82.0)), sags=(2.3, 3.8)),
    Still("grid_s1_bbie8n.mpg", frame=2, corners=((47.4, 88.6), (86.7, 87.8)), sags=(1.1, 1.1)),
    Still("grid_s26_bgbsza.mpg", frame=2, corners=((48.0, 88.3), (82.0, 88.5)), sags=(-1.8, 1.4)),
    Still("grid_s30_bwwy5n.mpg", frame=2, corners=((45.2, 85.2), (83.7, 82.5)), sags=(3.2, 3.2)),
    Still("grid_s30_pbbm3n.mpg", frame=2, corners=((43.6, 84.5), (82.2, 84.5)), sags=(3.2, 3.2)),
    Still("grid_s31_bgiq6p.mpg", frame=9, corners=((43.7, 87.8), (82.9, 84.7)), sags=(-1.1, -1.1)),
    Still("grid_s31_bgix8n.mpg", frame=8, corners=((42.8, 87.1), (81.8, 87.1)), sags=(0.0, 0.0)),
    Still("grid_s34_lbwh5n.mpg", frame=7, corners=((45.3, 84.7), (82.7, 83.2)), sags=(2.1, 2.1)),
)
PUBLIC_DOMAIN_STILLS = (
    Still("obama_official_portrait.jpg", corners=((41.0, 79.0), (88.0, 78.5)), sags=(0.3, 5.4)),
    Still("two_people_obama_biden.jpg", corners=((42.5, 82.5), (88.0, 84.8)), sags=(-3.3, -2.8)),
    Still("two_people_obama_biden.jpg", face=1, corners=((44.5, 83.5), (83.0, 88.0)), sags=(-1.0, -1.0)),
    Still("monalisa.jpg", corners=((36.0, 86.4), (70.0, 86.2)), sags=(1.3, 1.3)),
    Still(PORTRAIT, corners=((37.5, 77.7), (84.5, 78.2)), sags=(2.0, 6.3)),
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

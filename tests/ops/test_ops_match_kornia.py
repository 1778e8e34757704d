"""The operations against kornia's, a second reference beside OpenCV, where kornia computes the same thing."""

from collections.abc import Callable

import kornia
import pytest
import torch
from skimage import data
from torch import Tensor

from gpu_lipsync import ops

SIZES = [(300, 360), (181, 240)]


def face(size: tuple[int, int], device: str) -> Tensor:
    image = torch.from_numpy(data.astronaut()[: size[0], 60 : 60 + size[1]]).permute(2, 0, 1)[None]
    return torch.cat([image, image.flip(3)]).to(device).float() / 255


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("ours", "theirs", "tolerance"),
    [
        # The same arithmetic in another order.
        (
            lambda x: ops.gaussian_blur(x, 5, sigma=1.0),
            lambda x: kornia.filters.gaussian_blur2d(x, (5, 5), (1.0, 1.0)),
            1e-5,
        ),
        (lambda x: ops.box_blur(x, 9), lambda x: kornia.filters.box_blur(x, (9, 9)), 1e-5),
        # a and b span 255: a quarter of a level. kornia rounds the white point, we look curves up in 16k steps.
        (ops.rgb_to_lab, kornia.color.rgb_to_lab, 0.3),
        (lambda x: ops.lab_to_rgb(ops.rgb_to_lab(x)), lambda x: x, 2e-3),
    ],
    ids=["gaussian_blur", "box_blur", "rgb_to_lab", "lab_round_trip"],
)
def test_matches_kornia(
    size: tuple[int, int],
    device: str,
    ours: Callable[[Tensor], Tensor],
    theirs: Callable[[Tensor], Tensor],
    tolerance: float,
) -> None:
    image = face(size, device)
    torch.testing.assert_close(ours(image), theirs(image), atol=tolerance, rtol=0)


def test_clahe_matches_kornia_where_tiles_divide(device: str) -> None:
    image = face((300, 360), device)
    difference = (ops.clahe(image, 2.0, (4, 4)) - kornia.enhance.equalize_clahe(image, 2.0, (4, 4))).abs() * 255
    # kornia is within 3 levels of OpenCV, we are within 1. (It pads other sizes in another way than OpenCV does.)
    assert difference.max() <= 4
    assert difference.mean() <= 0.6

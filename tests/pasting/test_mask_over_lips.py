"""The feather of masks over known mouths: as stated where lips are covered, else narrower; OpenCV's masks tell."""

import numpy as np
import pytest
import torch

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.blend_kernels.config import BlendMethod
from gpu_lipsync.blend_kernels.mask import CENTRE_DOWN, feather_over, fit_ellipse, semi_axes
from gpu_lipsync.pasting.mouth_fit import fitted_masks
from tests import oracles

SIZES = [(157, 103), (189, 131), (252, 186), (334, 242), (600, 480)]
SHIFTS = [(0, 0), (0, 4), (0, 12), (0, -6), (-14, 5), (20, 0)]  # in 96ths of the crop
NO_NARROWER = 8  # than this part of the shorter side: it would show as an edge


def over_lips(size: tuple[int, int], axes: tuple[int, int], feather: int, shift: tuple[int, int]) -> float:
    """The least of OpenCV's mask, moved as far as there is room, that far above, below and beside the lips."""
    height, width = size
    middle = (width // 2, int(CENTRE_DOWN * height))
    mask = oracles.feathered(oracles.ellipse(height, width, middle, axes), feather)
    mask[mask < 1 / 255] = 0
    ys, xs = np.nonzero(mask)
    down = min(shift[1], height - 2 - ys.max()) if shift[1] > 0 else max(shift[1], 1 - ys.min())
    right = min(shift[0], width - 2 - xs.max()) if shift[0] > 0 else max(shift[0], 1 - xs.min())
    y, x = middle[1] + shift[1] - down, middle[0] + shift[0] - right  # the lips, in the mask
    high, wide = min(0.08 * height, 0.55 * axes[1]), 0.55 * axes[0]
    places = [(round(y - high), middle[0]), (round(y + high), middle[0])]
    places += [(middle[1], round(x - wide)), (middle[1], round(x + wide))]
    return min(float(mask[place]) if 0 <= place[0] < height and 0 <= place[1] < width else 0.0 for place in places)


@pytest.mark.parametrize("region", [0.3, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_lips_are_covered_by_as_wide_a_feather_as_covers_them(size: tuple[int, int], region: float) -> None:
    height, width = size
    axes = semi_axes(height, width, region, round(0.16 * width))
    widest = fit_ellipse(height, width, axes, 51).kernel_size
    for right, down in SHIFTS:
        shift = round(right * width / 96), round(down * height / 96)
        feather = feather_over(height, width, axes, 51, shift)
        assert feather % 2 == 1 and feather <= widest
        wider, narrower = feather + 4, feather - 4
        # Two pixels of the outline may round the other way, which moves a mask's values by less than this.
        if feather < widest:
            assert over_lips(size, axes, wider, shift) < 0.9 + 0.02, f"{shift = }: no need to be that narrow"
        if narrower > min(size) // NO_NARROWER:
            assert over_lips(size, axes, feather, shift) > 0.9 - 0.02, f"{shift = }: the old lips show through"


def test_the_stated_feather_stays_where_it_covers_the_lips_or_none_are_known() -> None:
    config = BlendConfig(mouth_region_size=0.4)
    boxes = torch.tensor([(0, 0, 480, 600), (0, 0, 103, 157), (0, 0, 103, 157)])
    fits = torch.tensor([(3, 5, 15), (0, 0, 0), (0, 5, 15)])
    large, unknown, small = fitted_masks(boxes, fits, config, torch.device("cpu"))
    for place in (large, unknown):
        axes = semi_axes(place.height, place.width, 0.4, round(0.156 * place.width) if place is large else 0)
        ellipse = fit_ellipse(place.height, place.width, axes, 51)
        middle = (ellipse.center_x, ellipse.center_y)
        mask = oracles.feathered(oracles.ellipse(place.height, place.width, middle, axes), ellipse.kernel_size)
        rows, columns = (np.flatnonzero((mask >= 1 / 255).any(axis=axis)) for axis in (1, 0))
        assert place.stencil.size == (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    assert small.stencil.size < unknown.stencil.size, "a narrower feather ends sooner"


@pytest.mark.parametrize("method", ["ellipse", "edge_aware"])
def test_an_old_lower_lip_is_gone_from_a_small_face_whose_mouth_is_low(method: BlendMethod) -> None:
    """GRID's s1: 103 x 157 px, its mouth a tenth of that lower than masks are; a black old lip under a white mouth."""
    boxes, fits = torch.tensor([(0, 0, 103, 157)]), torch.tensor([(4, 13, 17)])
    (place,) = fitted_masks(boxes, fits, BlendConfig(method=method), torch.device("cpu"))
    lips = int(0.65 * 157 + 11 * 157 / 96)  # where they meet; the mask belongs 0.02 below
    across = place.stencil.values[:, (place.stencil.size[1] - 1) // 2]
    below = [float(across[lips + round(n * 157 / 96) - place.top]) for n in (0, 4, 7)]
    assert min(below) > 0.85, "0.89, 0.74 and 0.58 with the feather as stated"


@pytest.mark.parametrize("size", SIZES[:-1], ids=str)
def test_a_mode_that_looks_around_its_mask_leaves_room_for_that(size: tuple[int, int]) -> None:
    """What goes along with the mask stays inside the crop, so it moves less far: its feather has to know."""
    height, width = size
    config, half = BlendConfig(method="edge_aware", mouth_region_size=0.6), 15
    axes = semi_axes(height, width, 0.6, round(half * width / 96))
    n_held = 0
    for right, down in SHIFTS:
        shift = round(right * width / 96), round(down * height / 96)
        (place,) = fitted_masks(
            torch.tensor([(0, 0, width, height)]), torch.tensor([(right, down, half)]), config, torch.device("cpu")
        )
        mask = np.zeros(size, np.float32)
        mask[place.top : place.bottom, place.left : place.right] = place.stencil.values
        assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()
        if feather_over(height, width, axes, 51, shift, BLENDS["edge_aware"].margin) - 4 <= min(size) // NO_NARROWER:
            continue
        n_held += 1
        across, along = place.left + place.stencil.size[1] // 2, place.top + place.stencil.size[0] // 2
        y, x = int(CENTRE_DOWN * height) + shift[1], width // 2 + shift[0]  # the lips
        high, wide = min(0.08 * height, 0.55 * axes[1]), 0.55 * axes[0]
        least = min(mask[round(y + high), across], mask[round(y - high), across])
        least = min(least, mask[along, round(x + wide)], mask[along, round(x - wide)])
        assert least > 0.9 - 0.03, f"{shift = }: the old lips show through"  # of a mask whose middle is a pixel off
    assert n_held > 1


@pytest.mark.parametrize("region", [0.4, 0.8])
@pytest.mark.parametrize("size", SIZES[:-1], ids=str)
def test_no_mask_is_so_narrow_that_it_shows_as_an_edge(size: tuple[int, int], region: float) -> None:
    """Over a mouth in the corner, which no mask has the room to reach."""
    height, width = size
    axes = semi_axes(height, width, region, round(0.16 * width))
    feather = feather_over(height, width, axes, 51, (round(24 * width / 96), round(20 * height / 96)))
    assert min(size) // NO_NARROWER < feather <= min(size) // NO_NARROWER + 4, "and as narrow as that"


def test_masks_grow_narrower_without_a_jump() -> None:
    """A head that looks up, its mouth a 96th lower from frame to frame: at most three steps of feather at once."""
    axes = semi_axes(189, 131, 0.6, 20)
    feathers = [feather_over(189, 131, axes, 51, (0, round(down * 189 / 96))) for down in range(15)]
    steps = np.abs(np.diff(feathers))
    assert steps.max() <= 12 and feathers == sorted(feathers, reverse=True)
    assert feathers[0] > feathers[-1] > 131 // NO_NARROWER

"""The mask: OpenCV's where that is fit for use, and fit for use everywhere else."""

import numpy as np
import pytest
import torch

from gpu_lipsync.blend_kernels import BlendConfig, elliptical_mask
from gpu_lipsync.blend_kernels.mask import CENTRE_DOWN, place_mask
from gpu_lipsync.blend_kernels.raster import filled_ellipse
from gpu_lipsync.ops.matrices import gaussian_taps
from tests import oracles

SIZES = [(48, 48), (48, 64), (60, 50), (80, 64), (100, 80), (129, 97), (160, 200), (200, 160), (181, 240)]
LARGE = [(360, 300), (620, 512), (1080, 1080), (1080, 48), (48, 1080)]


def mask_of(height: int, width: int, region: float, feather: int) -> np.ndarray:
    config = BlendConfig(mouth_region_size=region, blur_intensity=feather)
    return elliptical_mask(height, width, config)[0, 0].numpy()


def border(mask: np.ndarray) -> float:
    return float(max(mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()))


@pytest.mark.parametrize("size", SIZES + LARGE, ids=str)
@pytest.mark.parametrize("region", [0.1, 0.25, 0.4, 0.6, 0.8, 0.95, 1.0])
def test_opaque_inside_and_gone_at_the_border(size: tuple[int, int], region: float) -> None:
    for feather in (1, 3, 15, 51, 101, 201):
        mask = mask_of(*size, region, feather)
        assert mask.max() >= 0.99, f"{feather = }: the old lips show through"
        assert border(mask) <= 1 / 255, f"{feather = }: the crop's border shows"
        assert mask.min() == 0 and mask.max() <= 1


def fits(stated: np.ndarray) -> bool:
    return bool(stated.max() >= 0.99 and border(stated) <= 1 / 255)


@pytest.mark.parametrize("size", [*SIZES, *LARGE[:3]], ids=str)
@pytest.mark.parametrize("region", [0.1, 0.3, 0.4, 0.6, 0.8, 0.95])
def test_opencv_s_mask_wherever_it_is_fit(size: tuple[int, int], region: float) -> None:
    n_compared = 0
    for feather in (1, 3, 15, 31, 51, 101, 201):
        expected = oracles.elliptical_mask(*size, region, feather)
        if not fits(expected):
            continue
        n_compared += 1
        difference = np.abs(mask_of(*size, region, feather) - expected)
        # Two pixels of the outline may round the other way (below), each of which the feather's window spreads over
        # as many pixels as it has. Below 1/255 ours is 0.
        spread = gaussian_taps(feather, feather // 3).max() ** 2
        assert difference.max() <= 2 * spread + 1 / 255, f"{feather = }"
        assert (difference > 1 / 255).sum() <= 2 * feather**2, f"{feather = }"
    assert n_compared


@pytest.mark.parametrize("size", [*SIZES, *LARGE[:3]], ids=str)
def test_an_ellipse_as_wide_as_the_crop_is_the_largest_of_opencv_s_that_leaves_the_border_free(
    size: tuple[int, int],
) -> None:
    """Without a feather: the stated one touches the border."""
    height, width = size
    middle = (width // 2, int(CENTRE_DOWN * height))
    room = width - 2 - middle[0], min(int(0.35 * height), height - 2 - middle[1])
    expected = oracles.ellipse(height, width, middle, room).astype(np.float32)
    assert not fits(oracles.elliptical_mask(*size, 1.0, 1)) and fits(expected)
    assert (mask_of(*size, 1.0, 1) != expected).sum() <= 2  # of the outline


def test_the_default_and_the_moustache_s_region_are_among_those_that_fit() -> None:
    for size, region in (((360, 300), 0.6), ((360, 300), 0.4), ((620, 512), 0.6), ((1080, 1080), 1.0)):
        assert fits(oracles.elliptical_mask(*size, region, 51 if region < 1 else 1)) == (region < 1)


@pytest.mark.parametrize("margin", [0, 4])
@pytest.mark.parametrize("size", [(48, 48), (200, 160), (620, 512)], ids=str)
def test_work_is_done_inside_the_mask_s_bounding_box_only(size: tuple[int, int], margin: int) -> None:
    config = BlendConfig(mouth_region_size=0.4)
    place = place_mask(*size, config, margin, torch.device("cpu"))
    rows, cols = np.nonzero(mask_of(*size, 0.4, 51))
    height, width = size
    assert (place.top, place.bottom) == (max(0, rows.min() - margin), min(height, rows.max() + 1 + margin))
    assert (place.left, place.right) == (max(0, cols.min() - margin), min(width, cols.max() + 1 + margin))


@pytest.mark.parametrize("size", [(100, 80), (200, 160), (360, 300), (620, 512)], ids=str)
def test_over_a_grin_it_is_wider_and_no_taller(size: tuple[int, int]) -> None:
    height, width = size
    half = round(0.23 * width)  # as wide as a grin's
    config = BlendConfig(mouth_region_size=0.4)
    mask = elliptical_mask(*size, config, half_mouth=half)[0, 0].numpy()
    assert mask.max() >= 0.99 and border(mask) <= 1 / 255
    row = mask[int(0.65 * height)]
    assert row[width // 2 + half] > 0.5 > mask_of(*size, 0.4, 51)[int(0.65 * height), width // 2 + half]
    if width >= 300:  # where the feather is as stated
        axes = (min(round(1.35 * half), int(1.5 * int(width * 0.2))), int(height * 0.35 * 0.4))
        expected = oracles.feathered(oracles.ellipse(*size, (width // 2, int(0.65 * height)), axes), 51)
        assert np.abs(mask - expected).max() <= 2 * gaussian_taps(51, 17).max() ** 2 + 1 / 255  # as above


def test_where_the_mouth_fits_it_is_as_stated() -> None:
    for region, share in ((0.4, 0.145), (0.6, 0.22), (1.0, 0.25), (0.4, 0.0)):
        config = BlendConfig(mouth_region_size=region)
        assert elliptical_mask(360, 300, config, half_mouth=round(300 * share)) is elliptical_mask(360, 300, config)
    tiny = BlendConfig(mouth_region_size=0.1)
    columns = (
        elliptical_mask(360, 300, tiny, half_mouth=75)[0, 0].any(0).sum()
        - elliptical_mask(360, 300, tiny)[0, 0].any(0).sum()
    )
    assert 0 < columns <= 2 * 8, "half as wide again at most"


@pytest.mark.parametrize("size", SIZES + LARGE, ids=str)
def test_the_ellipse_is_drawn_as_opencv_draws_it(size: tuple[int, int]) -> None:
    height, width = size
    for region in (0.1, 0.3, 0.5, 0.6, 0.8, 1.0):
        center, axes = (width // 2, int(0.65 * height)), (int(width * region / 2), int(height * 0.35 * region))
        drawn = filled_ellipse(height, width, center, axes)
        # OpenCV's vertices come from a table of its own; a pixel or two of the outline may round the other way.
        assert (drawn != oracles.ellipse(height, width, center, axes)).sum() <= 2


def test_the_predecessor_s_mask_is_not_fit_for_small_crops() -> None:
    assert oracles.elliptical_mask(100, 80, 0.6, 51).max() < 0.95
    assert border(oracles.elliptical_mask(100, 80, 0.6, 51)) > 1 / 255


def test_it_grows_and_shrinks_smoothly_with_the_crop() -> None:
    covered = np.array([(mask_of(h, int(h * 0.8), 0.6, 51) > 0.5).mean() for h in range(140, 400, 4)])
    assert np.abs(np.diff(covered)).max() < 0.01  # whole-pixel axes alone; no jump as the feather gives way


def test_one_mask_is_shared_and_on_the_right_device(device: str) -> None:
    mask = elliptical_mask(200, 160, BlendConfig(), device)
    assert mask.shape == (1, 1, 200, 160) and mask.dtype == torch.float32 and mask.device.type == device
    assert mask is elliptical_mask(200, 160, BlendConfig(sharpen_mouth=True), device)


@pytest.mark.parametrize("size", [(15, 100), (100, 0)])
def test_too_small(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[1]} x {size[0]}"):
        elliptical_mask(*size, BlendConfig())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("method", "poisson"),
        ("mouth_region_size", 0.05),
        ("mouth_region_size", 1.01),
        ("mouth_region_size", float("nan")),
        ("blur_intensity", 50),
        ("blur_intensity", 203),
        ("blur_intensity", -1),
        ("blur_intensity", 5.5),
        ("sharpen_amount", -0.1),
        ("sharpen_amount", 5.1),
        ("sharpen_amount", float("inf")),
        ("sharpen_amount", True),
        ("mouth_region_size", True),
        ("blur_intensity", True),
        ("sharpen_mouth", "no"),  # which is true
    ],
)
def test_settings_out_of_range(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{setting} must be .* got .*{value}"):
        BlendConfig(**{setting: value})  # type: ignore[arg-type]

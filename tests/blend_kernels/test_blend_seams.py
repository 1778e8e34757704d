"""What `multiscale` and `guided` promise: a softer seam than the ellipse's, no less detail, no step and no ring."""

import itertools
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from gpu_lipsync.blend_kernels import BlendConfig, blend_mouths, elliptical_mask
from tests import pictures
from tests.blending import FLAGS, SMALL, blend, laplacian

SOFTER = ("multiscale", "guided")


def gradient_energy(image: np.ndarray) -> np.ndarray:
    return sum((cv2.Sobel(image, cv2.CV_32F, *d, scale=1 / 8) ** 2).sum(-1) for d in ((1, 0), (0, 1)))


@lru_cache
def soft_face(size: tuple[int, int], softness: float, real: bool) -> np.ndarray:
    """Blurred by a sigma of its height / softness: of 60, what is left is detail that 96 x 96 pixels can hold."""
    raw = pictures.portrait(*size) if real else pictures.face_like(*size)
    return cv2.GaussianBlur(raw, (0, 0), size[0] / softness)


def excess(
    size: tuple[int, int], softness: float, tint: float, settings: dict[str, object], real: bool
) -> dict[str, tuple[float, float]]:
    """How much of a seam each mode leaves on a face that differs from its patch in colour alone: the gradients that it
    adds, and those that the result has more than the source.
    """
    face = soft_face(size, softness, real)
    mouth = (cv2.resize(face, (96, 96)) * (1 + tint)).clip(0, 255).round().astype(np.uint8)
    mask = elliptical_mask(*size, BlendConfig(**settings))[0, 0].numpy()  # type: ignore[arg-type]
    edge, before = (mask > 0.02) & (mask < 0.98), gradient_energy(face.astype(np.float32))
    found = {}
    for method in ("ellipse", *SOFTER):
        picture = pictures.levels(blend(face, mouth, method=method, **settings))
        added, more = gradient_energy(picture - face), gradient_energy(picture) - before
        found[method] = float(added[edge].mean()), float(more[edge].mean())
    return found


TINTS = [-0.1, -0.05, 0.05, 0.1]
LOOKS: list[dict[str, object]] = [  # the defaults, a moustache, a hard edge, a large mouth, the ends of both ranges
    {},
    {"mouth_region_size": 0.4},
    {"mouth_region_size": 0.4, "blur_intensity": 15},
    {"mouth_region_size": 0.8, "blur_intensity": 31},
    {"mouth_region_size": 1.0, "blur_intensity": 201},
]
TINY = {"mouth_region_size": 0.2}  # a mask that has room for hardly an octave on crops up to 260 px
MIDDLING = [*SMALL, (100, 80), (200, 160), (360, 300)]
FEWER_TINTS_FROM_PX = 300  # of height: from here on each takes a good part of a second
LARGE, LARGEST = (620, 512), (1080, 1080)  # seconds each: at the defaults and for a moustache alone


def looked_at(looks: list[dict[str, object]], *large: tuple[int, int]) -> list[tuple[Any, ...]]:
    """Sizes of crops with settings: middling ones with each of `looks`, `large` ones with two."""
    return [*itertools.product(MIDDLING, looks), *itertools.product(large, LOOKS[:2])]


@pytest.mark.parametrize("real", [False, True], ids=["drawn", "photograph"])
@pytest.mark.parametrize(("size", "settings"), looked_at([*LOOKS, TINY], LARGE, LARGEST), ids=str)
def test_the_seam_is_softer_than_the_ellipse_s(size: tuple[int, int], settings: dict[str, object], real: bool) -> None:
    """On a patch that differs from the face in colour alone, every gradient that a blend adds is seam.

    At most 0.93 of the ellipse's was measured, at 25 sizes from 48 to 360 px and 11 settings.
    """
    for tint in TINTS if size[0] < FEWER_TINTS_FROM_PX else TINTS[::3]:
        added = {mode: found[0] for mode, found in excess(size, 60, tint, settings, real).items()}
        for method in SOFTER:
            assert added[method] < 0.95 * added["ellipse"], method


@pytest.mark.parametrize(("size", "settings"), looked_at(LOOKS, LARGE, LARGEST), ids=str)
def test_the_mask_begins_without_a_step(size: tuple[int, int], settings: dict[str, object]) -> None:
    """A white mouth on a black face shows the weight of each pixel: from one to the next it changes hardly more than
    under the ellipse, also where it begins, which the sums above leave out.

    A quarter more where the mask begins (RISE), and what rounding and the pyramid's ringing add.
    """
    faces, mouths = torch.zeros(1, 3, *size), torch.ones(1, 3, 96, 96)

    def steepest(name: str) -> float:
        weight = blend_mouths(faces, mouths, BlendConfig(method=name, **settings))[0, 0]  # type: ignore[arg-type]
        return float(max(weight.diff(dim=axis).abs().max() for axis in (0, 1)))

    most = 1.3 * steepest("ellipse")
    for method in SOFTER:
        assert steepest(method) <= most, method


@pytest.mark.parametrize(("size", "settings"), looked_at(LOOKS[:2], LARGE), ids=str)
def test_a_photograph_gains_less_gradient_than_by_the_ellipse(
    size: tuple[int, int], settings: dict[str, object]
) -> None:
    """The result's gradients in excess of the source's, where the patch is lighter: a darker one has weaker gradients
    than the source to begin with. At 48 px `guided` is even with the ellipse by 5 %. Smaller masks are not asked:
    of one colour alone the face's own gradients under the mask decide, by up to nine tenths more than the ellipse's.
    """
    for tint in TINTS[2:]:
        more = {mode: found[1] for mode, found in excess(size, 60, tint, settings, real=True).items()}
        for method in SOFTER:
            even = method == "guided" and size == (48, 48)
            assert 0 < more[method] < (1.02 if even else 1.0) * more["ellipse"], method


@pytest.mark.parametrize(
    ("size", "settings"), [*looked_at([*LOOKS, TINY], LARGE), *(((160, 200), settings) for settings in LOOKS)], ids=str
)
def test_a_smooth_cheek_shows_less_of_a_seam(size: tuple[int, int], settings: dict[str, object]) -> None:
    """The result's gradients in excess of the source's, on a face without detail that 96 x 96 pixels would lose.

    They are those that the blend adds, and twice the product of these with the face's own: less than nothing for a
    darker patch where it is more for a lighter one, so that both together say how much of a seam there is. By either
    sign alone `multiscale` is below the ellipse too; `guided` is up to a quarter above it on some small or wide crops.
    """
    for tint in TINTS[2:] if size[0] < FEWER_TINTS_FROM_PX else TINTS[-1:]:
        both = [excess(size, 6, sign * tint, settings, real=False) for sign in (-1, 1)]
        more = {mode: np.array([found[mode][1] for found in both]) for mode in both[0]}
        for method in SOFTER:
            assert 0 < more[method].mean() < more["ellipse"].mean(), method
            assert method == "guided" or (more[method] < more["ellipse"]).all()


@pytest.mark.parametrize(
    ("size", "settings", "real"),
    [(*look, False) for look in (*looked_at(LOOKS, LARGE, LARGEST), ((333, 257), {}))]
    # No larger than the photograph's own pixels.
    + [(size, settings, True) for size in (*SMALL, (100, 80)) for settings in LOOKS],
    ids=str,
)
def test_no_detail_is_lost_inside_the_mask(size: tuple[int, int], settings: dict[str, object], real: bool) -> None:
    """The predecessor's two modes of these names low-passed the whole crop."""
    face = pictures.portrait(*size) if real else pictures.face_like(*size)
    inside = elliptical_mask(*size, BlendConfig(**settings))[0, 0].numpy() > 0  # type: ignore[arg-type]
    for tint in TINTS if size[0] < FEWER_TINTS_FROM_PX else TINTS[::3]:
        mouth = (cv2.resize(face, (96, 96)) * (1 + tint)).clip(0, 255).round().astype(np.uint8)

        def detail(name: str, mouth: np.ndarray = mouth) -> float:
            return float((laplacian(pictures.levels(blend(face, mouth, method=name, **settings)))[inside] ** 2).mean())

        least = detail("ellipse")
        for method in SOFTER:
            assert detail(method) >= least, method


@pytest.mark.parametrize("size", [*SMALL, (360, 300)], ids=str)
def test_bands_do_not_overshoot(size: tuple[int, int]) -> None:
    """A chequered mouth on a grey face: no pixel ends up further from grey than the patch is.

    But for the pyramid's own ringing beside a hard edge: up to 1.04 of it, as long as no band counts more than whole.
    """
    faces = torch.full((1, 3, *size), 0.5)
    for cell in (4, 8, 16, 32):
        sign = (torch.arange(96) // cell % 2 * 2 - 1).float()
        mouths = (0.5 + 0.1 * sign[:, None] * sign).expand(1, 3, -1, -1)
        most = (blend_mouths(faces, mouths, BlendConfig(method="original")) - 0.5).abs().max()
        for region, feather in FLAGS:
            config = BlendConfig(method="multiscale", mouth_region_size=region, blur_intensity=feather)
            assert (blend_mouths(faces, mouths, config) - 0.5).abs().max() <= 1.06 * most, f"{cell = }, {config = }"


def test_grain_fades_where_a_filter_takes_it_away(device: str) -> None:
    """The bilateral filter's part of the mask began at 0.05, and a film's grain ended there: a disc round the mouth."""
    rng = np.random.default_rng(0)
    face = (128 + rng.normal(0, 8, (400, 320, 1)).repeat(3, axis=2)).clip(0, 255).astype(np.uint8)
    mouth = np.full((96, 96, 3), 128, np.uint8)
    result = blend(face, mouth, device, method="edge_aware")
    grain = pictures.levels(result)[..., 0] - 128
    mask = elliptical_mask(400, 320, BlendConfig())[0, 0].numpy()
    steps = [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4]
    left = [grain[(mask > low) & (mask <= high)].std() for low, high in itertools.pairwise(steps)]
    # The ellipse itself takes a tenth from one step to the next; the filter took all but a sixth at once.
    assert all(after >= 0.5 * before for before, after in itertools.pairwise(left))

"""The modes against OpenCV, against each other, and against what they promise."""

import itertools
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync import ops
from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, BlendMethod, blend_mouths, elliptical_mask
from tests import oracles, pictures
from tests.blending import FLAGS, SMALL, blend, face_and_mouth, laplacian

# How much of the source may be left at the mask's centre, whose peak is at least 0.99: two modes spread the mask, and
# hd keeps 0.15 of the source by definition (and black is not quite black after CLAHE).
OLD_LIPS = {"ellipse": 0.012, "edge_aware": 0.012, "multiscale": 0.1, "guided": 0.1, "hd": 0.18}
MASKED = [name for name in BLENDS if name != "original"]
FIT = [(200, 160), (360, 300), (333, 257), (620, 512)]  # crops that the stated feather fits


@pytest.mark.parametrize("size", FIT, ids=str)
@pytest.mark.parametrize("sharpen", [None, 0.5, 1.0])
@pytest.mark.parametrize("method", ["original", "ellipse", "edge_aware"])
def test_matches_opencv(method: str, size: tuple[int, int], sharpen: float | None, device: str) -> None:
    face, mouth = face_and_mouth(*size, shift=6)
    settings = {} if sharpen is None else {"sharpen_mouth": True, "sharpen_amount": sharpen}
    result = blend(face, mouth, device, method=method, **settings)
    patch, mask = oracles.mouth_patch(mouth, *size, sharpen), oracles.elliptical_mask(*size, 0.6, 51)
    expected = {
        "original": lambda: patch,
        "ellipse": lambda: oracles.under_mask(face, patch, mask),
        "edge_aware": lambda: oracles.edge_aware(face, patch, mask),
    }[method]()
    difference = np.abs(pictures.levels(result).round() - expected)
    touched = mask > 0 if method != "original" else mask >= 0
    # The reference rounds its patch to 8 bits before it blends.
    assert difference.max() <= 1 and difference[touched].mean() <= 0.3


@pytest.mark.parametrize("size", [(48, 48), (100, 80), (200, 160), (360, 300), (620, 512), (1080, 1080)], ids=str)
@pytest.mark.parametrize("method", ["ellipse", "edge_aware"])
def test_matches_opencv_whatever_the_flags(method: str, size: tuple[int, int]) -> None:
    """Under our mask, which is OpenCV's where the feather needs no shrinking."""
    face, mouth = face_and_mouth(*size, shift=6)
    for region, feather in FLAGS if size[0] < 1000 else FLAGS[1:6:4]:
        config = BlendConfig(mouth_region_size=region, blur_intensity=feather)
        mask = elliptical_mask(*size, config)[0, 0].numpy()
        for sharpen in (None, 5.0):
            settings = {} if sharpen is None else {"sharpen_mouth": True, "sharpen_amount": sharpen}
            result = blend(face, mouth, method=method, mouth_region_size=region, blur_intensity=feather, **settings)
            patch = oracles.mouth_patch(mouth, *size, sharpen)
            blended = {"ellipse": oracles.under_mask, "edge_aware": oracles.edge_aware}[method](face, patch, mask)
            difference = np.abs(pictures.levels(result).round() - blended)
            # The reference rounds its patch and what it blends, the filter's picture and what that is mixed to.
            most = 1 if method == "ellipse" else 2
            assert difference.max() <= most and difference[mask > 0].mean() <= 0.3, f"{region = }, {feather = }"


@pytest.mark.parametrize("size", FIT, ids=str)
@pytest.mark.parametrize("settings", [{}, {"sharpen_mouth": True, "sharpen_amount": 1.0}], ids=str)
def test_hd_matches_opencv(size: tuple[int, int], settings: dict[str, object], device: str) -> None:
    face, mouth = face_and_mouth(*size, shift=6)
    result = blend(face, mouth, device, method="hd", **settings)
    mask = oracles.elliptical_mask(*size, 0.6, 51)
    amount = 1.0 if settings else 0.7
    difference = pictures.levels(result).round() - oracles.hd(face, mouth, mask, amount).astype(np.float32)
    # OpenCV rounds to 8 bits after each of nine steps, two of which sharpen, and Lab's a and b are coarse in 8 bits.
    inside = difference[mask > 0]
    assert np.abs(inside).mean() <= 2
    assert 20 * np.log10(255 / np.sqrt((inside**2).mean())) >= 33


AMOUNTS = [0.0, 0.5, 0.7, 1.0, 2.0, 3.0, 5.0]
HD_SIZES = [(48, 48), (56, 64), (64, 56), (60, 72), (68, 68), (79, 79), (100, 80), (200, 160), (360, 300)]


@pytest.mark.parametrize("real", [False, True], ids=["drawn", "photograph"])
@pytest.mark.parametrize(
    ("size", "amount"),
    [*itertools.product(HD_SIZES, AMOUNTS), ((1080, 1080), 0.7), ((1080, 1080), 5.0)],
    ids=str,
)
def test_hd_matches_opencv_whatever_the_amount(size: tuple[int, int], amount: float, real: bool) -> None:
    """The seven steps as they are defined, and with the predecessor's rounding to 8 bits after each."""
    make = pictures.portrait if real else pictures.face_like
    face, mouth = make(*size), make(96, 96)
    mask = elliptical_mask(*size, BlendConfig())[0, 0].numpy()
    result = blend(face, mouth, method="hd", sharpen_mouth=True, sharpen_amount=amount)
    shown = pictures.levels(result).round()
    for rounded in (False, True):
        difference = (shown - oracles.hd(face, mouth, mask, amount, rounded=rounded))[mask > 0]
        # A CLAHE tile of 12 x 12 pixels is clipped at one pixel a level. What is left over is spread in whole steps:
        # its curve jumps by tens of levels when one level comes or goes, as 8 bits before a sharpening bring about,
        # and the last bits of a float32 before one by 3.
        levels, decibels = (2, 33) if size[0] >= 80 or amount < (1 if rounded else 3) else (4, 30)
        assert np.abs(difference).mean() <= levels, f"{rounded = }"
        assert 20 * np.log10(255 / np.sqrt((difference**2).mean())) >= decibels, f"{rounded = }"


@pytest.mark.parametrize(
    "size",
    [(48, 48), (60, 50), (48, 300), (300, 48), (100, 80), (181, 240), (360, 300), (620, 512), (1080, 1080)],
    ids=str,
)
@pytest.mark.parametrize("method", BLENDS)
def test_nothing_outside_the_mask_changes(method: str, size: tuple[int, int], device: str) -> None:
    face, _ = face_and_mouth(*size)
    noise = np.random.default_rng(1).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    for region, feather, sharpen in ((0.6, 51, False), (1.0, 1, True), (0.1, 201, True), (1.0, 201, False)):
        if size[0] > 700 and region == 1.0 and method in ("hd", "edge_aware"):
            continue  # seconds each, and the window's edges are where they are in the other modes
        settings = {"mouth_region_size": region, "blur_intensity": feather, "sharpen_mouth": sharpen}
        result = blend(face, noise, device, method=method, **settings)
        config = BlendConfig(mouth_region_size=region, blur_intensity=feather)
        mask = elliptical_mask(*size, config, device)
        if method == "original":
            mask = torch.ones_like(mask)  # the naive paste: its mask is the whole crop
        before = pictures.batch(face, device=device)
        outside = (mask == 0).expand_as(before)
        assert torch.equal(result[outside], before[outside])
        assert not torch.equal(result, before)
        assert result.min() >= 0 and result.max() <= 1


@pytest.mark.parametrize("size", [*SMALL, (100, 80), (200, 160), (360, 300), (620, 512)], ids=str)
@pytest.mark.parametrize("method", MASKED)
def test_the_new_mouth_is_what_one_sees(method: str, size: tuple[int, int]) -> None:
    """A black mouth on a white face: no mode lets the old lips shine through at the mask's centre."""
    face = np.full((*size, 3), 255, np.uint8)
    for region, feather in FLAGS:
        config = {"mouth_region_size": region, "blur_intensity": feather}
        result = pictures.levels(blend(face, np.zeros((96, 96, 3), np.uint8), method=method, **config))
        centre = float(result[int(0.65 * size[0]), size[1] // 2].max()) / 255
        assert centre <= OLD_LIPS[method], f"{region = }, {feather = }"


def hd_in_steps(face: Tensor, patch: Tensor, amount: float) -> Tensor:
    """The seven steps as single operations, each of which is tested against OpenCV, from a `patch` of any size."""
    patch = ops.resize(patch, (192, 192), mode="bicubic").clamp(0, 1)
    edges = ops.gaussian_blur(ops.canny(ops.grey(patch), 30, 100), 3, sigma=1.0)
    patch = ops.bilateral_filter((patch + edges * (30 / 255)).clamp(0, 1), 5, sigma_color=50 / 255, sigma_space=50)
    patch = ops.resize(patch, face.shape[2:], mode="lanczos4").clamp(0, 1)
    patch = ops.unsharp_mask(ops.unsharp_mask(patch, 0.5, sigma=1.0), amount, sigma=0.5, kernel_size=3)
    lab, mask = ops.rgb_to_lab(patch), elliptical_mask(*face.shape[2:], BlendConfig())
    added = ops.clahe(lab[:, :1] / 100, 2.0, (4, 4)) - lab[:, :1] / 100
    rows, columns = (mask.amax((0, 1, other)).nonzero().flatten().tolist() for other in (3, 2))
    part = (..., slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    added[part] -= ops.gaussian_blur(added[part].contiguous(), 2 * round(0.12 * min(face.shape[2:])) + 1)
    lab[:, :1] = (lab[:, :1] / 100 + added).clamp(0, 1) * 100
    enhanced = ops.lab_to_rgb(lab) * 0.85 + face * 0.15
    return torch.lerp(face, enhanced, mask)


@pytest.mark.parametrize("light", [0.4, 0.7, 1.0])
def test_hd_is_no_brighter_than_the_face_around(light: float) -> None:
    """A mouth as the face has it: 1.4 to 2.3 levels, of the edges that step 2 lightens. Equalised by itself it would be
    23 and 11 brighter, in bright light 13 darker, an oval that anyone sees.
    """
    face = pictures.batch(pictures.portrait(360, 300)) * light
    result = blend_mouths(face, pictures.batch(pictures.portrait(96, 96)) * light, BlendConfig(method="hd"))
    mask = elliptical_mask(*face.shape[2:], BlendConfig())
    shift = ((result - face) * 255 * mask).mean(1).sum() / mask.sum()
    assert abs(float(shift)) < 3


@pytest.mark.parametrize("real", [False, True], ids=["drawn", "photograph"])
def test_hd_starts_from_the_patch_as_generated(real: bool) -> None:
    """The predecessor started from the patch already resized to the crop."""
    make = pictures.portrait if real else pictures.face_like
    faces, mouths = pictures.batch(make(360, 300)), pictures.batch(make(96, 96))
    result = blend_mouths(faces, mouths, BlendConfig(method="hd"))
    enlarged = ops.resize(mouths, (360, 300), mode="bicubic").clamp(0, 1)
    inside = elliptical_mask(360, 300, BlendConfig()).expand_as(result) > 0.5

    def apart(other: Tensor) -> float:
        return float((result - other).abs()[inside].mean()) * 255

    # Ours folds steps 4 and 5 into one, which does not clamp between them, and turns the lightness alone.
    assert apart(hd_in_steps(faces, mouths, 0.7)) < 0.15
    assert apart(hd_in_steps(faces, enlarged, 0.7)) > 0.3
    # And a patch that has been up and down again is another one, and blurrier.
    back = blend_mouths(faces, ops.resize(enlarged, (96, 96)), BlendConfig(method="hd"))
    assert apart(back) > 0.25
    mask = inside[0, 0].numpy()
    sharp, blurred = (float((laplacian(pictures.levels(x))[mask] ** 2).mean()) for x in (result, back))
    assert blurred < 0.97 * sharp


@pytest.mark.parametrize("method", BLENDS)
def test_a_mouth_with_a_nan_is_not_used(method: str, device: str) -> None:
    face, mouth = face_and_mouth(200, 160, shift=6)
    mouths = pictures.batch(mouth, mouth, mouth, device=device)
    mouths[0, 1, 50, 50], mouths[2, 2, 0, 0] = float("nan"), float("inf")
    faces = pictures.batch(face, face, face, device=device)
    result = blend_mouths(faces, mouths, BlendConfig(method=method))
    assert torch.equal(result[0], faces[0]) and torch.equal(result[2], faces[2])
    alone = blend_mouths(faces[1:2], mouths[1:2], BlendConfig(method=method))
    torch.testing.assert_close(result[1:2], alone, atol=1e-5, rtol=0)  # float32 sums, another order


@pytest.mark.parametrize("method", BLENDS)
def test_faces_of_a_batch_do_not_meet(method: str, device: str) -> None:
    pairs = [face_and_mouth(181, 240, shift=s, tint=s / 100) for s in (0, 5, 9)]
    faces = pictures.batch(*(face for face, _ in pairs), device=device)
    mouths = pictures.batch(*(mouth for _, mouth in pairs), device=device)
    before = faces.clone(), mouths.clone()
    together = blend_mouths(faces, mouths, BlendConfig(method=method))
    assert torch.equal(faces, before[0]) and torch.equal(mouths, before[1])
    for i in range(len(pairs)):
        alone = blend_mouths(faces[i : i + 1], mouths[i : i + 1], BlendConfig(method=method))
        difference = (together[i : i + 1] - alone).abs()
        # Sums in another order; where that tips a rounding (Canny, CLAHE), hd is a level off at a few pixels.
        assert difference.mean() <= 1e-4 and (method == "hd" or difference.max() <= 1e-4)


MOUTHS = torch.zeros(2, 3, 96, 96)
REFUSED = {
    "faces of another type": (
        TypeError,
        "uint8",
        torch.zeros(2, 3, 64, 64, dtype=torch.uint8),
        torch.zeros(2, 3, 96, 96),
    ),
    "mouths of another type": (TypeError, "float16", torch.zeros(2, 3, 64, 64), MOUTHS.half()),
    "faces of another shape": (ValueError, r"\(3, 64, 64\)", torch.zeros(3, 64, 64), torch.zeros(1, 3, 96, 96)),
    "grey faces": (ValueError, r"\(2, 1, 64, 64\)", torch.zeros(2, 1, 64, 64), MOUTHS),
    "mouths of another size": (ValueError, r"\(2, 3, 90, 96\)", torch.zeros(2, 3, 64, 64), torch.zeros(2, 3, 90, 96)),
    "one mouth too many": (ValueError, r"\(3, 3, 96, 96\)", torch.zeros(2, 3, 64, 64), torch.zeros(3, 3, 96, 96)),
    "another device": (ValueError, "cpu and meta", torch.zeros(2, 3, 64, 64), MOUTHS.to("meta")),
    "tiny faces": (ValueError, "64 x 8", torch.zeros(2, 3, 8, 64), MOUTHS),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    error, message, faces, mouths = REFUSED[case]
    with pytest.raises(error, match=message):
        blend_mouths(faces, mouths, BlendConfig())


def test_every_mode_of_the_settings_exists() -> None:
    assert set(BLENDS) == set(get_args(BlendMethod))
    assert ops.to_uint8(blend(*face_and_mouth(64, 64))).dtype == torch.uint8


@pytest.mark.parametrize("size", [(200, 160), (360, 300)], ids=str)
def test_guided_moves_its_seam_to_the_source_s_edges(size: tuple[int, int]) -> None:
    """A white mouth on grey with one upright edge through the seam: the weight jumps there, and not on plain grey."""
    height, width = size
    edge = width // 2 + int(0.22 * width)
    plain = torch.full((1, 3, height, width), 0.4)
    edged = plain.clone()
    edged[..., edge:] = 0.6

    def step(faces: Tensor) -> float:
        blended = blend_mouths(faces, torch.ones(1, 3, 96, 96), BlendConfig(method="guided"))
        weight = ((blended - faces) / (1 - faces))[0, 0, int(0.65 * height)]
        return float((weight[edge] - weight[edge - 1]).abs())

    assert step(edged) > 3 * step(plain)  # 4 to 6 times; the guide's own edge is a half of the guide

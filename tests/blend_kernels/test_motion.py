"""Detail that has moved with lips and chin: taken from where the source shows it, and from nowhere else."""

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, Motion, blend_mouths, elliptical_mask
from gpu_lipsync.blend_kernels.motion import moved
from tests import pictures

MASKED = [name for name in BLENDS if name != "original"]
SIZE = (480, 400)
DOWN = 4 / 96  # of the face's height: how far its lower part has sunk


def wave(height: int, width: int) -> NDArray[np.float32]:
    """Smooth shifts x and y in parts of the sides, to either side, up to a tenth: (height, width, 2)."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    return np.stack((0.1 * np.sin(5 * y), 0.07 * np.cos(6 * x + y)), axis=2).astype(np.float32)


@pytest.mark.parametrize("whole", [None, (400, 250)], ids=["the face", "a part of it"])
def test_moves_as_opencv_does(whole: tuple[int, int] | None, device: str) -> None:
    picture = pictures.face_like(120, 97)
    shift = wave(120, 97) * (0.3 if whole else 1)
    height, width = whole or (120, 97)
    y, x = np.mgrid[0:120, 0:97].astype(np.float32)
    expected = cv2.remap(
        picture.astype(np.float32),
        x + shift[..., 0] * width,
        y + shift[..., 1] * height,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    shifts = torch.from_numpy(shift).permute(2, 0, 1)[None].to(device)
    found = pictures.levels(moved(pictures.batch(picture, device=device), shifts, whole=whole))
    assert np.abs(found - expected).max() < 4  # OpenCV knows a pixel's place to 1/32: 4 levels at an edge of 128
    assert np.abs(found - expected).mean() < 0.15


def sunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole picture, lower by DOWN."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return cv2.remap(picture, x, y - DOWN * height, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def rough(size: tuple[int, int]) -> NDArray[np.uint8]:
    """A portrait with pores, as a photograph of that size has them."""
    face = pictures.portrait(*size)
    noise = np.random.default_rng(0).normal(0, 6, face.shape)
    return (face + noise).round().clip(0, 255).astype(np.uint8)


def small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA)


def up(n: int = 1, shown: float = 1.0) -> Motion:
    """Everything comes from DOWN further up."""
    shift = torch.tensor([0.0, -DOWN])[None, :, None, None].expand(n, 2, 96, 96).contiguous()
    return Motion(shift, torch.full((n, 1, 96, 96), shown))


def blended(face: NDArray[np.uint8], mouth: NDArray[np.uint8], motion: Motion | None, **settings: object) -> Tensor:
    config = BlendConfig(**{"keep_detail": True, **settings})  # type: ignore[arg-type]
    images = pictures.batch(face), pictures.batch(mouth)
    return blend_mouths(*images, config, sources=pictures.batch(small(face)), motion=motion)


@pytest.mark.parametrize("method", MASKED)
def test_a_face_that_has_moved_keeps_its_pores(method: str) -> None:
    """The generator lets it sink, and makes it soft; below the mask's upper edge, over which nothing can sink."""
    face = rough(SIZE)
    truth = sunk(face).astype(np.float32)
    mouth = cv2.GaussianBlur(small(sunk(face)), (0, 0), 0.7)
    inside = elliptical_mask(*SIZE, BlendConfig())[0, 0].numpy() > 0.9
    inside[: np.flatnonzero(inside.any(axis=1))[0] + round(DOWN * SIZE[0])] = False
    with_motion, without = (
        np.abs(pictures.levels(blended(face, mouth, motion, method=method)) - truth)[inside].mean()
        for motion in (up(), None)
    )
    # Lips and teeth keep little without; `hd` has its own contrast, edge_aware levels some of the pores.
    assert with_motion < (0.75 if method in ("hd", "edge_aware") else 0.6) * without and without > 3


def test_what_the_source_does_not_show_keeps_nothing() -> None:
    face = rough(SIZE)
    mouth = small(sunk(face))
    unshown, plain = (blended(face, mouth, up(shown=0.0), keep_detail=keep) for keep in (True, False))
    assert torch.allclose(unshown, plain, atol=1e-5)  # float32


def test_nothing_is_taken_from_beside_the_part_that_is_blended_in() -> None:
    """Where a shift leads out of the mask's surroundings there is nothing to be moved in: bright rows stay away."""
    face = rough(SIZE)
    place = np.flatnonzero((elliptical_mask(*SIZE, BlendConfig())[0, 0].numpy() > 0).any(axis=1))
    beyond = place[0] - round(2.5 * SIZE[0] / 96)  # what the bicubic sees is looked at
    bright = face.copy()
    bright[:beyond] = 255
    mouth = small(sunk(face))
    difference = (blended(bright, mouth, up()) - blended(face, mouth, up()))[:, :, place]
    assert difference.abs().max() * 255 < 1


def test_no_shift_at_all_is_no_motion_but_for_what_counts_as_alike() -> None:
    """A face left alone comes back either way."""
    face = rough(SIZE)
    mouth = cv2.GaussianBlur(small(face), (0, 0), 0.5)
    still = Motion(torch.zeros(1, 2, 96, 96), torch.ones(1, 1, 96, 96))
    result = pictures.levels(blended(face, mouth, still))
    without = pictures.levels(blended(face, mouth, None))
    inside = elliptical_mask(*SIZE, BlendConfig())[0, 0].numpy() > 0.5
    errors = [np.abs(picture - face)[inside].mean() for picture in (result, without)]
    assert errors[0] <= errors[1] and errors[0] < 1.5

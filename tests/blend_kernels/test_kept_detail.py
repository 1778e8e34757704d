"""The face's own detail over a generated mouth: as stated, all of it where nothing was changed, none where much was."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, blend_mouths, elliptical_mask
from tests import oracles, pictures
from tests.places import DEMO, SPEECH

MASKED = [name for name in BLENDS if name != "original"]
SIZES = [(48, 48), (96, 96), (230, 180), (620, 512)]
MANY_PX = (480, 400)
Levels = NDArray[np.float32]


def seen_by_the_generator(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(face, (96, 96), interpolation=cv2.INTER_AREA)


def soft(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As a generator makes what it leaves alone."""
    return cv2.GaussianBlur(picture, (0, 0), 0.7)


def blended(face: NDArray[np.uint8], mouth: NDArray[np.uint8], device: str = "cpu", **settings: object) -> Levels:
    """With its detail kept; in levels."""
    images = (pictures.batch(image, device=device) for image in (face, mouth))
    sources = pictures.batch(seen_by_the_generator(face), device=device)
    config = BlendConfig(**{"keep_detail": True, **settings})  # type: ignore[arg-type]
    return pictures.levels(blend_mouths(*images, config, sources=sources))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_matches_opencv(size: tuple[int, int], device: str) -> None:
    """Under the whole crop's mask, so that the generated face counts as a whole."""
    face = pictures.portrait(*size)
    source = seen_by_the_generator(face)
    mouth = soft(source)
    mouth[70:85, 30:66] = (150, 60, 70)
    settings = {"mouth_region_size": 1.0, "blur_intensity": 1}
    result = blended(face, mouth, device, **settings)
    mask = elliptical_mask(*size, BlendConfig(**settings))[0, 0].numpy()  # type: ignore[arg-type]
    expected = oracles.with_detail(face, mouth, source, seen_in(mask))
    inside = mask > 0
    difference = np.abs(result - (mask[..., None] * expected + (1 - mask[..., None]) * face))[inside]
    assert difference.max() < 0.01  # float32 on either side
    assert np.abs(expected - oracles.mouth_patch(mouth, *size, None))[inside].max() > 3, "it is another patch"


def seen_in(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 where a mouth of 96 x 96 is made: what the bicubic sees around the mask's support, one pixel and two."""
    ranges = []
    for axis in (1, 0):
        used = np.flatnonzero(mask.max(axis=axis))
        first, last = ((at + 0.5) * 96 / mask.shape[1 - axis] - 0.5 for at in (used[0], used[-1]))
        at = np.arange(96)
        ranges.append((at >= np.floor(first) - 1) & (at <= np.floor(last) + 2))
    return np.outer(*ranges).astype(np.float32)


@pytest.mark.parametrize("settings", [{}, {"sharpen_mouth": True}], ids=str)
@pytest.mark.parametrize("method", MASKED)
def test_a_face_that_the_generator_left_alone_stays_as_it_was(method: str, settings: dict[str, object]) -> None:
    face = pictures.portrait(*MANY_PX)
    noise = np.random.default_rng(0).normal(0, 6, face.shape)  # a photograph of that size has pores
    face = (face + noise).round().clip(0, 255).astype(np.uint8)
    inside = elliptical_mask(*MANY_PX, BlendConfig())[0, 0].numpy() > 0.5
    mouth = soft(seen_by_the_generator(face))
    kept, lost = (
        np.abs(blended(face, mouth, method=method, keep_detail=keep, **settings) - face)[inside].mean()
        for keep in (True, False)
    )
    # What is left is broader than detail, along the edges of lips and teeth; edge_aware levels some of the pores.
    assert kept < (0.4 if method == "edge_aware" else 0.3) * lost and lost > 4


@pytest.mark.parametrize("method", MASKED)
def test_nothing_of_the_old_mouth_is_seen_where_it_changed(method: str) -> None:
    """Her open mouth, teeth and all, painted over in green."""
    face = pictures.portrait(*MANY_PX)
    source = seen_by_the_generator(face)
    mouth = soft(source)
    painted = np.zeros((96, 96), np.float32)
    cv2.ellipse(painted, (48, 72), (26, 14), 0, 0, 360, 1.0, -1)
    painted = cv2.GaussianBlur(painted, (0, 0), 2)[..., None]
    mouth = (mouth * (1 - painted) + np.array([0, 255, 0]) * painted).round().astype(np.uint8)
    difference = np.abs(soft(mouth).astype(np.float32) - soft(source)).max(axis=2)
    changed = cv2.resize(cv2.erode(difference, np.ones((9, 9))), MANY_PX[::-1]) > 40
    changed &= elliptical_mask(*MANY_PX, BlendConfig())[0, 0].numpy() > 0.9
    assert changed.sum() > 300
    kept, lost = (blended(face, mouth, method=method, keep_detail=keep) for keep in (True, False))
    # Half a level: of a difference of 40 levels all around e^-6 of the detail would be left. Multiscale's and the
    # guided filter's masks look further, and what changed around counts.
    assert np.abs(kept - lost)[changed].max() < (2 if method in ("multiscale", "guided") else 0.5)


def test_a_paste_without_a_mask_keeps_nothing() -> None:
    face = pictures.portrait(*MANY_PX)
    mouth = pictures.batch(soft(seen_by_the_generator(face)))
    with_and_without = (
        blend_mouths(pictures.batch(face), mouth, BlendConfig(method="original", keep_detail=keep))
        for keep in (True, False)
    )
    assert torch.equal(*with_and_without)


@pytest.mark.parametrize(
    ("sources", "error", "message"),
    [
        (None, ValueError, "keep_detail needs sources"),
        (torch.zeros(2, 3, 96, 96), ValueError, r"sources must be \(1, 3, 96, 96\), got \(2, 3, 96, 96\)"),
        (torch.zeros(1, 3, 95, 96), ValueError, r"got \(1, 3, 95, 96\)"),
        (torch.zeros(1, 3, 96, 96, dtype=torch.uint8), TypeError, "sources"),
    ],
)
def test_sources_that_are_none(sources: Tensor | None, error: type[Exception], message: str) -> None:
    face, mouth = torch.zeros(1, 3, 200, 160), torch.zeros(1, 3, 96, 96)
    with pytest.raises(error, match=message):
        blend_mouths(face, mouth, BlendConfig(keep_detail=True), sources=sources)


def test_a_run_keeps_it_of_a_moustache_and_a_chin(media: Path, tmp_path: Path) -> None:
    """The generator that ships, on a man of whom a mask of 0.6 shows moustache and chin more than lips."""
    clip = media / "more" / "astorfi_sample_video_m_en_7s_480x360.mp4"
    detail = {}
    for keep in (True, False):
        out = tmp_path / f"{keep}.mp4"
        run(LipSyncConfig(checkpoint_path=DEMO, face=clip, audio=SPEECH, outfile=out, keep_detail=keep, quiet=True))
        detail[keep] = fine(out)
    source = fine(clip, len(detail[True]))
    assert np.array_equal(source.shape, detail[True].shape)
    # Where most is lost without it: on his moustache's hair and the folds of his chin.
    under = np.abs(detail[False] - source).mean(axis=0) > 2.5
    assert under.sum() > 1000
    left = {
        keep: float((picture * source)[:, under].sum() / (source**2)[:, under].sum())
        for keep, picture in detail.items()
    }
    assert left[True] > left[False] + 0.15 and left[True] > 0.6, left  # 0.67 and 0.45


def fine(path: Path, most: int = 10**9) -> Levels:
    """What is finer than a Gaussian of 1.5 px, of each frame: (n, height, width), levels."""
    with av.open(str(path)) as clip:
        planes = [
            frame.to_ndarray(format="gray").astype(np.float32)
            for frame, _ in zip(clip.decode(video=0), range(most), strict=False)
        ]
    return np.stack([plane - cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in planes])

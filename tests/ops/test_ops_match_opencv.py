"""Operations against the OpenCV function that it stands for, at the sizes and parameters that the product uses."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from gpu_lipsync import ops
from tests import oracles, pictures


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos4"])
@pytest.mark.parametrize("size", [(96, 96), (192, 192), (181, 240), (360, 300), (33, 500), (1080, 1080)])
def test_resize_matches_opencv(picture: np.ndarray, mode: str, size: tuple[int, int], device: str) -> None:
    result = ops.resize(pictures.batch(picture, device=device), size, mode=mode)
    # OpenCV weighs 8-bit pictures in fixed point of 11 bits: results on the edge between two levels go either way.
    assert pictures.differences(result, oracles.resize(picture, size, mode))[0] <= 1


@pytest.mark.parametrize("interleave", [False, True])
@pytest.mark.parametrize("window", [(0, 360, 0, 300), (101, 300, 37, 260), (359, 360, 0, 1)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos4"])
def test_resize_window_is_a_part_of_resize(
    window: tuple[int, int, int, int], mode: str, interleave: bool, device: str
) -> None:
    image = pictures.batch(pictures.face_like(96, 96), device=device)
    y1, y2, x1, x2 = window
    whole = ops.resize(image, (360, 300), mode=mode)
    part = ops.resize_window(image, (360, 300), window, mode=mode, interleave=interleave)
    torch.testing.assert_close(part, whole[:, :, y1:y2, x1:x2], atol=1e-5, rtol=0)  # float32 positions; 0.003 level


@pytest.mark.parametrize("size", [(96, 96), (361, 299), (40, 233), (16, 16)])  # smaller, larger, both at once
@pytest.mark.parametrize("interleave", [True, False])
def test_resize_bytes_matches_opencv(size: tuple[int, int], interleave: bool, device: str) -> None:
    drawn = [pictures.face_like(181, 240, seed=i) for i in range(3)]
    frames = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).to(device)
    result = ops.resize_bytes(frames if interleave else frames.contiguous(), size)
    assert result.dtype == torch.float32 and result.shape == (3, 3, *size) and result.device.type == device
    for i, picture in enumerate(drawn):
        expected = oracles.resize(picture, size, "bilinear").astype(float)
        # Both weigh in fixed point on a CPU, with other roundings; on a GPU ours is not rounded (float32 adds 1e-5).
        assert np.abs(pictures.levels(result[i : i + 1]) - expected).max() < 1.001


@pytest.mark.parametrize("size", [(90, 120), (64, 233), (181, 31)])
@pytest.mark.parametrize(("n", "channels"), [(1, 3), (4, 1), (2, 2), (3, 1)])  # four planes at a time, and not
def test_reduce_bytes_matches_pillow(size: tuple[int, int], n: int, channels: int, device: str) -> None:
    drawn = np.stack([pictures.face_like(181, 240, seed=i) for i in range(n)])[..., :channels]
    result = ops.reduce_bytes(torch.from_numpy(drawn).permute(0, 3, 1, 2).to(device), size)
    assert result.dtype == torch.uint8 and result.shape == (n, channels, *size) and result.device.type == device
    for ours, picture in zip(result.cpu().numpy().astype(int), drawn.transpose(0, 3, 1, 2), strict=True):
        for plane, given in zip(ours, picture, strict=True):
            expected = np.asarray(Image.fromarray(given).resize(size[::-1], Image.Resampling.BILINEAR))
            assert np.abs(plane - expected).max() <= 1  # Pillow rounds between its passes, CUDA not


@pytest.mark.parametrize("n", [1, 5])  # of pictures: on a CPU the more, the fewer rows at a time
@pytest.mark.parametrize("window", [(0, 361, 0, 299), (101, 300, 37, 260)])
def test_resize_to_bytes_matches_opencv(window: tuple[int, int, int, int], n: int, device: str) -> None:
    faces = [pictures.face_like(96, 96, seed=i) for i in range(n)]
    faces[0][:48] = np.where(faces[0][:48] > 127, 255, 0)  # overshoots at both ends
    result = ops.resize_to_bytes(pictures.batch(*faces, device=device), (361, 299), window)
    y1, y2, x1, x2 = window
    assert result.dtype == torch.uint8 and result.shape == (n, 3, y2 - y1, x2 - x1)
    for ours, face in zip(result, faces, strict=True):
        expected = oracles.resize(face, (361, 299), "bicubic")[y1:y2, x1:x2].astype(int)
        # OpenCV's weights have 11 bits; a value on the edge between two levels may go either way.
        assert np.abs(ours.permute(1, 2, 0).cpu().numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("kernel_size", "sigma"), [(3, 1.0), (3, 0.5), (5, 0.0), (0, 2.0), (0, 1.0), (13, 17.0)])
def test_gaussian_blur_matches_opencv(picture: np.ndarray, kernel_size: int, sigma: float, device: str) -> None:
    result = ops.gaussian_blur(pictures.batch(picture, device=device), kernel_size, sigma=sigma)
    # OpenCV's 8-bit blur rounds its taps to 8 bits of fraction.
    assert pictures.differences(result, oracles.gaussian_blur(picture, kernel_size, sigma))[0] <= 1


def test_gaussian_blur_matches_opencv_at_the_default_feather(device: str) -> None:
    picture = pictures.face_like(181, 240)
    result = ops.gaussian_blur(pictures.batch(picture, device=device), 51, sigma=17)
    assert pictures.differences(result, oracles.gaussian_blur(picture, 51, 17))[0] <= 1


@pytest.mark.parametrize("kernel_size", [3, 9, 15])
def test_box_blur_matches_opencv(picture: np.ndarray, kernel_size: int, device: str) -> None:
    result = ops.box_blur(pictures.batch(picture, device=device), kernel_size)
    assert pictures.differences(result, oracles.box_blur(picture, kernel_size))[0] <= 1  # ties in rounding


@pytest.mark.parametrize("size", [(1080, 1080), (181, 240)])
def test_box_blur_of_the_guided_filter_stays_exact_on_large_crops(size: tuple[int, int], device: str) -> None:
    picture = pictures.face_like(*size)
    result = ops.box_blur(pictures.batch(picture, device=device), 41)
    assert pictures.differences(result, oracles.box_blur(picture, 41))[0] <= 1  # running sums must not drift


@pytest.mark.parametrize(("amount", "sigma", "kernel_size"), [(0.5, 2.0, 0), (5.0, 2.0, 0), (0.7, 0.5, 3)])
def test_unsharp_mask_matches_opencv(
    picture: np.ndarray, amount: float, sigma: float, kernel_size: int, device: str
) -> None:
    result = ops.unsharp_mask(pictures.batch(picture, device=device), amount, sigma=sigma, kernel_size=kernel_size)
    expected = oracles.unsharp_mask(picture.astype(np.float32), amount, sigma, kernel_size or int(6 * sigma + 1) | 1)
    assert pictures.differences(result, expected.clip(0, 255).round())[0] <= 1  # ties in rounding
    if amount <= 1:  # in 8 bits the blur is rounded first, and `amount` times that error is in the result
        assert pictures.differences(result, oracles.unsharp_mask(picture, amount, sigma, kernel_size))[0] <= 1


HD_PASSES = [((0.5, 1.0, 7), (amount, 0.5, 3)) for amount in (0.5, 0.7, 1.0, 2.0, 5.0)]


@pytest.mark.parametrize("passes", [((0.5, 1.0, 7),), *HD_PASSES], ids=str)
@pytest.mark.parametrize("size", [(200, 160), (333, 257), (620, 512)])
def test_resize_sharpened_is_its_steps(
    size: tuple[int, int], passes: tuple[tuple[float, float, int], ...], device: str
) -> None:
    # Half the contrast: the steps clamp to [0, 1], where ours does not.
    image = pictures.batch(pictures.face_like(192, 192), device=device) * 0.5 + 0.25
    expected = ops.resize(image, size, mode="lanczos4")
    for amount, sigma, kernel_size in passes:
        expected = ops.unsharp_mask(expected, amount, sigma=sigma, kernel_size=kernel_size)
    result = ops.resize_sharpened(image, size, passes)
    inside = (expected > 0) & (expected < 1)
    assert ((result - expected).abs()[inside] <= 0.5 / 255).all()  # the products that it leaves out


@pytest.mark.parametrize(("diameter", "sigma_color", "sigma_space"), [(9, 75, 75), (5, 50, 50), (9, 20, 3)])
def test_bilateral_filter_matches_opencv(
    picture: np.ndarray, diameter: int, sigma_color: float, sigma_space: float, device: str
) -> None:
    image = pictures.batch(picture, device=device)
    result = ops.bilateral_filter(image, diameter, sigma_color=sigma_color / 255, sigma_space=sigma_space)
    expected = oracles.bilateral_filter(picture, diameter, sigma_color, sigma_space)
    assert pictures.differences(result, expected)[0] <= 1  # ties in rounding; a square window is up to 10 off


def peak_memory(run: Callable[[], object]) -> int:
    """Bytes that tensors made in `run` take at most, by PyTorch's record of what operations take and give back."""
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    events = sorted(profile.events(), key=lambda event: event.time_range.start)
    return int(np.cumsum([event.self_cpu_memory_usage for event in events]).max())


def test_bilateral_filter_s_memory_is_a_few_times_the_image_s() -> None:
    """Whatever its diameter; windows laid out side by side would take that squared."""
    image = pictures.batch(pictures.face_like(360, 300))
    for diameter in (5, 9, 25):
        peak = peak_memory(lambda d=diameter: ops.bilateral_filter(image, d, sigma_color=0.2, sigma_space=5.0))
        assert peak < 8 * image.nbytes  # 6.5 to 7.1: six images and three planes, padded
    assert peak_memory(lambda: torch.nn.functional.unfold(image, 9)) > 70 * image.nbytes


@pytest.mark.parametrize(
    ("size", "radius"),
    [
        ((200, 160), 20),
        ((181, 240), 20),
        ((64, 48), 20),
        ((200, 160), 5),
        ((17, 23), 7),
        ((16, 16), 1),
        ((620, 512), 20),
    ],
)  # the mode's own radius, and what it becomes on small masks
def test_guided_filter_matches_its_paper(size: tuple[int, int], radius: int, device: str) -> None:
    guide = pictures.face_like(*size)[..., 1].astype(np.float32) / 255
    mask = oracles.elliptical_mask(*size, 0.6, 25)
    result = ops.guided_filter(
        torch.from_numpy(guide)[None, None].to(device), torch.from_numpy(mask)[None, None].to(device), radius, eps=0.01
    )
    expected = oracles.guided_filter(guide, mask, radius, 0.01)
    assert np.abs(result[0, 0].cpu().numpy() - expected).max() <= 1e-3  # float32 against float64; 0.26 of a level


@pytest.mark.parametrize("size", [(192, 192), (181, 240), (16, 16), (360, 300)])
@pytest.mark.parametrize("seed", range(3))
def test_canny_matches_opencv(size: tuple[int, int], seed: int, device: str) -> None:
    plane = oracles.gaussian_blur(pictures.face_like(*size, seed=seed), 5, 1.2).mean(2).round().astype(np.uint8)
    expected = oracles.canny(plane, 30, 100) > 0
    found = pictures.levels(ops.canny(pictures.batch(plane, device=device), 30, 100)) > 0
    assert expected.sum() > 30, "the picture has to have edges"
    # Only the ends of weak edges longer than the fixed number of steps may differ.
    assert (found & expected).sum() >= 0.97 * max(expected.sum(), found.sum())


@pytest.mark.parametrize("n", [3, 8, 9, 17])
def test_canny_of_many_is_canny_of_each(n: int, device: str) -> None:
    """Eight pictures share a byte as their edges are followed."""
    smooth = (oracles.gaussian_blur(pictures.face_like(181, 150, seed=seed), 5, 1.2) for seed in range(n))
    images = pictures.batch(*(picture.mean(2).round().astype(np.uint8) for picture in smooth), device=device)
    alone = torch.cat([ops.canny(image[None], 30, 100) for image in images])
    assert torch.equal(ops.canny(images, 30, 100), alone)
    assert len({int(edges.sum()) for edges in alone}) > 1


def test_canny_follows_a_weak_edge_as_far_as_it_says(device: str) -> None:
    plane = np.full((40, 100), 100, np.uint8)
    plane[20:] = 110  # weak: gradient 40
    plane[20:, :10] = 200  # strong at the left end
    found = pictures.levels(ops.canny(pictures.batch(plane, device=device), 30, 100)) > 0
    expected = oracles.canny(plane, 30, 100) > 0
    length = int(found.any(0).nonzero()[0].max())
    assert expected.any(0).all() and 9 + 25 <= length <= 11 + 32


@pytest.mark.parametrize("size", [(200, 160), (181, 240), (37, 38), (16, 17)])
def test_pyramids_match_opencv(size: tuple[int, int], device: str) -> None:
    picture = pictures.face_like(*size)
    down = ops.pyramid_down(pictures.batch(picture, device=device))
    expected = oracles.pyramid_down(picture.astype(np.float32))
    assert np.abs(pictures.levels(down) - expected).max() <= 0.01  # the same sums in float32
    up = ops.pyramid_up(down, size)
    difference = np.abs(pictures.levels(up) - oracles.pyramid_up(expected, size))
    # At the far border of an odd side OpenCV repeats the last pixel, where ours mirrors, as it does everywhere else.
    assert difference[: -2 if size[0] % 2 else None, : -2 if size[1] % 2 else None].max() <= 0.01

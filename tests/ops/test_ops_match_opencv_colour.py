"""CLAHE, colour spaces and rounding against OpenCV."""

import numpy as np
import pytest
import torch

from gpu_lipsync import ops
from tests import oracles, pictures


@pytest.mark.parametrize("clip_limit", [2.0, 4.0])
@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (4, 2)])
def test_clahe_matches_opencv(picture: np.ndarray, clip_limit: float, grid: tuple[int, int], device: str) -> None:
    plane = np.ascontiguousarray(picture[..., 1])
    result = ops.clahe(pictures.batch(plane, device=device), clip_limit, grid)
    # The same histograms and curves; OpenCV multiplies its weights in another order, which moves ties.
    largest, mean = pictures.differences(result, oracles.clahe(plane, clip_limit, grid))
    assert largest <= 1 and mean <= 0.1


@pytest.mark.parametrize("window", [(64, 197, 8, 153), (0, 200, 0, 160), (199, 200, 0, 1)])
def test_a_window_of_clahe_is_a_part_of_it(window: tuple[int, int, int, int], device: str) -> None:
    image = pictures.batch(*(pictures.face_like(200, 160, seed=i) for i in range(2)), device=device)
    y1, y2, x1, x2 = window
    whole = ops.clahe(image, 2.0, (4, 4))
    part = ops.clahe(image, 2.0, (4, 4), window=window)
    torch.testing.assert_close(part, whole[:, :, y1:y2, x1:x2], atol=1e-6, rtol=0)


def test_lab_matches_opencv(picture: np.ndarray, device: str) -> None:
    image = picture.astype(np.float32) / 255
    lab = ops.rgb_to_lab(torch.from_numpy(image).permute(2, 0, 1)[None].to(device))
    expected = oracles.rgb_to_lab(image)
    # OpenCV interpolates its gamma and cube root in tables; one level of L is 100/255, of a and b 1.
    error = np.abs(lab[0].permute(1, 2, 0).cpu().numpy() - expected).max((0, 1))
    assert (error <= [100 / 255, 1, 1]).all(), error
    back = ops.lab_to_rgb(lab)
    assert pictures.differences(back, (oracles.lab_to_rgb(expected) * 255).round())[0] <= 1
    assert pictures.differences(back, picture)[0] == 0


def test_another_lightness_is_another_first_channel_of_lab(picture: np.ndarray, device: str) -> None:
    image = pictures.batch(picture, device=device)
    lab = ops.rgb_to_lab(image)
    # On CUDA one row of sums is not rounded as three are: here and there a value is a step of the root's table further.
    atol = 1e-6 if device == "cpu" else 1e-4
    torch.testing.assert_close(ops.lightness(image), lab[:, :1] / 100, atol=atol, rtol=0)
    lab[:, :1] = (lab[:, :1] * 1.2 - 5).clamp(0, 100)
    result = ops.with_lightness(image, lab[:, :1] / 100)
    assert (result - ops.lab_to_rgb(lab)).abs().max() <= 0.5 / 255  # a step of the display curve's table


def test_lab_of_every_grey_and_primary() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)
    zero = np.zeros_like(ramp)
    image = np.stack([[ramp] * 3, [ramp, zero, zero], [zero, ramp, zero], [zero, zero, ramp]]).transpose(0, 2, 1)
    lab = ops.rgb_to_lab(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])
    error = np.abs(lab[0].permute(1, 2, 0).numpy() - oracles.rgb_to_lab(image.copy())).max((0, 1))
    assert (error <= [100 / 255, 1, 1]).all(), error


def test_uint8_round_trip_and_rounding(device: str) -> None:
    every = torch.arange(256, dtype=torch.uint8, device=device).view(1, 1, 16, 16)
    assert torch.equal(ops.to_uint8(ops.to_float(every)), every)
    off = torch.tensor([-0.2, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.3], device=device).view(1, 1, 1, 5)
    assert ops.to_uint8(off).flatten().tolist() == [0, 0, 1, 255, 255]


def test_grey_matches_opencv(picture: np.ndarray, device: str) -> None:
    result = ops.grey(pictures.batch(picture, device=device))
    assert pictures.differences(result, oracles.grey(picture))[0] <= 1  # ties in rounding

"""Milliseconds a frame of each operation, beside an OpenCV loop doing the same to 8-bit pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.measure import DEVICES, measure
from bench.opencv_loops import guided_filter
from bench.test_bench_blend import BATCH, SIZES, crops_of, same_threads
from gpu_lipsync import ops
from tests import oracles, pictures

__all__ = ["same_threads"]  # a fixture of this file as well


class Job(NamedTuple):
    ours: Callable[[Tensor], object]
    opencv: Callable[[NDArray[np.uint8]], object]
    grey: bool = False


PASSES = ((0.5, 1.0, 7), (0.7, 0.5, 3))  # the two sharpenings of hd


def enlarged_and_sharpened(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = oracles.resize(image[:96, :96], image.shape[:2], "lanczos4")
    for amount, sigma, kernel_size in PASSES:
        out = oracles.unsharp_mask(out, amount, sigma, kernel_size)
    return out


def guided_by_opencv(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = image.astype(np.float32) / 255
    return guided_filter(grey, grey, 20, 0.01)


def darkened(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lab[..., 0] //= 2
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


JOBS = {
    "gaussian_blur 13": Job(lambda x: ops.gaussian_blur(x, 13, sigma=2), lambda x: oracles.gaussian_blur(x, 13, 2)),
    "box_blur 41": Job(lambda x: ops.box_blur(x, 41), lambda x: oracles.box_blur(x, 41)),
    "unsharp_mask": Job(lambda x: ops.unsharp_mask(x, 0.5), lambda x: oracles.unsharp_mask(x, 0.5, 2)),
    "bilateral_filter 9": Job(
        lambda x: ops.bilateral_filter(x, 9, sigma_color=75 / 255, sigma_space=75),
        lambda x: oracles.bilateral_filter(x, 9, 75, 75),
    ),
    "guided_filter 20": Job(
        lambda x: ops.guided_filter(x, x, 20, eps=0.01),
        guided_by_opencv,
        grey=True,
    ),
    "clahe 4 x 4": Job(lambda x: ops.clahe(x, 2, (4, 4)), lambda x: oracles.clahe(x, 2, (4, 4)), grey=True),
    "canny": Job(lambda x: ops.canny(x, 30, 100), lambda x: oracles.canny(x, 30, 100), grey=True),
    "rgb_to_lab": Job(ops.rgb_to_lab, lambda x: cv2.cvtColor(x, cv2.COLOR_RGB2Lab)),
    "lab_to_rgb": Job(ops.lab_to_rgb, lambda x: cv2.cvtColor(x, cv2.COLOR_Lab2RGB)),
    "lightness": Job(ops.lightness, lambda x: cv2.cvtColor(x, cv2.COLOR_RGB2Lab)[..., 0]),
    "with_lightness": Job(lambda x: ops.with_lightness(x, x[:, :1] * 0.5), darkened),
    "resize_sharpened from 96": Job(
        lambda x: ops.resize_sharpened(x[..., :96, :96], x.shape[2:], PASSES), enlarged_and_sharpened
    ),
    "resize to 192, bilinear": Job(
        lambda x: ops.resize(x, (192, 192)), lambda x: oracles.resize(x, (192, 192), "bilinear")
    ),
    "resize to 192, bicubic": Job(
        lambda x: ops.resize(x, (192, 192), mode="bicubic"), lambda x: oracles.resize(x, (192, 192), "bicubic")
    ),
    "resize to 192, lanczos4": Job(
        lambda x: ops.resize(x, (192, 192), mode="lanczos4"), lambda x: oracles.resize(x, (192, 192), "lanczos4")
    ),
}


def inputs_of(name: str, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    crops = crops_of(size)
    return [np.ascontiguousarray(crop[..., 1]) for crop in crops] if JOBS[name].grey else crops


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("device", DEVICES)
def test_operation(benchmark: Any, device: str, name: str, size: tuple[int, int]) -> None:
    images = pictures.batch(*inputs_of(name, size), device=device)
    if name == "lab_to_rgb":
        images = ops.rgb_to_lab(images)
    group = f"{name}, {size[1]} x {size[0]}"
    with torch.inference_mode():
        measure(benchmark, lambda: JOBS[name].ours(images), frames=BATCH, group=group, device=device)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("name", JOBS)
def test_operation_by_opencv(benchmark: Any, name: str, size: tuple[int, int]) -> None:
    images, apply = inputs_of(name, size), JOBS[name].opencv
    group = f"{name}, {size[1]} x {size[0]}"
    measure(benchmark, lambda: [apply(image) for image in images], frames=BATCH, group=group, reference=True)

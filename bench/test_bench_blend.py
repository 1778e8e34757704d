"""Milliseconds a frame of each blend mode, paste included, beside the predecessor's OpenCV loop on the same crops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.measure import DEVICES, batch_size, measure
from bench.opencv_loops import paste_one_by_one
from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.models import load_face_mesh
from gpu_lipsync.pasting.lip_motion import find_lip_motion
from gpu_lipsync.process.device import network_dtype
from tests import pictures

BATCH = batch_size(16)
SIZES = [(200, 160), (360, 300), (620, 512)]  # crops: height, width
FRAME = (720, 1280)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """OpenCV gets as many threads as torch."""
    cv2.setNumThreads(torch.get_num_threads())
    with torch.inference_mode():
        yield


@lru_cache
def crops_of(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """A batch of faces, (height, width, 3)."""
    return [pictures.face_like(*size, seed=i) for i in range(BATCH)]


def mouths_of() -> list[NDArray[np.uint8]]:
    """A batch of generated mouths, (96, 96, 3)."""
    return [pictures.face_like(96, 96, seed=100 + i) for i in range(BATCH)]


def on_device(images: list[NDArray[np.uint8]], device: str) -> Tensor:
    """(B, 3, H, W) uint8, interleaved as decoders deliver."""
    return torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("method", BLENDS)
@pytest.mark.parametrize("device", DEVICES)
def test_blend(benchmark: Any, device: str, method: Any, size: tuple[int, int]) -> None:
    frames, mouths = on_device(crops_of(size), device), pictures.batch(*mouths_of(), device=device)
    boxes, config = torch.tensor([[0, 0, size[1], size[0]]] * BATCH), BlendConfig(method=method)
    group = f"blend {method}, crop {size[1]} x {size[0]}"
    measure(benchmark, lambda: paste_faces(frames, mouths, boxes, config), frames=BATCH, group=group, device=device)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("keep_detail", [True, False], ids=["kept", "not_kept"])
@pytest.mark.parametrize("device", DEVICES)
def test_detail(benchmark: Any, device: str, keep_detail: bool, size: tuple[int, int]) -> None:
    """The face's own detail over the mouth, as a run has it, beside the mode by itself."""
    frames, mouths = on_device(crops_of(size), device), pictures.batch(*mouths_of(), device=device)
    boxes, config = torch.tensor([[0, 0, size[1], size[0]]] * BATCH), BlendConfig(keep_detail=keep_detail)
    sources = crop_faces(frames, boxes)
    group = f"detail in ellipse, crop {size[1]} x {size[0]}, {device}"
    mesh = load_face_mesh(device, dtype=network_dtype(torch.device(device), fp16=False))

    def paste() -> Tensor:
        motion = find_lip_motion(mouths, sources, mesh) if keep_detail else None
        return paste_faces(frames, mouths, boxes, config, sources=sources, motion=motion)

    measure(benchmark, paste, frames=BATCH, group=group, device=device, reference=not keep_detail)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("method", BLENDS)
def test_blend_by_opencv(benchmark: Any, method: str, size: tuple[int, int]) -> None:
    frames, mouths = crops_of(size), pictures.batch(*mouths_of()).numpy()
    group = f"blend {method}, crop {size[1]} x {size[0]}"
    measure(benchmark, lambda: paste_one_by_one(frames, mouths, method), frames=BATCH, group=group, reference=True)


def boxes_in_frames(size: tuple[int, int]) -> list[list[int]]:
    """A face that moves."""
    return [[300 + 7 * i, 40 + 3 * i, 300 + 7 * i + size[1], 40 + 3 * i + size[0]] for i in range(BATCH)]


@pytest.mark.parametrize("method", ["ellipse", "hd"])
@pytest.mark.parametrize("device", DEVICES)
def test_moving_face(benchmark: Any, device: str, method: Any) -> None:
    """As in use: whole frames, a box that goes its way, and a mask that goes along with the mouth in it."""
    size = SIZES[1]
    frames = on_device([pictures.face_like(*FRAME, seed=i) for i in range(BATCH)], device)
    mouths, config = pictures.batch(*mouths_of(), device=device), BlendConfig(method=method)
    boxes = torch.tensor(boxes_in_frames(size))
    fits = torch.tensor([[i // 3 - 2, 4 - i // 4, 14] for i in range(BATCH)])
    group = f"blend {method}, a face of {size[1]} x {size[0]} moving in {FRAME[1]} x {FRAME[0]}"
    paste = partial(paste_faces, frames, mouths, boxes, config, fits=fits)
    measure(benchmark, paste, frames=BATCH, group=group, device=device)


@pytest.mark.parametrize("method", ["ellipse", "hd"])
def test_moving_face_by_opencv(benchmark: Any, method: str) -> None:
    size = SIZES[1]
    frames = [pictures.face_like(*FRAME, seed=i) for i in range(BATCH)]
    mouths, boxes = pictures.batch(*mouths_of()).numpy(), boxes_in_frames(size)
    group = f"blend {method}, a face of {size[1]} x {size[0]} moving in {FRAME[1]} x {FRAME[0]}"
    paste = partial(paste_one_by_one, frames, mouths, method, boxes)
    measure(benchmark, paste, frames=BATCH, group=group, reference=True)


@pytest.mark.parametrize("tilted", [True, False], ids=["tilted", "upright"])
@pytest.mark.parametrize("device", DEVICES)
def test_tilted_face(benchmark: Any, device: str, tilted: bool) -> None:
    """Crop and paste of a head that is turned upright for it, beside those of one that is."""
    size = SIZES[1]
    frames = on_device([pictures.face_like(*FRAME, seed=i) for i in range(BATCH)], device)
    mouths, config = pictures.batch(*mouths_of(), device=device), BlendConfig()
    boxes = torch.tensor(boxes_in_frames(size))
    tilts = torch.arange(BATCH, dtype=torch.float64) + 20 if tilted else None

    def run() -> object:
        return crop_faces(frames, boxes, tilts=tilts), paste_faces(frames, mouths, boxes, config, tilts=tilts)

    group = f"crop and blend ellipse, a tilted face of {size[1]} x {size[0]}, {device}"
    measure(benchmark, run, frames=BATCH, group=group, device=device, reference=not tilted)


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("device", DEVICES)
def test_crop(benchmark: Any, device: str, size: tuple[int, int]) -> None:
    frames = on_device([pictures.face_like(*FRAME)] * BATCH, device)
    boxes = torch.tensor(boxes_in_frames(size))
    group = f"crop {size[1]} x {size[0]} to 96 x 96 float"
    measure(benchmark, lambda: crop_faces(frames, boxes), frames=BATCH, group=group, device=device)


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[1]}x{size[0]}")
def test_crop_by_opencv(benchmark: Any, size: tuple[int, int]) -> None:
    frame, boxes = pictures.face_like(*FRAME), boxes_in_frames(size)

    def run() -> object:
        crops = [frame[y1:y2, x1:x2] for x1, y1, x2, y2 in boxes]
        if max(size) > 192:
            within = (min(size[1], 192), min(size[0], 192))
            crops = [cv2.resize(crop, within, interpolation=cv2.INTER_AREA) for crop in crops]
        crops = [cv2.resize(crop, (96, 96)) for crop in crops]
        return np.stack(crops).astype(np.float32) / 255

    group = f"crop {size[1]} x {size[0]} to 96 x 96 float"
    measure(benchmark, run, frames=BATCH, group=group, reference=True)

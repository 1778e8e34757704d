"""Frames made smaller, turned and cut, on pictures whose sides differ: beside OpenCV."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.video import open_video
from tests.clips import write_clip


def corners(index: int, height: int, width: int) -> np.ndarray:
    """Each corner of another colour, one of them with stripes."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (200, 40, 40)
    picture[: height // 2, width // 2 :] = (40, 200, 40)
    picture[height // 2 :, : width // 2] = (40, 40, 200)
    picture[height // 2 :, width // 2 :: 8] = 220
    return picture


def edited(picture: np.ndarray, config: FrameConfig) -> np.ndarray:
    factor, (top, bottom, left, right) = config.resize_factor, config.crop
    if factor > 1:
        size = picture.shape[1] // factor, picture.shape[0] // factor
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    if config.rotate:
        picture = cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE)
    return picture[top : bottom if bottom >= 0 else None, left : right if right >= 0 else None]


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
@pytest.mark.parametrize(
    "config",
    [
        {"resize_factor": 2},
        {"resize_factor": 3},
        {"rotate": True},
        {"crop": (10, 100, 20, 170)},
        {"resize_factor": 2, "rotate": True, "crop": (8, 90, 4, 60)},
    ],
)
def test_frames_are_made_smaller_then_turned_then_cut(tmp_path: Path, config: dict[str, object], decoder: str) -> None:
    path = write_clip(tmp_path / "a.mp4", n_frames=3, size=(144, 192), picture=corners)
    frame_config = FrameConfig(decoder=decoder, **config)  # type: ignore[arg-type]
    with open_video(path, FrameConfig(decoder="pyav")) as video:
        plain = torch.cat([frames for _, frames in video.batches(range(3), 2)])
    with open_video(path, frame_config) as video:
        frames = torch.cat([frames for _, frames in video.batches(range(3), 2)])
    expected = [edited(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()), frame_config) for frame in plain]
    assert video.size == expected[0].shape[:2]
    difference = np.abs(frames.permute(0, 2, 3, 1).numpy().astype(int) - np.stack(expected).astype(int))
    # Smaller by a triangle, where OpenCV's area has a box: softer along the edges between the corners, which are a
    # twentieth of the pixels; a corner in another's place is 80 levels in the mean.
    assert difference.mean(axis=(1, 2, 3)).max() < 8
    assert np.median(difference) <= 2

"""Pictures for tests: seeded, with the flat parts, edges and texture that a face has; and the sample's, in planes."""

import av
import cv2
import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.places import FACE


def face_like(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """8-bit RGB (height, width, 3): smooth shading, dark features with edges, skin-like noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    shade = 0.55 + 0.25 * np.cos(2.2 * (x - 0.4)) * np.cos(2.0 * (y - 0.45))
    image = shade[..., None] * np.array([1.05, 0.8, 0.68]) * 255
    image = np.ascontiguousarray(image.astype(np.float32))
    for cx, cy, a, b, level in ((0.3, 0.35, 0.09, 0.04, 30), (0.7, 0.35, 0.09, 0.04, 35), (0.5, 0.72, 0.18, 0.06, 90)):
        centre = (int(cx * width), int(cy * height))
        axes = (max(1, int(a * width)), max(1, int(b * height)))
        cv2.ellipse(image, centre, axes, 0, 0, 360, (level * 1.6, level * 0.7, level * 0.8), -1, cv2.LINE_AA)
    fine = rng.normal(0, 3, image.shape)
    coarse = cv2.resize(rng.normal(0, 9, (height // 8 + 2, width // 8 + 2, 3)), (width, height))
    return np.clip(image + fine + coarse, 0, 255).round().astype(np.uint8)


def portrait(height: int, width: int) -> NDArray[np.uint8]:
    """The face of Eileen Collins (NASA, public domain), about 120 x 100 pixels in the photograph, at any size."""
    face = np.ascontiguousarray(skimage.data.astronaut()[70:190, 170:270])
    how = cv2.INTER_AREA if height < face.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(face, (width, height), interpolation=how)


def batch(*images: NDArray[np.uint8], device: str = "cpu") -> Tensor:
    """8-bit (H, W, C) or (H, W) pictures to float32 (B, C, H, W) in [0, 1]."""
    stacked = np.stack([image if image.ndim == 3 else image[..., None] for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous().to(device).float() / 255


def levels(image: Tensor) -> NDArray[np.float32]:
    """The first picture of a batch as (H, W, C), or (H, W) for one channel, in levels (0..255), not rounded."""
    picture = image[0].permute(1, 2, 0).cpu().numpy() * 255
    return picture[..., 0] if picture.shape[2] == 1 else picture


def differences(image: Tensor, expected: NDArray[np.uint8]) -> tuple[float, float]:
    """Largest and mean difference in levels, after the rounding that an 8-bit picture gets anyway."""
    difference = np.abs(levels(image).round().clip(0, 255) - expected.astype(np.float32))
    return float(difference.max()), float(difference.mean())


def sample_planes(n: int, side: int = 590) -> Tensor:
    """(n, side * 3 // 2, side) uint8: the sample's first frames, 4:2:0; 590 is a size whose chroma has odd sides."""
    with av.open(str(FACE)) as container:
        frames = [frame for frame, _ in zip(container.decode(video=0), range(n), strict=False)]
    planes = [frame.reformat(width=side, height=side, format="yuv420p").to_ndarray() for frame in frames]
    return torch.from_numpy(np.stack(planes))

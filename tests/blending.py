"""Faces, mouths and flags that the tests of blending share."""

import cv2
import numpy as np
from torch import Tensor

from gpu_lipsync.blend_kernels import BlendConfig, blend_mouths
from tests import pictures

FLAGS = [(0.6, 51), (0.4, 51), (0.3, 15), (0.8, 31), (0.95, 3), (1.0, 1), (0.1, 201)]  # region, feather
SMALL = [(48, 48), (57, 71), (64, 56), (80, 64), (90, 76)]  # where octaves are few, so that one is much


def face_and_mouth(height: int, width: int, shift: int = 0, tint: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A face, and a generator's view of it: 96 x 96, its mouth moved by `shift` pixels, its colour off by `tint`."""
    face = pictures.face_like(height, width)
    mouth = cv2.resize(np.roll(face, shift, axis=0), (96, 96), interpolation=cv2.INTER_LINEAR)
    return face, (mouth * (1.0 + tint)).clip(0, 255).round().astype(np.uint8)


def blend(face: np.ndarray, mouth: np.ndarray, device: str = "cpu", **settings: object) -> Tensor:
    config = BlendConfig(**settings)  # type: ignore[arg-type]
    return blend_mouths(pictures.batch(face, device=device), pictures.batch(mouth, device=device), config)


def laplacian(image: np.ndarray) -> np.ndarray:
    return cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F)

"""The predecessor's way: one frame at a time in OpenCV and NumPy, 8 bits between steps, its mask drawn each time."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]

REGION, FEATHER, SHARPEN = 0.6, 51, 0.7


def mask(height: int, width: int) -> Plane:
    """(height, width, 1)."""
    drawn = np.zeros((height, width), np.float32)
    axes = (int(width * REGION / 2), int(height * 0.35 * REGION))
    cv2.ellipse(drawn, (width // 2, int(height * 0.65)), axes, 0, 0, 360, 1.0, -1)
    return cv2.GaussianBlur(drawn, (FEATHER, FEATHER), FEATHER // 3)[..., None]


def patch(face: Image, mouth: Image) -> Image:
    return cv2.resize(mouth, (face.shape[1], face.shape[0]), interpolation=cv2.INTER_CUBIC)


def mix(face: Image, other: Image, weight: Plane) -> Image:
    mixed = other.astype(np.float32) * weight + face.astype(np.float32) * (1 - weight)
    return mixed.astype(np.uint8)


def original(face: Image, mouth: Image) -> Image:
    return patch(face, mouth)


def ellipse(face: Image, mouth: Image) -> Image:
    return mix(face, patch(face, mouth), mask(*face.shape[:2]))


def edge_aware(face: Image, mouth: Image) -> Image:
    weight = mask(*face.shape[:2])
    blended = mix(face, patch(face, mouth), weight)
    share = (np.minimum(weight - 0.05, 0.95 - weight) / 0.45).clip(0, 1)
    return mix(blended, cv2.bilateralFilter(blended, 9, 75, 75), share)


def multiscale(face: Image, mouth: Image) -> Image:
    """The pyramid blend, done right: the predecessor's own loses the detail."""
    weight = mask(*face.shape[:2])[..., 0]
    ours, theirs = face.astype(np.float32), patch(face, mouth).astype(np.float32)
    bands = []
    for _ in range(int(np.log2(min(face.shape[:2]) / 8))):
        small_ours, small_theirs = cv2.pyrDown(ours), cv2.pyrDown(theirs)
        size = (ours.shape[1], ours.shape[0])
        band_ours = ours - cv2.pyrUp(small_ours, dstsize=size)
        band_theirs = theirs - cv2.pyrUp(small_theirs, dstsize=size)
        bands.append(weight[..., None] * band_theirs + (1 - weight[..., None]) * band_ours)
        ours, theirs, weight = small_ours, small_theirs, cv2.pyrDown(weight)
    total = weight[..., None] * theirs + (1 - weight[..., None]) * ours
    for band in reversed(bands):
        total = cv2.pyrUp(total, dstsize=(band.shape[1], band.shape[0])) + band
    return total.clip(0, 255).astype(np.uint8)


def guided_filter(guide: Image, image: Image, radius: int, eps: float) -> Image:
    """He's filter in box blurs, float32 in [0, 1]: the one in OpenCV's contributed modules is not in its wheels."""
    window = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_image = cv2.blur(guide, window), cv2.blur(image, window)
    slope = (cv2.blur(guide * image, window) - mean_guide * mean_image) / (
        cv2.blur(guide * guide, window) - mean_guide * mean_guide + eps
    )
    return cv2.blur(slope, window) * guide + cv2.blur(mean_image - slope * mean_guide, window)


def guided(face: Image, mouth: Image) -> Image:
    guide = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    refined = guided_filter(guide, mask(*face.shape[:2])[..., 0], 20, 0.01)
    return mix(face, patch(face, mouth), refined.clip(0, 1)[..., None])


def unsharp(image: Image, amount: float, sigma: float, kernel_size: int = 0) -> Image:
    blurred = cv2.GaussianBlur(image, (kernel_size, kernel_size), sigma)
    return cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)


def hd(face: Image, mouth: Image) -> Image:
    enhanced = cv2.resize(mouth, (192, 192), interpolation=cv2.INTER_CUBIC)
    edges = cv2.Canny(cv2.cvtColor(enhanced, cv2.COLOR_RGB2GRAY), 30, 100)
    edges = cv2.cvtColor(cv2.GaussianBlur(edges, (3, 3), 1), cv2.COLOR_GRAY2RGB)
    enhanced = cv2.addWeighted(enhanced, 1, edges, 30 / 255, 0)
    enhanced = cv2.bilateralFilter(enhanced, 5, 50, 50)
    enhanced = cv2.resize(enhanced, (face.shape[1], face.shape[0]), interpolation=cv2.INTER_LANCZOS4)
    enhanced = unsharp(unsharp(enhanced, 0.5, 1), SHARPEN, 0.5, 3)
    lab = cv2.cvtColor(enhanced, cv2.COLOR_RGB2Lab)
    lab[..., 0] = cv2.createCLAHE(2.0, (4, 4)).apply(np.ascontiguousarray(lab[..., 0]))
    enhanced = cv2.addWeighted(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB), 0.85, face, 0.15, 0)
    return mix(face, enhanced, mask(*face.shape[:2]))


LOOPS: dict[str, Callable[[Image, Image], Image]] = {
    "original": original,
    "ellipse": ellipse,
    "edge_aware": edge_aware,
    "multiscale": multiscale,
    "guided": guided,
    "hd": hd,
}


def paste_one_by_one(
    frames: list[Image], mouths: NDArray[np.float32], method: str, boxes: list[list[int]] | None = None
) -> list[Image]:
    """The predecessor's loop, from what the generator makes, (B, 3, 96, 96) in [0, 1], to new frames.

    Faces are in `boxes`, x1 y1 x2 y2; by default the frames are crops, each all face.
    """
    pasted = []
    for i, mouth in enumerate(mouths.transpose(0, 2, 3, 1) * 255):
        frame = frames[i].copy()
        x1, y1, x2, y2 = boxes[i] if boxes is not None else (0, 0, *frame.shape[1::-1])
        frame[y1:y2, x1:x2] = LOOPS[method](frame[y1:y2, x1:x2], mouth.astype(np.uint8))
        pasted.append(frame)
    return pasted

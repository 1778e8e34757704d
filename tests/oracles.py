"""What OpenCV makes of the same picture: 8-bit RGB (H, W, 3) in and out, every default spelled out."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]

INTERPOLATION = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "lanczos4": cv2.INTER_LANCZOS4}


def resize(image: Image, size: tuple[int, int], mode: str) -> Image:
    return cv2.resize(image, (size[1], size[0]), interpolation=INTERPOLATION[mode])


def gaussian_blur(image: Image, kernel_size: int, sigma: float) -> Image:
    return cv2.GaussianBlur(image, (kernel_size, kernel_size), sigma, borderType=cv2.BORDER_REFLECT_101)


def box_blur(image: Image, kernel_size: int) -> Image:
    return cv2.blur(image, (kernel_size, kernel_size), borderType=cv2.BORDER_REFLECT_101)


def unsharp_mask(image: Image, amount: float, sigma: float, kernel_size: int = 0) -> Image:
    return cv2.addWeighted(image, 1.0 + amount, gaussian_blur(image, kernel_size, sigma), -amount, 0.0)


def bilateral_filter(image: Image, diameter: int, sigma_color: float, sigma_space: float) -> Image:
    return cv2.bilateralFilter(image, diameter, sigma_color, sigma_space, borderType=cv2.BORDER_REFLECT_101)


def guided_filter(guide: Plane, image: Plane, radius: int, eps: float) -> Plane:
    """He, Sun and Tang's algorithm 1; OpenCV has it in its contributed modules only."""

    def mean(x: Plane) -> Plane:
        window = (2 * radius + 1, 2 * radius + 1)
        return cv2.blur(x.astype(np.float64), window, borderType=cv2.BORDER_REFLECT_101)

    slope = (mean(guide * image) - mean(guide) * mean(image)) / (mean(guide * guide) - mean(guide) ** 2 + eps)
    return (mean(slope) * guide + mean(mean(image) - slope * mean(guide))).astype(np.float32)


def clahe(plane: Image, clip_limit: float, grid: tuple[int, int]) -> Image:
    return cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(grid[1], grid[0])).apply(plane)


def canny(plane: Image, low: float, high: float) -> Image:
    return cv2.Canny(plane, low, high, apertureSize=3, L2gradient=False)


def rgb_to_lab(image: Plane) -> Plane:
    return cv2.cvtColor(image, cv2.COLOR_RGB2Lab)


def lab_to_rgb(lab: Plane) -> Plane:
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


def elliptical_mask(height: int, width: int, region: float, feather: int) -> Plane:
    """The predecessor's mask: no care taken for small crops."""
    mask = np.zeros((height, width), np.float32)
    axes = (int(width * region / 2), int(height * 0.35 * region))
    cv2.ellipse(mask, (width // 2, int(height * 0.65)), axes, 0, 0, 360, 1.0, -1)
    return gaussian_blur(mask, feather, feather // 3)

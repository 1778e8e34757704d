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


def grey(image: Image) -> Image:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def rgb_to_lab(image: Plane) -> Plane:
    return cv2.cvtColor(image, cv2.COLOR_RGB2Lab)


def lab_to_rgb(lab: Plane) -> Plane:
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


def ellipse(height: int, width: int, center: tuple[int, int], axes: tuple[int, int]) -> NDArray[np.bool_]:
    return cv2.ellipse(np.zeros((height, width), np.uint8), center, axes, 0, 0, 360, 1, -1).astype(bool)


def elliptical_mask(height: int, width: int, region: float, feather: int) -> Plane:
    """The predecessor's mask: no care taken for small crops."""
    axes = (int(width * region / 2), int(height * 0.35 * region))
    return feathered(ellipse(height, width, (width // 2, int(height * 0.65)), axes), feather)


def feathered(inside: NDArray[np.bool_], feather: int) -> Plane:
    return gaussian_blur(inside.astype(np.float32), feather, feather // 3)


def pyramid_down(image: Plane) -> Plane:
    return cv2.pyrDown(image, borderType=cv2.BORDER_REFLECT_101)


def pyramid_up(image: Plane, size: tuple[int, int]) -> Plane:
    return cv2.pyrUp(image, dstsize=(size[1], size[0]))


def mouth_patch(mouth: Image, height: int, width: int, sharpen: float | None) -> Image:
    """The formula in float32, rounded once: in 8 bits, sharpening amplifies the rounding of the blur."""
    patch = resize(mouth.astype(np.float32), (height, width), "bicubic").clip(0, 255)
    if sharpen is not None:
        patch = patch + sharpen * (patch - gaussian_blur(patch, 13, 2.0))
    return patch.round().clip(0, 255).astype(np.uint8)


def under_mask(face: Image, patch: Image, mask: Plane) -> Image:
    weight = mask[..., None]
    return (weight * patch + (1.0 - weight) * face).round().clip(0, 255).astype(np.uint8)


def edge_aware(face: Image, patch: Image, mask: Plane) -> Image:
    blended = under_mask(face, patch, mask)
    share = (np.minimum(mask - 0.05, 0.95 - mask) / 0.45).clip(0, 1)
    return under_mask(blended, bilateral_filter(blended, 9, 75, 75), share)


def local_contrast(light: Image, mask: Plane) -> Plane:
    """What CLAHE makes of the lightness (H, W) where the mask is, without what it changes over more than an eighth."""
    (top, *_, bottom), (left, *_, right) = (np.flatnonzero(mask.max(axis=axis)) for axis in (1, 0))
    part = slice(top, bottom + 1), slice(left, right + 1)
    added = clahe(light, 2.0, (4, 4)).astype(np.float32) - light
    reach = min(round(0.12 * min(light.shape)), min(added[part].shape) - 1)
    added[part] -= cv2.GaussianBlur(added[part], (2 * reach + 1, 2 * reach + 1), 0)
    return (light + added).clip(0, 255)


def hd_patch(mouth: Image, mask: Plane, amount: float) -> Image:
    """Steps 1 to 6 of the enhancement, each rounded to 8 bits as the predecessor did."""
    height, width = mask.shape
    patch = resize(mouth, (192, 192), "bicubic")
    edges = gaussian_blur(canny(grey(patch), 30, 100), 3, 1.0)
    patch = cv2.addWeighted(patch, 1.0, np.repeat(edges[..., None], 3, axis=2), 30 / 255, 0.0)
    patch = resize(bilateral_filter(patch, 5, 50, 50), (height, width), "lanczos4")
    patch = unsharp_mask(patch, 0.5, 1.0)
    patch = unsharp_mask(patch, amount, 0.5, 3)
    lab = cv2.cvtColor(patch, cv2.COLOR_RGB2Lab)
    lab[..., 0] = local_contrast(np.ascontiguousarray(lab[..., 0]), mask).round()
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


def hd_patch_unrounded(mouth: Image, mask: Plane, amount: float) -> Plane:
    """The same six steps in float32; 8 bits only where OpenCV has nothing else, in Canny and CLAHE. In levels."""
    height, width = mask.shape
    patch = resize(mouth.astype(np.float32) / 255, (192, 192), "bicubic").clip(0, 1)
    edges = canny((grey(patch) * 255).round().astype(np.uint8), 30, 100).astype(np.float32) / 255
    patch = (patch + gaussian_blur(edges, 3, 1.0)[..., None] * (30 / 255)).clip(0, 1).astype(np.float32)
    patch = resize(bilateral_filter(patch, 5, 50 / 255, 50), (height, width), "lanczos4")
    patch = unsharp_mask(patch, 0.5, 1.0, 7)
    patch = unsharp_mask(patch, amount, 0.5, 3).clip(0, 1)
    lab = rgb_to_lab(patch)
    lab[..., 0] = local_contrast((lab[..., 0] * 2.55).round().astype(np.uint8), mask) / 2.55
    return lab_to_rgb(lab) * 255


def hd(face: Image, mouth: Image, mask: Plane, amount: float, *, rounded: bool = True) -> Image:
    """All seven steps, then the ellipse; with `rounded` in 8 bits from step to step, else rounded once, at the end."""
    if rounded:
        enhanced = cv2.addWeighted(hd_patch(mouth, mask, amount), 0.85, face, 0.15, 0.0)
    else:
        enhanced = 0.85 * hd_patch_unrounded(mouth, mask, amount) + 0.15 * face
    return under_mask(face, enhanced, mask)


def with_detail(face: Image, mouth: Image, source: Image, seen: Plane) -> Plane:
    """The patch under which the face's detail is kept, unrounded; `seen` is 1 where the mouth of 96 x 96 is made."""
    difference = (mouth.astype(np.float32) - source) * seen[..., None]
    change = gaussian_blur(difference, 7, 1.0)
    changed = gaussian_blur(cv2.dilate(np.abs(change).max(axis=2), np.ones((3, 3))), 7, 1.0)
    kept = np.exp(-((changed / 12) ** 2))
    enlarged = [
        resize(np.ascontiguousarray(part), face.shape[:2], "bicubic")
        for part in ((1 - kept[..., None]) * mouth + kept[..., None] * change, kept)
    ]
    return (enlarged[0] + enlarged[1][..., None] * face).clip(0, 255)

"""Resizing and sharpening as one linear operation: no pass over the enlarged picture but the last."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.ops.checks import check_odd, check_range
from gpu_lipsync.ops.matrices import Axis, filter_axes, gaussian_taps
from gpu_lipsync.ops.resize import check_resize

Passes = tuple[tuple[float, float, int], ...]
Taps = tuple[float, ...]
ERROR = 1 / 512  # of the whole range: what the products that are left out may change at most, half a level


def resize_sharpened(image: Tensor, size: tuple[int, int], passes: Passes) -> Tensor:
    """Resize by Lanczos-4, then sharpen by one unsharp mask after the other.

    Each unsharp mask is a difference of separable filters, and so is any sequence of them; as the sum of two to three
    products of matrices with the resizing folded in, it costs about as much as two to three resizings.

    Args:
        image: (B, C, H, W) float32 in [0, 1].
        size: height and width of the result, pixels.
        passes: amount, sigma and kernel size in pixels of each unsharp mask, as for `unsharp_mask`, but that the
            kernel size has to be stated.

    Returns:
        (B, C, *size). Not clamped, and not clamped between the steps.

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D, or a size, an amount, a sigma or a kernel size is out of range.

    Reference: `resize(image, size, mode="lanczos4")`, then `unsharp_mask` for each pass; within 1/255 where none of
    these leaves [0, 1].
    """
    check_resize(image, size, "lanczos4")
    for amount, sigma, kernel_size in passes:
        check_range(amount, 0, 10, name="amount")
        check_range(sigma, 1e-6, 1000, name="sigma")
        check_odd(kernel_size, 99, name="kernel_size")
    total = None
    for down, across in _products(passes):
        rows = Axis("lanczos4", image.shape[2], size[0], taps=down)
        cols = Axis("lanczos4", image.shape[3], size[1], taps=across)
        part = filter_axes(image, rows, cols)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


@lru_cache(maxsize=16)
def _products(passes: Passes) -> tuple[tuple[Taps, Taps], ...]:
    """Separable filters, (down, across) each, whose sum is the passes one after the other; the weightiest first.

    The kernel is symmetric: its eigenvectors are the filters, its eigenvalues their weights.
    """
    kernel = np.ones((1, 1))
    for amount, sigma, kernel_size in passes:
        kernel = _convolved(kernel, _unsharp_kernel(amount, sigma, kernel_size))
    weights, filters = np.linalg.eigh(kernel)
    order = np.argsort(-np.abs(weights))
    products, rest = [], kernel
    for weight, taps in zip(weights[order], filters.T[order], strict=True):
        products.append((tuple((weight * taps).tolist()), tuple(taps.tolist())))
        rest = rest - weight * np.outer(taps, taps)
        if np.abs(rest).sum() <= ERROR:
            break
    return tuple(products)


def _unsharp_kernel(amount: float, sigma: float, kernel_size: int) -> NDArray[np.float64]:
    taps = gaussian_taps(kernel_size, sigma)
    kernel = -amount * np.outer(taps, taps)
    kernel[kernel_size // 2, kernel_size // 2] += 1.0 + amount
    return kernel


def _convolved(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Full two-dimensional convolution of two small square kernels."""
    size = len(first) + len(second) - 1
    out = np.zeros((size, size))
    for (y, x), weight in np.ndenumerate(first):
        out[y : y + len(second), x : x + len(second)] += weight * second
    return out

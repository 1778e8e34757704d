"""Separable filters as pairs of matrices: out = rows @ image @ cols^T.

Resizing and blurring are linear along each axis. Written as a matrix, a filter carries its border rule with it, two
filters in a row are one product, and any window of the result costs only that window.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.ops.constants import is_cpu, remembered, upload

Matrix = NDArray[np.float32]
CPU_CACHED_VALUES = 1 << 17  # of a filter's result: half a megabyte of float32, which stays in a core's cache
CPU_LEAST, CPU_BLOCK, GPU_BLOCK = 8, 64, 512  # output pixels made by one product
CPU_INTERLEAVED_BLOCK = 32  # of those whose colours lie side by side
_PYRAMID = np.array([1, 4, 6, 4, 1]) / 16


# What OpenCV takes for a Gaussian of unstated width, in 256ths.
_BINOMIAL = {
    1: (256,),
    3: (64, 128, 64),
    5: (16, 64, 96, 64, 16),
    7: (8, 28, 56, 72, 56, 28, 8),
    9: (4, 13, 30, 51, 60, 51, 30, 13, 4),
}


def gaussian_taps(kernel_size: int, sigma: float) -> NDArray[np.float64]:
    """(kernel_size,) weights that sum to 1; as cv2.getGaussianKernel, its rules for sigma <= 0 included."""
    if sigma <= 0 and kernel_size in _BINOMIAL:
        return np.array(_BINOMIAL[kernel_size]) / 256
    if sigma <= 0:
        sigma = 0.3 * ((kernel_size - 1) * 0.5 - 1) + 0.8
    x = np.arange(kernel_size) - (kernel_size - 1) / 2
    taps = np.exp(-(x**2) / (2 * sigma**2))
    return taps / taps.sum()


def reflected(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Pixel that a position outside 0..size-1 stands for; OpenCV's default border (dcb|abcd|cba)."""
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.minimum(index, 2 * size - 2 - index)


def blur_rows(size: int, kernel_size: int, sigma: float, positions: tuple[int, ...]) -> Matrix:
    """(len(positions), size): Gaussian blur along one axis, borders reflected, of the pixels at `positions` alone."""
    at, n = np.array(positions)[:, None], len(positions)
    columns = reflected(at + np.arange(kernel_size) - kernel_size // 2, size)
    cells = (np.arange(n)[:, None] * size + columns).ravel()
    weights = np.tile(gaussian_taps(kernel_size, sigma), n)
    return np.bincount(cells, weights, minlength=n * size).reshape(n, size).astype(np.float32)


def _linear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x, a = np.abs(x), -0.75  # as OpenCV and PyTorch have it
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _lanczos4(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 4, np.sinc(x) * np.sinc(x / 4), 0.0)


KERNELS: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], int]] = {
    "bilinear": (_linear, 1),
    "bicubic": (_cubic, 2),
    "lanczos4": (_lanczos4, 4),
}


@dataclass(frozen=True)
class Axis:
    """A linear filter along one axis: what kind, from how many pixels to how many, a box's width, and the taps of a
    symmetric filter that is applied to the result, borders reflected.
    """

    kind: Literal["bilinear", "bicubic", "lanczos4", "box", "pyramid_down", "pyramid_up"]
    size_in: int
    size_out: int
    width: int = 1
    taps: tuple[float, ...] = ()


@lru_cache(maxsize=32)
def axis_matrix(axis: Axis) -> Matrix:
    """(size_out, size_in): each output pixel's weights."""
    if axis.kind == "box":
        columns = reflected(np.arange(axis.size_in)[:, None] + np.arange(axis.width) - axis.width // 2, axis.size_in)
        weights = np.full(columns.shape, 1 / axis.width)
    elif axis.kind == "pyramid_down":
        columns = reflected(2 * np.arange(axis.size_out)[:, None] + np.arange(-2, 3), axis.size_in)
        weights = np.broadcast_to(_PYRAMID, columns.shape)
    elif axis.kind == "pyramid_up":
        # Every other pixel of the fine grid is an old one, the rest are 0; then the blur, twice as strong.
        fine = reflected(np.arange(axis.size_out)[:, None] + np.arange(-2, 3), axis.size_out)
        columns, weights = fine // 2, np.where(fine % 2 == 0, 2 * _PYRAMID, 0.0)
    else:
        taps, weights = _resampling(axis)
        columns = taps.clip(0, axis.size_in - 1)
    matrix = np.zeros((axis.size_out, axis.size_in))
    np.add.at(matrix, (np.arange(axis.size_out)[:, None], columns), weights)
    if axis.taps:
        after = reflected(
            np.arange(axis.size_out)[:, None] + np.arange(len(axis.taps)) - len(axis.taps) // 2, axis.size_out
        )
        matrix = np.einsum("k,okn->on", np.array(axis.taps), matrix[after])
    return matrix.astype(np.float32)


def _resampling(axis: Axis) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Taps and weights: pixel centres aligned, no antialias."""
    kernel, reach = KERNELS[axis.kind]
    position = (np.arange(axis.size_out) + 0.5) * (axis.size_in / axis.size_out) - 0.5
    taps = np.floor(position).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
    weights = kernel(position[:, None] - taps)
    return taps, weights / weights.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Finish:
    """What becomes of a filter's result, and of what type it then is."""

    apply: Callable[[Tensor], Tensor]
    dtype: torch.dtype


@dataclass(frozen=True)
class Block:
    """An axis's output pixels first to last, made from the input pixels start to stop by `matrix`; ends exclusive."""

    first: int  # counted from the span's beginning
    last: int
    start: int
    stop: int
    matrix: Tensor


@remembered(512)
def _blocks(
    axis: Axis, span: tuple[int, int], transposed: bool, height: int, device: torch.device
) -> tuple[Block, ...]:
    """The matrices that make the output pixels `span` of an axis, `height` by each, in order.

    A filter's matrix is a band. It is cut along it, which leaves out most of the zeros: finely on a CPU, coarsely on a
    GPU, which multiplies zeros faster than it starts another operation.
    """
    matrix = axis_matrix(axis)[slice(*span)]
    blocks = []
    for first in range(0, len(matrix), height):
        part = matrix[first : first + height]
        used = np.flatnonzero(part.any(axis=0))
        start, stop = int(used[0]), int(used[-1]) + 1
        band = part[:, start:stop].T if transposed else part[:, start:stop]
        held = upload(torch.tensor(np.ascontiguousarray(band)), device)
        blocks.append(Block(first, first + len(part), start, stop, held))
    return tuple(blocks)


@remembered(128)
def _interleaved_blocks(axis: Axis, span: tuple[int, int], channels: int, device: torch.device) -> tuple[Block, ...]:
    """`_blocks`, transposed, for interleaved pixels: each input and output pixel is `channels` numbers side by side."""
    each = torch.eye(channels, dtype=torch.float32, device=device)
    return tuple(
        Block(
            first=block.first * channels,
            last=block.last * channels,
            start=block.start * channels,
            stop=block.stop * channels,
            # torch.kron, which fails on some matrices of one column
            matrix=(block.matrix[:, None, :, None] * each[:, None, :]).flatten(2).flatten(0, 1),
        )
        for block in _blocks(axis, span, True, CPU_INTERLEAVED_BLOCK, device)
    )


def filter_axes(
    image: Tensor,
    rows: Axis,
    cols: Axis,
    window: Window | None = None,
    *,
    interleave: bool = False,
    finish: Finish | None = None,
) -> Tensor:
    """Filter along the columns, then along the rows, and keep `window` (y1 y2 x1 x2) of the result.

    With `interleave` the result's colours lie side by side in memory. Where the picture grows that is cheap: it is
    brought about before the last step, on few rows. `finish` is applied to the result block by block: while a CPU
    still has it in its cache.
    """
    y1, y2, x1, x2 = window or Window(0, rows.size_out, 0, cols.size_out)
    batch, channels, height, width = image.shape
    across = down = CPU_BLOCK if is_cpu(image) else GPU_BLOCK
    if interleave and is_cpu(image):
        # A CPU is slow at rearranging, and here there is least of it; products three times as large cost less.
        lines = image.permute(0, 2, 3, 1).reshape(batch * height, width * channels)
        wide = _along_lines(lines, _interleaved_blocks(cols, (x1, x2), channels, image.device))
        planes = wide.view(batch, height, -1)
    else:
        lines = image.reshape(batch * channels * height, width)
        wide = _along_lines(lines, _blocks(cols, (x1, x2), True, across, image.device))
        planes = wide.view(batch * channels, height, -1)
        if interleave:
            planes = wide.view(batch, channels, height, -1).permute(0, 2, 3, 1).reshape(batch, height, -1)
    out = planes.new_empty(len(planes), y2 - y1, planes.shape[2], dtype=None if finish is None else finish.dtype)
    if finish is not None and is_cpu(image):
        down = max(CPU_LEAST, min(CPU_BLOCK, CPU_CACHED_VALUES // out[:, 0].numel()))
    for block in _blocks(rows, (y1, y2), False, down, image.device):
        matrix, source = block.matrix.expand(len(planes), -1, -1), planes[:, block.start : block.stop]
        target = out[:, block.first : block.last]
        if finish is None:
            torch.bmm(matrix, source, out=target)
        else:
            target.copy_(finish.apply(torch.bmm(matrix, source)))
    if interleave:
        return out.view(batch, y2 - y1, x2 - x1, channels).permute(0, 3, 1, 2)
    return out.view(batch, channels, y2 - y1, x2 - x1)


def _along_lines(lines: Tensor, blocks: tuple[Block, ...]) -> Tensor:
    """Filter each of (n, size in) by itself: (n, size out)."""
    out = lines.new_empty(len(lines), blocks[-1].last)
    for block in blocks:
        torch.mm(lines[:, block.start : block.stop], block.matrix, out=out[:, block.first : block.last])
    return out

"""Gaussian and Laplacian pyramids (Burt and Adelson): each level half the size of the one below."""

from torch import Tensor, cat, stack

from gpu_lipsync.ops.blur import reflect_pad
from gpu_lipsync.ops.checks import check_image


def pyramid_down(image: Tensor) -> Tensor:
    """Blur (1 4 6 4 1) and drop every other pixel.

    Args:
        image: (B, C, H, W) float, H and W at least 3.

    Returns:
        (B, C, ceil(H / 2), ceil(W / 2)).

    Raises:
        ValueError: `image` is not 4-D or too small.

    Reference: cv2.pyrDown; within 1/255.
    """
    check_image(image)
    return _halve(_halve(image, 3), 2)


def pyramid_up(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `pyramid_down`, as far as a smooth interpolation can.

    Args:
        image: (B, C, h, w) float.
        size: (height, width) of the level below; half of it, rounded up, is (h, w).

    Returns:
        (B, C, *size).

    Raises:
        ValueError: `image` is not 4-D or not half of `size`.

    Reference: cv2.pyrUp with dstsize; within 1/255.
    """
    check_image(image)
    if (-(-size[0] // 2), -(-size[1] // 2)) != tuple(image.shape[2:]) or min(size) < 3:
        raise ValueError(f"size must be twice the image's, at most one less, got {size} for {tuple(image.shape)}")
    return _double(_double(image, size[0], 2), size[1], 3)


def _halve(image: Tensor, dim: int) -> Tensor:
    size = image.shape[dim]
    padded = reflect_pad(image, 2, dim)
    every_other = (..., slice(None, None, 2)) if dim == 3 else (..., slice(None, None, 2), slice(None))

    def tap(i: int) -> Tensor:
        return padded.narrow(dim, i, size)[every_other]

    return (tap(0) + tap(4)).add_(tap(1) + tap(3), alpha=4).add_(tap(2), alpha=6).mul_(1 / 16)


def _double(image: Tensor, size: int, dim: int) -> Tensor:
    """Interpolate along `dim`: old pixels 1 6 1, new ones 4 4."""
    n = image.shape[dim]
    # Mirrored about the fine grid's last pixel, which is an old one only if `size` is odd.
    before, last = image.narrow(dim, 1, 1), image.narrow(dim, n - 1 - size % 2, 1)
    padded = cat([before, image, last], dim)
    old = padded.narrow(dim, 0, n).add(padded.narrow(dim, 2, n)).add_(image, alpha=6).mul_(1 / 8)
    new = image.add(padded.narrow(dim, 2, n)).mul_(1 / 2)
    return stack([old, new], dim + 1).flatten(dim, dim + 1).narrow(dim, 0, size)

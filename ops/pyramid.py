"""Gaussian and Laplacian pyramids (Burt and Adelson): each level half the size of the one below."""

from torch import Tensor

from gpu_lipsync.ops.checks import check_image
from gpu_lipsync.ops.matrices import Axis, filter_axes


def pyramid_down(image: Tensor) -> Tensor:
    """Blur (1 4 6 4 1) and drop every other pixel.

    Args:
        image: (B, C, H, W) float32, H and W at least 3.

    Returns:
        (B, C, ceil(H / 2), ceil(W / 2)).

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D or too small.

    Reference: cv2.pyrDown; within 1/255.
    """
    check_image(image)
    height, width = image.shape[2:]
    if min(height, width) < 3:
        raise ValueError(f"image must be at least 3 x 3, got {tuple(image.shape) = }")
    rows = Axis("pyramid_down", height, -(-height // 2))
    return filter_axes(image, rows, Axis("pyramid_down", width, -(-width // 2)))


def pyramid_up(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `pyramid_down`, as far as a smooth interpolation can.

    Args:
        image: (B, C, h, w) float.
        size: (height, width) of the level below; half of it, rounded up, is (h, w).

    Returns:
        (B, C, *size).

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D or not half of `size`.

    Reference: cv2.pyrUp with dstsize; within 1/255, but for the last two rows and columns of odd sizes.
    """
    check_image(image)
    if (-(-size[0] // 2), -(-size[1] // 2)) != tuple(image.shape[2:]) or min(size) < 3:
        raise ValueError(f"size must be twice the image's, at most one less, got {size} for {tuple(image.shape)}")
    rows = Axis("pyramid_up", image.shape[2], size[0])
    return filter_axes(image, rows, Axis("pyramid_up", image.shape[3], size[1]))

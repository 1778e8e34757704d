"""Linear smoothing and its inverse, sharpening; borders reflected as in OpenCV."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from gpu_lipsync.ops.checks import check_image, check_odd, check_range
from gpu_lipsync.ops.matrices import Axis, filter_axes, gaussian_taps


def gaussian_blur(image: Tensor, kernel_size: int, *, sigma: float = 0.0) -> Tensor:
    """Blur with a Gaussian window.

    Args:
        image: (B, C, H, W) float32.
        kernel_size: pixels, odd; 0 takes three sigmas to each side, as OpenCV does for 8-bit images.
        sigma: standard deviation, pixels; 0 derives it from `kernel_size`, as OpenCV does.

    Returns:
        Like `image`; `image` itself if `kernel_size` is 1.

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D or the window does not fit it; `kernel_size` even; both 0.

    Reference: cv2.GaussianBlur(x, (k, k), sigma); within 1/255.
    """
    check_image(image)
    check_range(sigma, 0, 1000, name="sigma")
    if kernel_size == 0 and sigma > 0:
        kernel_size = round(6 * sigma + 1) | 1
    check_odd(kernel_size, 4001, name="kernel_size")
    if kernel_size == 1:
        return image
    taps = gaussian_taps(kernel_size, sigma).tolist()
    return _along(_along(image, taps, 3), taps, 2)


def box_blur(image: Tensor, kernel_size: int) -> Tensor:
    """Mean over a square window.

    Args:
        image: (B, C, H, W) float32.
        kernel_size: pixels, odd.

    Returns:
        Like `image`; `image` itself if `kernel_size` is 1.

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D or the window does not fit it; `kernel_size` even.

    Reference: cv2.blur(x, (k, k)); within 1/255.
    """
    check_image(image)
    check_odd(kernel_size, 4001, name="kernel_size")
    if kernel_size == 1:
        return image
    height, width = image.shape[2:]
    if kernel_size // 2 >= min(height, width):
        raise ValueError(f"a window reaching {kernel_size // 2} px does not fit, got {tuple(image.shape) = }")
    return filter_axes(image, Axis("box", height, height, kernel_size), Axis("box", width, width, kernel_size))


def unsharp_mask(image: Tensor, amount: float, *, sigma: float = 2.0, kernel_size: int = 0) -> Tensor:
    """Sharpen by adding back what a Gaussian blur removes: image + amount * (image - blurred).

    Args:
        image: (B, C, H, W) float32 in [0, 1].
        amount: 0 to 10; 0 returns the image, the command's default is 0.5.
        sigma: standard deviation of the blur, pixels.
        kernel_size: of the blur, pixels; 0 derives it from `sigma`.

    Returns:
        Like `image`, clamped to [0, 1].

    Raises:
        TypeError: `image` is not float32.
        ValueError: `image` is not 4-D, or `amount` or `sigma` is out of range.

    Reference: cv2.GaussianBlur(x, (0, 0), sigma), then cv2.addWeighted(x, 1 + amount, blurred, -amount, 0); within
    1/255.
    """
    check_image(image)
    check_range(amount, 0, 10, name="amount")
    blurred = gaussian_blur(image, kernel_size, sigma=sigma)
    return torch.lerp(blurred, image, 1.0 + amount).clamp_(0.0, 1.0)


def reflect_pad(image: Tensor, reach: int, dim: int) -> Tensor:
    """Mirror `reach` pixels beyond both ends of `dim` (2 or 3), the edge pixel itself not repeated."""
    if reach >= image.shape[dim]:
        raise ValueError(f"a window reaching {reach} px does not fit, got {tuple(image.shape) = }")
    return pad(image, (reach, reach, 0, 0) if dim == 3 else (0, 0, reach, reach), mode="reflect")


def _along(image: Tensor, taps: list[float], dim: int) -> Tensor:
    """Correlate with `taps` along `dim`: shifted sums, which a CPU does several times faster than a 3-channel conv."""
    size = image.shape[dim]
    padded = reflect_pad(image, len(taps) // 2, dim)
    total = padded.narrow(dim, 0, size) * taps[0]
    for i, tap in enumerate(taps[1:], start=1):
        total.add_(padded.narrow(dim, i, size), alpha=tap)
    return total

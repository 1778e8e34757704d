"""Parts of 4:2:0 pictures, as decoders give and encoders take them, as RGB and back.

Pictures are (B, H * 3 // 2, W) uint8, BT.601 or BT.709 in limited range: H rows of Y, then the Cb and the Cr plane, as
FFmpeg's yuv420p. The four pixels that share a chroma sample get the same, as in swscale's fast conversion and in
decoders that use it: their mean gives it back as it was, where smoother ways would blur it with every trip.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.ops.checks import check_bytes, check_planes, check_window
from gpu_lipsync.ops.constants import device_constant, is_cpu, on_host, upload
from gpu_lipsync.ops.convert import to_bytes
from gpu_lipsync.ops.resize import reduce_bytes
from gpu_lipsync.ops.yuv_matrix import (
    CHROMA_GREY,
    CHROMA_LEVELS,
    LUMA_BLACK,
    LUMA_LEVELS,
    YuvMatrix,
    chroma_rows,
    chroma_shares,
    luma_row,
)

_FRACTION = 5  # bits after the point: what is summed stays within 16 bits, at a fraction of the price of floats


def picture_size(pictures: Tensor) -> tuple[int, int]:
    """Height and width of the pictures.

    Raises:
        TypeError: `pictures` is not uint8.
        ValueError: not (B, H * 3 // 2, W) with even sides, or not contiguous.
    """
    check_planes(pictures, name="pictures")
    if not pictures[0].is_contiguous():
        raise ValueError(f"the rows of a picture must lie one after the other, got {pictures.stride() = }")
    return pictures.shape[1] * 2 // 3, pictures.shape[2]


def read_rgb(pictures: Tensor, window: Window, *, matrix: YuvMatrix) -> Tensor:
    """A part of the pictures as RGB.

    Args:
        pictures: (B, H * 3 // 2, W) uint8.
        window: y1 y2 x1 x2, all even.
        matrix: of the pictures.

    Returns:
        (B, 3, y2 - y1, x2 - x1) uint8, interleaved.

    Raises:
        TypeError, ValueError: as `picture_size`; a window with an odd side or outside the picture; an unknown matrix.

    Reference: swscale's yuv420p to rgb24 without full_chroma_int, within 1 level of its exact values.
    """
    luma, chroma = _parts(pictures, window)
    colour = _twice_as_wide(_colour(chroma, matrix))
    rgb = _summed(luma.unflatten(1, (-1, 2)), colour.unsqueeze(3))
    return rgb.flatten(1, 2).permute(0, 3, 1, 2)


def bits_changed(
    pictures: Tensor, window: Window, before: Tensor, after: Tensor, *, matrix: YuvMatrix
) -> list[tuple[Tensor, Tensor]]:
    """What has to change for other RGB to be where `read_rgb` found it: bits for `turn_over`, in parts of the planes.

    What has not changed stays as it is, bit for bit. Nothing is changed yet: whatever needs memory is done here.

    Args:
        pictures: (B, H * 3 // 2, W) uint8.
        window: y1 y2 x1 x2, all even.
        before: (B, 3, y2 - y1, x2 - x1) uint8, as `read_rgb` gave it.
        after: like `before`.
        matrix: of the pictures.

    Returns:
        Views of `pictures`, each with bits like it.

    Raises:
        TypeError, ValueError: as `read_rgb`; `before` or `after` of another type or shape.

    Reference: swscale's rgb24 to yuv420p with accurate_rnd, where all four pixels of a chroma sample have changed;
        within 1 level.
    """
    luma, chroma = _parts(pictures, window)
    for name, image in (("before", before), ("after", after)):
        check_bytes(image, name=name)
        if image.shape != (len(luma), 3, *luma.shape[1:]):
            raise ValueError(f"{name} must be {(len(luma), 3, *luma.shape[1:])}, got {tuple(image.shape)}")
    changed = _any_colour(before != after)
    bits = [(luma, _changed_bits(luma, _levels(after, luma_row(matrix)[0], LUMA_BLACK), changed))]
    changed = changed[:, ::2] | changed[:, 1::2]
    changed = changed[:, :, ::2] | changed[:, :, 1::2]
    means = _means_of_four(after)
    for plane, weights in enumerate(chroma_rows(matrix)):
        bits.append((chroma[:, plane], _changed_bits(chroma[:, plane], _levels(means, weights, CHROMA_GREY), changed)))
    return bits


def turn_over(bits: list[tuple[Tensor, Tensor]]) -> None:
    """Change in place what `bits_changed` gave."""
    for plane, turned in bits:
        plane.bitwise_xor_(turned)


def sampled_rgb(pictures: Tensor, step_y: int, step_x: int, *, matrix: YuvMatrix) -> Tensor:
    """Every `step_y`-th row and `step_x`-th column of the pictures: (B, 3, ⌈H / step_y⌉, ⌈W / step_x⌉) uint8 RGB."""
    height, width = picture_size(pictures)
    luma, chroma = _parts(pictures, Window(0, height, 0, width))
    rows = _shared(height, step_y, pictures.device)
    columns = _shared(width, step_x, pictures.device)
    near = chroma.index_select(2, rows).index_select(3, columns)
    return _summed(luma[:, ::step_y, ::step_x], _colour(near, matrix)).permute(0, 3, 1, 2)


def reduced_rgb(pictures: Tensor, size: tuple[int, int], *, matrix: YuvMatrix) -> Tensor:
    """The pictures resized to `size` (height, width) with antialias: (B, 3, *size) uint8 RGB, interleaved."""
    height, width = picture_size(pictures)
    luma, chroma = _parts(pictures, Window(0, height, 0, width))
    return _summed(reduce_bytes(luma[:, None], size)[:, 0], _colour(reduce_bytes(chroma, size), matrix)).permute(
        0, 3, 1, 2
    )


def _parts(pictures: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Luma (B, h, w) and chroma (B, 2, h // 2, w // 2) of a window: views."""
    height, width = picture_size(pictures)
    check_window(window, (height, width))
    if any(side % 2 for side in window):
        raise ValueError(f"window must have even sides in 4:2:0 pictures, got {window}")
    y1, y2, x1, x2 = window
    chroma = pictures[:, height:].flatten(1).unflatten(1, (2, height // 2, width // 2))
    return pictures[:, y1:y2, x1:x2], chroma[:, :, y1 // 2 : y2 // 2, x1 // 2 : x2 // 2]


def _colour(chroma: Tensor, matrix: YuvMatrix) -> Tensor:
    """What chroma (B, 2, h, w) adds to each colour: (B, 3, h, w) int16 with a fraction, black and rounding included."""
    weights, offset = _from_chroma(matrix, chroma.device)
    values = torch.baddbmm(offset, weights.expand(len(chroma), -1, -1), chroma.flatten(2).float())
    return values.to(torch.int16).unflatten(2, chroma.shape[2:])


def _summed(luma: Tensor, colour: Tensor) -> Tensor:
    """Luma (B, ..., w) uint8 and colour (B, 3, ..., w) int16 to RGB (B, ..., w, 3) uint8."""
    levels = luma.float().mul_(255 / LUMA_LEVELS * (1 << _FRACTION)).to(torch.int16)
    rgb = torch.empty((*luma.shape, 3), dtype=torch.uint8, device=luma.device)
    for channel in range(3):
        summed = levels + colour[:, channel]
        bytes_ = summed.bitwise_right_shift_(_FRACTION).clamp_(0, 255).to(torch.uint8)
        if on_host(luma):  # every third byte: NumPy takes half the time that torch does
            rgb.numpy()[..., channel] = bytes_.numpy()
        else:
            rgb[..., channel] = bytes_
    return rgb


def _levels(image: Tensor, weights: tuple[float, ...], offset: int) -> Tensor:
    """A plane (B, h, w) uint8: the weighted sum of the colours of (B, 3, h, w), rounded."""
    if on_host(image):  # NumPy has a product for rows of three, which takes a quarter of the time of three sums
        pixels = image.permute(0, 2, 3, 1).numpy().astype(np.float32)
        levels = torch.from_numpy(pixels @ np.array(weights, np.float32))
    else:
        levels = image[:, 0].float() * weights[0]
        for channel in (1, 2):
            levels.add_(image[:, channel], alpha=weights[channel])
    return to_bytes(levels.add_(offset + 0.5))


def _any_colour(flags: Tensor) -> Tensor:
    """(B, h, w) bool: where any colour of (B, 3, h, w) is marked."""
    if on_host(flags):  # half the time, likewise
        red, green, blue = flags.numpy().view(np.uint8).transpose(1, 0, 2, 3)
        return torch.from_numpy((red | green | blue).view(np.bool_))
    return flags[:, 0] | flags[:, 1] | flags[:, 2]


def _changed_bits(plane: Tensor, levels: Tensor, where: Tensor) -> Tensor:
    """The bits in which the uint8 plane differs from other levels, where told; `torch.where` has no vector code."""
    return (plane ^ levels).bitwise_and_(where.to(torch.uint8).neg_())


def _twice_as_wide(values: Tensor) -> Tensor:
    """Each int16 of a row twice, one beside the other: as 32 bits, a tenth of what `repeat_interleave` takes."""
    return values.to(torch.int32).bitwise_and_(0xFFFF).mul_(0x10001).view(torch.int16)


def _means_of_four(image: Tensor) -> Tensor:
    """(B, 3, h // 2, w // 2) float, of uint8."""
    size = (image.shape[2] // 2, image.shape[3] // 2)
    # On a CPU there is vector code for bytes; what it rounds cancels in chroma.
    means = interpolate(image if is_cpu(image) else image.float(), size, mode="bilinear", align_corners=False)
    return means.float()


@device_constant
def _from_chroma(matrix: YuvMatrix, device: torch.device) -> tuple[Tensor, Tensor]:
    """Weights (3, 2) of Cb and Cr in each colour, and what to add (1, 3, 1); both times 1 << _FRACTION."""
    weights = torch.tensor(chroma_shares(matrix), dtype=torch.float32) * (255 / CHROMA_LEVELS * (1 << _FRACTION))
    black = LUMA_BLACK * 255 / LUMA_LEVELS * (1 << _FRACTION)
    offset = (1 << (_FRACTION - 1)) - black - CHROMA_GREY * weights.sum(1)
    return upload(weights, device), upload(offset.view(1, 3, 1), device)


@device_constant
def _shared(length: int, step: int, device: torch.device) -> Tensor:
    """Which chroma sample each `step`-th pixel has."""
    return upload(torch.arange(0, length, step) // 2, device)

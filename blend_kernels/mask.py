"""The feathered ellipse over the mouth, and the window of the crop that it needs work in."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.blend_kernels.config import BlendConfig
from gpu_lipsync.blend_kernels.placement import Placement, Stencil, move_within
from gpu_lipsync.blend_kernels.raster import filled_ellipse
from gpu_lipsync.ops import SIZES_OF_A_BATCH, blur_rows, interleaved, remembered, upload

CENTRE_DOWN = 0.65  # of the crop's height, for a mouth whose place is not known
# How far from its middle a mask over lips is how opaque at least: of the crop's height, of the ellipse's axes at most.
LIPS_HIGH, OPAQUE_SHARE, COVERED = 0.08, 0.55, 0.9
PEAK = 0.99  # a mouth that is less opaque lets the old lips show through
SOFT_PEAK = 0.9  # where a mode spreads the mask: of the differences that are as wide as the mouth, all but a tenth
COVER = 1.35  # times a mouth's width between its inner corners: less leaves the old one's outer corners
WIDER_AT_MOST = 1.5  # times what is stated
BORDER = 1 / 255  # a crop's border that is less transparent draws a box; anything below counts as 0


@dataclass(frozen=True)
class Ellipse:
    """Centre and semi-axes in pixels of the crop, and the Gaussian window that feathers it."""

    center_x: int
    center_y: int
    semi_x: int
    semi_y: int
    kernel_size: int

    @property
    def sigma(self) -> int:
        return self.kernel_size // 3

    def filled(self, height: int, width: int) -> NDArray[np.bool_]:
        return filled_ellipse(height, width, (self.center_x, self.center_y), (self.semi_x, self.semi_y))


def elliptical_mask(
    height: int, width: int, config: BlendConfig, device: torch.device | str = "cpu", *, half_mouth: int = 0
) -> Tensor:
    """Feathered ellipse over the mouth of a height x width crop.

    The stated feather (`blur_intensity`) is used as it is where it leaves the ellipse opaque (peak >= 0.99) and ends
    inside the crop (border <= 1/255); elsewhere it shrinks as far as needed, and an ellipse that itself reaches the
    border shrinks with it. Values below 1/255 are 0. Over a mouth that is too wide for it, as a grin is for a small
    `mouth_region_size`, the ellipse is wider than stated, and no taller.

    Args:
        height: of the crop, pixels, at least 16.
        width: of the crop, pixels, at least 16.
        config: its `mouth_region_size` and `blur_intensity` count.
        device: of the result.
        half_mouth: half the width of the face's mouth, pixels; 0: not known, nothing is wider than stated.

    Returns:
        (1, 1, height, width) float32 in [0, 1]. Shared by all callers: not to be changed in place.

    Raises:
        ValueError: the crop is smaller than 16 pixels.

    Reference: cv2.ellipse, filled, then cv2.GaussianBlur(k, sigma=k // 3).
    """
    axes = semi_axes(height, width, config.mouth_region_size, half_mouth)
    return _device_mask(height, width, axes, config.blur_intensity, torch.device(device))


def place_mask(
    height: int,
    width: int,
    config: BlendConfig,
    margin: int,
    device: torch.device,
    *,
    half_mouth: int = 0,
    shift: tuple[int, int] = (0, 0),
) -> Placement:
    """The mask of a crop, as `elliptical_mask`, cut to where it is not 0 plus `margin` pixels of surroundings.

    Over a mouth that is known (its half width, how far right and down it is), the feather is `feather_over` it. The
    placement is not moved there yet.
    """
    axes = semi_axes(height, width, config.mouth_region_size, half_mouth)
    feather = config.blur_intensity
    if half_mouth or any(shift):
        feather = feather_over(height, width, axes, feather, shift, margin)
    return _placement(height, width, axes, feather, margin, device)


def semi_axes(height: int, width: int, region: float, half_mouth: int = 0) -> tuple[int, int]:
    """Along x and y, pixels: as stated, but longer along x where a wide mouth needs it."""
    stated = int(width * region / 2)
    wide = min(round(COVER * half_mouth), int(WIDER_AT_MOST * stated))
    return max(1, stated, wide), max(1, int(height * 0.35 * region))


@remembered(SIZES_OF_A_BATCH)
def place_everywhere(height: int, width: int, device: torch.device) -> Placement:
    """The whole crop, under a mask that is 1 everywhere."""
    ones = upload(torch.ones(1, 1, 1, 1, dtype=torch.float32), device)
    stencil = Stencil(np.ones((1, 1), np.float32), ones, ones)
    return Placement(height=height, width=width, top=0, bottom=height, left=0, right=width, stencil=stencil)


@remembered(SIZES_OF_A_BATCH)
def _device_mask(height: int, width: int, axes: tuple[int, int], feather: int, device: torch.device) -> Tensor:
    return upload(torch.from_numpy(_mask(height, width, axes, feather)), device)[None, None]


@remembered(SIZES_OF_A_BATCH)
def _placement(
    height: int, width: int, axes: tuple[int, int], feather: int, margin: int, device: torch.device
) -> Placement:
    mask = _mask(height, width, axes, feather)
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = max(0, int(rows[0]) - margin), min(height, int(rows[-1]) + 1 + margin)
    left, right = max(0, int(cols[0]) - margin), min(width, int(cols[-1]) + 1 + margin)
    values = mask[top:bottom, left:right].copy()
    cut = upload(torch.from_numpy(values), device)[None, None]
    stencil = Stencil(values, cut, interleaved(cut.expand(-1, 3, -1, -1)))
    return Placement(height=height, width=width, top=top, bottom=bottom, left=left, right=right, stencil=stencil)


def _mask(height: int, width: int, axes: tuple[int, int], feather: int) -> NDArray[np.float32]:
    ellipse = fit_ellipse(height, width, axes, feather)
    reach = ellipse.kernel_size // 2
    rows = _spanned(ellipse.center_y, ellipse.semi_y + reach, height)
    cols = _spanned(ellipse.center_x, ellipse.semi_x + reach, width)
    mask = np.zeros((height, width), np.float32)
    mask[rows, cols] = _feathered(ellipse, height, width, range(height)[rows], range(width)[cols])
    mask[mask < BORDER] = 0.0
    return mask.clip(0.0, 1.0)


def _feathered(
    ellipse: Ellipse, height: int, width: int, at_y: Sequence[int], at_x: Sequence[int]
) -> NDArray[np.float32]:
    """The blurred ellipse's values (len(at_y), len(at_x)) where those rows and columns meet."""
    rows = _spanned(ellipse.center_y, ellipse.semi_y, height)
    cols = _spanned(ellipse.center_x, ellipse.semi_x, width)
    inside = ellipse.filled(height, width)[rows, cols].astype(np.float32)
    down = blur_rows(height, ellipse.kernel_size, ellipse.sigma, tuple(at_y))[:, rows]
    across = blur_rows(width, ellipse.kernel_size, ellipse.sigma, tuple(at_x))[:, cols]
    return (down @ inside @ across.T).astype(np.float32, copy=False)  # as it is, which type checkers cannot know


def _spanned(center: int, reach: int, size: int) -> slice:
    """Of positions 0..size-1 those within reach."""
    return slice(max(0, center - reach), min(size, center + reach + 1))


@lru_cache(maxsize=256)
def fit_ellipse(height: int, width: int, axes: tuple[int, int], feather: int) -> Ellipse:
    """The stated ellipse and feather, shrunk until the mask is opaque inside and gone at the crop's border."""
    if min(height, width) < 16:
        raise ValueError(f"a crop must be at least 16 x 16 pixels, got {width} x {height}")
    center_x, center_y = width // 2, int(CENTRE_DOWN * height)
    # A feather under an eighth of the crop shows as an edge: from there on, make room by shrinking the ellipse.
    floor = min(height, width) // 8
    for kernel_size in range(feather, 0, -2):
        ellipse = Ellipse(center_x, center_y, *axes, kernel_size)
        if kernel_size <= floor or kernel_size == 1:
            ellipse = _inside_border(ellipse, height, width)
        peak, border = _peak_and_border(ellipse, height, width)
        if peak >= PEAK and border <= BORDER:
            return ellipse
    raise AssertionError(f"an unfeathered ellipse fits any crop, got {height = }, {width = }, {axes = }")


@lru_cache(maxsize=256)
def feather_over(
    height: int, width: int, axes: tuple[int, int], feather: int, shift: tuple[int, int], margin: int = 0
) -> int:
    """The feather of a mask for a mouth that lies so many pixels right of and below where masks are, and takes it along
    as far as there is room: the stated one, or as much of it as leaves the lips covered.

    A wide one leaves a small ellipse opaque in its very middle only, and between the crop's border and the mouth of a
    head that looks up there is no room for it: the old lips, the lower one above all, showed through. Not narrower than
    an eighth of the crop, as `fit_ellipse` has it, and in steps of 4 px: each feather is a mask of its own. A mode's
    `margin` around the mask has to find room, too.
    """
    widest = fit_ellipse(height, width, axes, feather).kernel_size
    kernels = range(widest, min(height, width) // 8, -4)
    lips = min(LIPS_HIGH * height, OPAQUE_SHARE * axes[1]), OPAQUE_SHARE * axes[0]

    def covers(kernel_size: int) -> bool:
        ellipse = Ellipse(width // 2, int(CENTRE_DOWN * height), *axes, kernel_size)
        down = _feathered(ellipse, height, width, range(height), (ellipse.center_x,))[:, 0]
        across = _feathered(ellipse, height, width, (ellipse.center_y,), range(width))[0]
        return all(
            _least(values, centre, reach, wanted, margin) >= COVERED
            for values, centre, reach, wanted in (
                (down, ellipse.center_y, lips[0], shift[1]),
                (across, ellipse.center_x, lips[1], shift[0]),
            )
        )

    found = bisect_left(kernels, True, key=covers)  # the narrower the sooner
    return kernels[min(found, len(kernels) - 1)] if kernels else widest


def _least(values: NDArray[np.float32], centre: int, reach: float, wanted: int, margin: int) -> float:
    """A moved mask's least value along an axis within `reach` of the lips, which are `wanted` pixels from `centre`."""
    inside = np.flatnonzero(values >= BORDER)
    window = max(0, int(inside[0]) - margin), min(len(values), int(inside[-1]) + 1 + margin)
    moved = move_within(*window, len(values), wanted)
    ends = (round(centre + wanted - moved + side * reach) for side in (-1, 1))
    return min(float(values[end]) if 0 <= end < len(values) else 0.0 for end in ends)


def _inside_border(ellipse: Ellipse, height: int, width: int) -> Ellipse:
    reach = ellipse.kernel_size // 2
    return Ellipse(
        ellipse.center_x,
        ellipse.center_y,
        max(1, min(ellipse.semi_x, width - 2 - ellipse.center_x - reach)),
        max(1, min(ellipse.semi_y, height - 2 - ellipse.center_y - reach)),
        ellipse.kernel_size,
    )


def _peak_and_border(ellipse: Ellipse, height: int, width: int) -> tuple[float, float]:
    """The mask's value at the ellipse's centre, and its largest on the crop's border.

    An ellipse is nearest to the border straight left, right, above or below.
    """
    values = _feathered(ellipse, height, width, (ellipse.center_y, 0, height - 1), (ellipse.center_x, 0, width - 1))
    return float(values[0, 0]), float(max(values[0, 1:].max(), values[1:, 0].max()))

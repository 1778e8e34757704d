"""The mask at its softest, as the modes that spread it put it on differences without detail of their own."""

import math

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.mask import SOFT_PEAK, Placement
from gpu_lipsync.ops import pyramid_down, pyramid_up, remembered

AT_LEAST = SOFT_PEAK + 1 / 255  # at the mask's middle: a level for what rounding takes
TINY = 1e-6  # less than any mask: to divide by where both are 0


def softening(place: Placement, smoothed: Tensor, octaves: float, fade: float) -> Tensor:
    """What to multiply by, once a mode has `smoothed` the mask, so that the mask at its softest remains.

    Args:
        place: its mask counts.
        smoothed: what the mode makes of the mask where the source has no edges, (1, 1, window height, window width).
        octaves: how much softer than the mask that may be.
        fade: power of the mask that it is under besides.

    Returns:
        Like `smoothed`: 0 where the mask is, so that there the source stays.
    """
    return softest_mask(place, octaves, fade) / smoothed.clamp_min(TINY)


@remembered(16)
def softest_mask(place: Placement, octaves: float, fade: float) -> Tensor:
    """Smooth the mask within its support, octave by octave, for as long as it stays opaque at its middle.

    Of an octave that is too much, a part is taken: a small mask has room for one and a half, say.

    Diffusion alone fills the support of a hard-edged mask up to its border, where the new picture's own edges then
    stand out more than under the ellipse; hence the fade.

    Returns:
        (1, 1, window height, window width) in [0, 1], 0 where the mask is. Not to be changed in place.
    """
    y, x = place.middle
    faded = place.mask**fade
    softest = place.mask * faded
    for n in range(1, math.ceil(octaves) + 1):
        softer = _confined(place.mask, n).mul_(faded)
        to_spare, cost = softest[..., y, x] - AT_LEAST, (softest - softer)[..., y, x]
        part = (to_spare / cost.clamp_min(TINY)).clamp(0.0, min(1.0, octaves - n + 1))
        softest = torch.lerp(softest, softer, part[..., None, None])
    return softest


def _confined(mask: Tensor, n_octaves: int) -> Tensor:
    """Diffuse the mask down a pyramid and up again, and at every level take away what has left its support.

    Diffusion is the steepest descent of a picture's gradient energy, which is what shows of a seam, and from a border
    held at 0 it rises without a step. A mask that is smoothed first and only then faded out towards its border can
    come out steeper than it was.
    """
    if n_octaves == 0:
        return mask
    support = (mask > 0).float()
    coarse = pyramid_down(mask).mul_(support[:, :, ::2, ::2])
    return pyramid_up(_confined(coarse, n_octaves - 1), (mask.shape[2], mask.shape[3])).mul_(support)

"""The mask at its softest, as the modes that spread it put it on differences without detail of their own."""

import math

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels.mask import SOFT_PEAK
from gpu_lipsync.blend_kernels.placement import Stencil
from gpu_lipsync.ops import pyramid_down, pyramid_up

AT_LEAST = SOFT_PEAK + 1 / 255  # at the mask's middle: a level for what rounding takes
TINY = 1e-6  # less than any mask: to divide by where both are 0
RISE = 1.25  # at the border, where the mask begins, at most so much steeper than it


def softening(stencil: Stencil, smoothed: Tensor, octaves: float, fade: float) -> Tensor:
    """What to multiply by, once a mode has `smoothed` the mask, so that the mask at its softest remains.

    Args:
        stencil: the mask.
        smoothed: what the mode makes of the mask where the source has no edges, (1, 1, window height, window width).
        octaves: how much softer than the mask that may be.
        fade: power of the mask that it is under besides.

    Returns:
        Like `smoothed`: 0 where the mask is, so that there the source stays.
    """
    return softest_mask(stencil, octaves, fade) / smoothed.clamp_min(TINY)


def softest_mask(stencil: Stencil, octaves: float, fade: float) -> Tensor:
    """Smooth the mask within its support, octave by octave, for as long as it stays opaque at its middle.

    Down a pyramid and up again, and at every level what has left the support is taken away: diffusion is the steepest
    descent of a picture's gradient energy, which is what shows of a seam. A mask that is smoothed first and only then
    faded out towards its border can come out steeper than it was. Of an octave that is too much, a part is taken: a
    small mask has room for one and a half, say.

    Diffusion alone fills the support of a hard-edged mask up to its border, where the new picture's own edges then
    stand out more than under the ellipse, and may end there in a step; hence the fade, and RISE.

    Returns:
        (1, 1, window height, window width) in [0, 1], 0 where the mask is.
    """
    y, x = stencil.middle
    faded = stencil.mask**fade
    softest = stencil.mask * faded
    supports, coarse = [(stencil.mask > 0).float()], stencil.mask
    for n in range(1, math.ceil(octaves) + 1):
        supports.append(supports[-1][:, :, ::2, ::2])
        softer = coarse = pyramid_down(coarse).mul_(supports[-1])
        for support in reversed(supports[:-1]):
            softer = pyramid_up(softer, (support.shape[2], support.shape[3])).mul_(support)
        softer = softer * faded
        to_spare, cost = softest[..., y, x] - AT_LEAST, (softest - softer)[..., y, x]
        part = (to_spare / cost.clamp_min(TINY)).clamp(0.0, min(1.0, octaves - n + 1))
        softest = torch.lerp(softest, softer, part[..., None, None])
    return torch.minimum(softest, RISE * stencil.mask)

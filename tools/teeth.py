"""The colour of teeth, drawn by what is known of them: whose are lighter than their skin are whiter too."""

import torch
from torch import Tensor

from gpu_lipsync.tools.constants import constant

TEETH_RGB = (0.98, 0.90, 0.89)  # in half of the skin's colour: between what GRID's and talkers' have there
WHITE_RGB = (0.98, 0.93, 0.88)  # where they are white
WHITER_FROM, WHITEST = 1.15, 1.75  # times as light: from where they lose the skin's tint, and where it is gone
IN_SHADE, LIT_FROM = 0.62, 0.3  # what teeth keep of their light as lips meet, and the gap that lets all of it in


def colour_of_teeth(skin_light: Tensor, teeth_light: Tensor) -> Tensor:
    """Colour (N, 3, 1, 1) of teeth in full light.

    Args:
        skin_light: (N, 3, 1, 1), colour of what is lit as the skin is.
        teeth_light: (N,), how light they are; those that nothing is known of have 1.12 (`Looks.alike`).
    """
    level, teeth_light = skin_light.mean(dim=1, keepdim=True), teeth_light.view(-1, 1, 1, 1)
    # Teeth are nearly as bright whatever the skin, but not as neutral: among reddish skin such teeth look green.
    bright = torch.lerp(level, torch.full_like(level, 0.55), 0.6) * teeth_light
    whiter = ((teeth_light - WHITER_FROM) / (WHITEST - WHITER_FROM)).clamp(0, 1)
    tinted, white = (constant(rgb, level.device).view(1, 3, 1, 1) for rgb in (TEETH_RGB, WHITE_RGB))
    tinted = tinted * skin_light / level
    return bright * torch.lerp(tinted, white, whiter)


def kept_in_shade(gap: Tensor) -> Tensor:
    """The share of its light that a tooth keeps between lips `gap` half mouth widths apart."""
    return IN_SHADE + (1 - IN_SHADE) * (gap / LIT_FROM).clamp(0, 1)

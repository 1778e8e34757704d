"""The lower lip of a mouth that opens, or that shuts from a grin, where the picture made to speak shows hardly any."""

import torch
from torch import Tensor

from gpu_lipsync.tools.constants import constant

TALL = 0.3  # half mouth widths: its height in the middle, as the jaw hangs and rolls it out
LIP_RGB = (0.86, 0.66, 0.68)  # of the skin's colour
LEAST, MOST = 0.15, 0.5  # half mouth widths between the lips: from where to where it rolls out
GLOSS, CREASE = 0.10, 0.16  # how much lighter its middle is, and how much darker the fold under it
RELAXED = 0.75  # of that height and light a lip has as it shuts from the widest grin, which drew it out
GRIN = 0.3  # half mouth widths between the lips of such a one


def lower_lip(skin: Tensor, plain: Tensor, *, below: Tensor, arch: Tensor, gap: Tensor, closing: Tensor) -> Tensor:
    """What a picture is multiplied with so that its mouth has a lower lip, (N, 3, H, W).

    Lips that are thin, pressed or drawn out by a smile roll out as the jaw drops, or as the smile ends, which no warp
    of such a picture shows. Where it has the colour of lips already only the light on them is added.

    Args:
        skin: (N, 3, H, W), the picture, its mouth as it shall be.
        plain: (N, 3, 1, 1), the colour of skin beside the mouth.
        below: (N, H, W), half mouth widths below the lip's inner edge.
        arch: (N, H, W), 1 in the mouth's middle, 0 at its corners and beyond.
        gap: (N, 1, 1), half mouth widths between the lips in the middle.
        closing: (N, 1, 1), likewise as the picture was before.
    """
    rolled = ((gap - LEAST) / (MOST - LEAST)).clamp(0, 1)
    rolled = torch.maximum(rolled, RELAXED * (closing / GRIN).clamp(0, 1))
    tall = TALL * torch.maximum(rolled, (gap > 0).float()) * arch.sqrt() + 1e-3
    on_lip = ((below / 0.03).clamp(0, 1) * ((tall - below) / 0.1).clamp(0, 1) * rolled)[:, None]
    redder = 1 - (skin[:, 1:2] / skin[:, :1].clamp(min=0.02)) / (plain[:, 1:2] / plain[:, :1])
    lacking = on_lip * (1 - redder / (1 - LIP_RGB[1] / LIP_RGB[0])).clamp(0, 1)
    gloss = GLOSS * torch.exp(-(((below - 0.45 * tall) / 0.07) ** 2))
    crease = CREASE * torch.exp(-(((below - tall - 0.03) / 0.07) ** 2))
    tint = 1 - lacking * (1 - constant(LIP_RGB, skin.device).view(1, 3, 1, 1))
    return tint * (1 + (gloss - crease) * arch * rolled)[:, None]

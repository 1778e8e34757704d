"""Mouths for black and white faces: a generator that has learnt from colour paints lips and teeth."""

import torch
from torch import Tensor

from gpu_lipsync.ops import grey

# Between the largest of red, green and blue and the smallest, in levels of 255, in the mean of a face: what codecs make
# of black and white at most, and what skin has at least. Of 23 clips and pictures the palest has 24, a dark one 13.
NO_COLOUR, COLOUR = 3.0, 6.0


def desaturated_like(mouths: Tensor, faces: Tensor) -> Tensor:
    """Take the colour from the mouths of faces that have none.

    Args:
        mouths: (B, 3, 96, 96) float32 RGB in [0, 1], as the generator made them.
        faces: (B, 3, 96, 96) float32 RGB in [0, 1], what they were made from.

    Returns:
        Like `mouths`; those of faces in colour are the same bit for bit, and what is not finite stays so.
    """
    spread = (faces.amax(1) - faces.amin(1)).mean((1, 2)) * 255
    share = ((spread - NO_COLOUR) / (COLOUR - NO_COLOUR)).clamp(0.0, 1.0)
    return torch.lerp(grey(mouths).expand_as(mouths), mouths, share[:, None, None, None])

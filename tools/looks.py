"""What differs between two people whose mouths do the same."""

from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDNESS = 1.1  # of the lips of those that speak
USUAL = {
    "amplitude": 0.7,
    "roundness": ROUNDNESS,
    "lean": 0.0,
    "teeth_light": 1.12,
    "inside_light": 1.1,
    "teeth_height": 0.28,
    "lower_height": 0.06,
}


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What differs between two people saying the same: each (N,). `amplitude` is the widest opening; `roundness` is the
    power of an arch that the open lips follow, below 1 a box rather than an almond; `lean`, within ±0.5, opens them
    further to the right, with the corners where they were; `lower_height` is how much of the lower teeth shows.
    """

    amplitude: Tensor
    roundness: Tensor
    lean: Tensor
    teeth_light: Tensor
    inside_light: Tensor
    teeth_height: Tensor
    lower_height: Tensor

    @staticmethod
    def alike(n: int) -> "Looks":
        """The same for all: what a picture of a shut mouth cannot tell would only be learned as a blur."""
        return Looks(**{name: torch.full((n,), value) for name, value in USUAL.items()})

    @staticmethod
    def any(n: int, generator: torch.Generator) -> "Looks":
        """As different as people are, for mouths that have to go: a smile's teeth from lip to lip, a shout's box."""
        return Looks(
            amplitude=_between(0.25, 1.2, n, generator),
            roundness=_between(0.3, 1.3, n, generator),
            lean=_between(-0.45, 0.45, n, generator),
            teeth_light=_between(0.7, 1.9, n, generator),
            inside_light=_between(0.35, 1.4, n, generator),
            teeth_height=_between(0.2, 0.8, n, generator),
            lower_height=_between(-0.3, 0.3, n, generator).clamp(min=0),
        )


def _between(low: float, high: float, n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low

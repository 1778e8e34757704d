"""The inner edges of lips, along the mouth: where they run, and where they meet as a mouth shuts.

Lengths are in half mouth widths, in the frame of synthetic_talkers.mouth_frame.
"""

import torch
from torch import Tensor

N_LIP_POINTS = 33  # along each lip
UPPER_SHARE = 0.16  # of an opening is the upper lip's; the jaw does the rest
WIDE = 0.3  # between lips that meet in a curve of their own, whatever they were like
SAG = 0.04  # of shut lips, below the line through their corners: the median of the material's
RELAXED = 0.8  # of the way from how bowed wide lips were to how shut ones are
STAYS = 0.7  # of the way from where shut lips are to where the middle of wide ones was


def edges_at(lips: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Heights (N, H, W) of both edges (N, 2, N_LIP_POINTS) at u (N, H, W); beyond the corners those of the corners."""
    at = (u.flatten(1).clamp(-1, 1) + 1) * ((N_LIP_POINTS - 1) / 2)
    left = at.long().clamp(max=N_LIP_POINTS - 2)
    share = at - left
    edges = (torch.lerp(edge.gather(1, left), edge.gather(1, left + 1), share) for edge in lips.unbind(1))
    upper, lower = (edge.view_as(u) for edge in edges)
    return upper, lower


def meeting(lips: Tensor) -> Tensor:
    """Where lips (N, 2, N_LIP_POINTS) meet as they shut, twice; those that are shut stay as they are.

    A mouth wide open is a box more often than an arch, one side of it higher, its corners drawn down by the jaw or up
    by a smile. As it shuts they come back: its lips meet in a bow nearly as shallow as that of shut ones, not far from
    where their middle would be.
    """
    met = torch.lerp(lips[:, :1], lips[:, 1:], UPPER_SHARE)
    arch = 1 - torch.linspace(-1, 1, N_LIP_POINTS) ** 2
    bow = (met * arch).sum(dim=2, keepdim=True) / arch.square().sum()  # least squares
    wide = ((lips[:, 1:] - lips[:, :1]).amax(dim=2, keepdim=True) / WIDE).clamp(0, 1)
    curve, middle = RELAXED * SAG + (1 - RELAXED) * bow, STAYS * bow + (1 - STAYS) * SAG
    return torch.lerp(met, middle - curve * (1 - arch), wide).expand(-1, 2, -1)

"""Moustaches and beards drawn on faces: of the people whose pictures are free to train on, hardly any has one.

Hair is drawn on a picture around the lips it shows, in the frame of synthetic_talkers: lengths in half mouth widths,
u along the mouth, v down the face. Drawn alike on a still and on the picture it was made of, it is one man's hair over
two mouths: the generator has to carry it from the one to the other. What moves lips and jaw afterwards moves it too.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.tools.constants import constant
from gpu_lipsync.tools.inner_lips import edges_at
from gpu_lipsync.tools.synthetic_talkers import CROP_PX, Faces, mouth_frame, pixel_grid, sample

NOSE = -0.95  # v of the nose's foot, where strands come from
STRANDS, LENGTHS = 128, 12  # cells of a texture, round the nose and outward from it
RAGGED = 0.14  # how far strands reach over an outline
COLOURS = (  # black, dark brown, brown, ginger, blond, grey, white; sRGB in the light of a fair face
    (0.09, 0.07, 0.06),
    (0.20, 0.14, 0.10),
    (0.33, 0.23, 0.16),
    (0.50, 0.30, 0.17),
    (0.62, 0.50, 0.35),
    (0.50, 0.48, 0.46),
    (0.85, 0.83, 0.80),
)
FAIR = 0.6  # mean of a fair face's skin


@dataclass(frozen=True, kw_only=True)
class Hair:
    """Hair of N men; each (N,) but for the last two.

    Attributes:
        top: of the moustache, above the lip's inner edge; 0 or less is no moustache.
        hang: how far above that edge it ends: 0 hides the upper lip.
        reach: how far from the middle it ends.
        droop: how far its ends hang down.
        beard: opacity of the chin's hair.
        wide: whether that covers the jaw too; 0 or 1.
        dense: opacity of the moustache; stubble is thin.
        colour: (N, 3).
        texture: (N, 1, LENGTHS, STRANDS) in [0, 1].
    """

    top: Tensor
    hang: Tensor
    reach: Tensor
    droop: Tensor
    beard: Tensor
    wide: Tensor
    dense: Tensor
    colour: Tensor
    texture: Tensor

    @staticmethod
    def any(n: int, generator: torch.Generator) -> "Hair":
        """As different as men's: most have a moustache, half of all a beard, a fifth of each only stubble."""

        def between(low: float, high: float, *shape: int) -> Tensor:
            return torch.rand(n, *shape, generator=generator) * (high - low) + low

        moustache = (between(0, 1) < 0.85).float()
        bearded = (between(0, 1) < 0.45) | (moustache == 0)
        stubble = (between(0, 1) < 0.2).float()
        which = torch.randint(len(COLOURS), (n,), generator=generator)
        colour = constant(COLOURS, which.device)[which]
        coarse = F.interpolate(between(0, 1, 1, LENGTHS // 4, STRANDS // 8), (LENGTHS, STRANDS), mode="bilinear")
        return Hair(
            top=between(0.45, 0.85) * moustache,
            hang=between(-0.08, 0.22),
            reach=between(0.8, 1.5),
            droop=between(-0.1, 0.55),
            beard=between(0.6, 1.0) * bearded * (1 - 0.65 * stubble),
            wide=(between(0, 1) < 0.5).float(),
            dense=between(0.75, 1.0) * (1 - 0.65 * stubble),
            colour=(colour * between(0.8, 1.25, 1)).clamp(0.02, 1),
            texture=0.4 * coarse + 0.6 * between(0, 1, 1, LENGTHS, STRANDS),
        )


def wear(faces: Faces, hair: Hair) -> Tensor:
    """The faces' crops (N, 3, 128, 128) with hair on them."""
    u, v = mouth_frame(faces, pixel_grid(len(faces.crops)))
    upper, lower = edges_at(faces.lips, u)
    along, strand = _strands(hair.texture, u, v)
    moustache = _moustache(hair, u, upper - v, strand) * _as_map(hair.dense)
    beard = _beard(hair, u, v, v - lower, strand) * _as_map(hair.beard)
    cover = torch.maximum(moustache, beard)[:, None]
    light = _skin(faces).mean(dim=1, keepdim=True) / FAIR
    shade = (0.45 + 1.1 * strand - 0.15 * along.clamp(0, 1))[:, None]
    colour = hair.colour[:, :, None, None] * light[..., None, None] * shade
    return torch.lerp(faces.crops, colour.clamp(0, 1), cover)


def _as_map(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)


def _inside(distance: Tensor, strand: Tensor, soft: float = 0.1) -> Tensor:
    """Opacity in [0, 1] at a distance inside an outline, which strands overgrow here and there."""
    return ((distance + RAGGED * (strand - 0.5)) / soft + 0.5).clamp(0, 1)


def _strands(texture: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Distance from the nose, and the light of the strand at each point, both (N, H, W): strands fan out from there."""
    angle, along = torch.atan2(u, (v - NOSE).clamp(min=0.05)), torch.hypot(u, v - NOSE)
    at = torch.stack((angle / (math.pi / 2), along / 1.5 - 1), dim=3)
    return along, F.grid_sample(texture, at, align_corners=False, padding_mode="reflection")[:, 0]


def _moustache(hair: Hair, u: Tensor, above: Tensor, strand: Tensor) -> Tensor:
    """Between two outlines that meet at its ends, which hang."""
    out = (u.abs() / _as_map(hair.reach)).clamp(max=1.5)
    falling = _as_map(hair.droop) * out**2
    top = _as_map(hair.top) * (1 - out**2.5) + _as_map(hair.hang) * out**2.5 - falling
    inside = torch.minimum(torch.minimum(top - above, above - _as_map(hair.hang) + falling), (1 - out) * 0.6)
    return _inside(inside, strand) * (_as_map(hair.top) > 0)


def _beard(hair: Hair, u: Tensor, v: Tensor, below: Tensor, strand: Tensor) -> Tensor:
    """On the chin, and, where wide, on the jaw: below a line from the mouth's corners up to the ears."""
    side = u.abs()
    chin = torch.minimum(1 - torch.hypot(side / 0.9, (below - 1.2) / 1.0), below - 0.4)
    jaw = torch.minimum(1 - torch.hypot(side / 2.0, (v - 0.2) / 2.2), v + 0.55 * (side - 0.9))
    jaw = torch.minimum(jaw, torch.maximum(below - 0.42, (side - 1.15) * 0.7))  # not on the lips
    return torch.maximum(_inside(chin, strand, 0.25), _inside(jaw, strand, 0.25) * _as_map(hair.wide))


def _skin(faces: Faces) -> Tensor:
    """Mean colour (N, 3) of the cheeks beside the mouth."""
    centre, half = faces.corners.mean(dim=1), (faces.corners[:, 1] - faces.corners[:, 0]) / 2
    beside = torch.stack((centre - 1.5 * half, centre + 1.5 * half), dim=1)[:, None]
    return sample(faces.crops, beside - constant((0.0, 0.05 * CROP_PX), beside.device)).mean(dim=(2, 3))

"""Other people, heads, lights and cameras than the few of the material: what is done to pairs of pictures."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.tools.constants import constant
from gpu_lipsync.tools.draws import Draws
from gpu_lipsync.tools.facial_hair import Hair, wear
from gpu_lipsync.tools.synthetic_talkers import CROP_PX, Faces, pixel_grid, sample

FACE_PX = 96
BOX = 0.75  # of the crop's side: the box the product cuts out
MADE_UP = 0.5  # of the animated stills
HAIRY = 0.35  # of them: with a moustache, a beard or both
BEND = 0.045  # of half a box, standard deviation
TURN = 0.42  # of half a box: how far a mouth is moved aside at most; beyond a half the picture would fold
NOD = 0.06  # of half a box, standard deviation
TILT, JOLT = 0.2, 0.02  # radians, standard deviations: of heads, and between a frame and another
SHUT = 0.05  # half mouth widths between the lips
PRESSED_MOST = 0.7
GREY = 0.07  # of the pictures: black and white
BLURRED = 0.15  # of the pictures: faces enlarged from few pixels, or moved while the shutter was open
# Of how a pixel differs from what is around it: as drawn, GRID's film has half the detail of most strangers' pictures.
LEAST_SHARP, SHARPEST = 0.5, 2.5
LIP_HIDDEN_TO = 0.2  # half mouth widths above the lip's inner edge: a moustache that ends there hides none of the teeth
TEETH_HIDDEN = 0.6  # of their height, by one that hides the lip


def views(draws: Draws, n: int) -> tuple[Tensor, Tensor]:
    """Crop coordinates (n, 96, 96, 2) of the target's pixels and of the reference's.

    A view is shifted, scaled, turned, mirrored and smoothly bent, which makes other faces of few; the reference's
    is the same or a little beside it, as another frame's would be. Heads tilt, and some turn and nod: the middle of the
    face moves and its outline stays, one cheek narrows and the other widens. All of GRID look into the camera, upright.
    """
    at = ((torch.arange(FACE_PX) + 0.5) / FACE_PX - 0.5) * 2
    y, x = torch.meshgrid(at, at, indexing="ij")
    plain = torch.stack((x, y), dim=2)[None]
    bend = F.interpolate(draws.normal(n, 2, 5, 5) * BEND, FACE_PX, mode="bicubic", align_corners=True)
    mirror = draws.sign(n).view(-1, 1, 1)
    turn = TURN * draws.uniform(n).pow(1.3) * draws.sign(n)
    middle_moves = torch.stack((turn, NOD * draws.normal(n).clamp(-3, 3)), dim=1).view(n, 1, 1, 2)
    first = _affine(draws, n, 1.0, TILT)
    eye = constant(((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)), plain.device)
    beside = torch.where((draws.uniform(n) < 0.9).view(-1, 1, 1), torch.zeros(1), _affine(draws, n, 0.35, JOLT) - eye)
    both = []
    for affine in (first, first + beside):
        homogeneous = torch.cat((plain, torch.ones_like(plain[..., :1])), dim=3)
        points = homogeneous @ affine[:, None] + bend.permute(0, 2, 3, 1)
        points = torch.cat((points[..., :1] * mirror[..., None], points[..., 1:]), dim=3)
        points = points + middle_moves * (1 - points.square()).clamp(min=0)
        both.append(points * (BOX * CROP_PX / 2) + CROP_PX / 2 - 0.5)
    return both[0], both[1]


def _affine(draws: Draws, n: int, strength: float, tilt: float) -> Tensor:
    """Random maps (n, 3, 2) near the identity, in units of half a box; `tilt` in radians, a standard deviation."""
    scale = draws.normal(n, 2) * 0.04 * strength
    turn, shear = (draws.normal(n) * tilt).clamp(-2 * tilt, 2 * tilt), draws.normal(n) * 0.03 * strength
    shift = draws.normal(n, 2) * 0.045 * strength
    cos, sin = turn.cos(), turn.sin()
    rows = torch.stack(
        (
            cos + scale[:, 0],
            sin + shear,
            -sin,
            cos + scale[:, 1],
            shift[:, 0],
            shift[:, 1] + 0.02 * strength,
        ),
        dim=1,
    )
    return rows.view(n, 3, 2)


def stretch(draws: Draws, n: int, chance: float, most: float) -> tuple[Tensor, Tensor]:
    """How much wider and higher a `chance` of mouths become, each (n,): by 1 / (1 - that) in their middle."""
    some = draws.uniform(n) < chance
    return 0.2 * draws.normal(n).clamp(-1.5, 1.5) * some, ((most + 0.1) * draws.uniform(n) - 0.1) * some


def pressed(draws: Draws, opening: Tensor, chance: float) -> Tensor:
    """How much less high a `chance` of the mouths (n,) that are shut become, (n,), as `stretch` has it: below 0."""
    some = (draws.uniform(len(opening)) < chance) & (opening < SHUT)
    return -PRESSED_MOST * draws.uniform(len(opening)) * some


def stretched(points: Tensor, corners: Tensor, wider: Tensor, higher: Tensor) -> Tensor:
    """Crop coordinates (n, H, W, 2) nearer to the centre of the mouth between corners (n, 2, 2), by up to wider and
    higher (n,) of the distance.

    Of both pictures alike: fuller lips than theirs. Of the reference alone, lower: about its lips and no further, as
    lips that are pressed together; nose and chin stay.
    """
    n = len(points)
    half = (corners[:, 1] - corners[:, 0]).norm(dim=1).view(n, 1, 1) / 2
    across, down = (points - corners.mean(dim=1).view(n, 1, 1, 2)).unbind(dim=3)
    down = down - 0.15 * half  # lips part below the line through the corners
    reach = torch.where(higher < 0, 0.6, 1.0).view(n, 1, 1) * half
    near = torch.exp(-((across / (1.3 * half)) ** 2) - (down / reach) ** 2)
    return points - torch.stack((across * near * wider.view(n, 1, 1), down * near * higher.view(n, 1, 1)), dim=3)


def _triangle(faces: Faces) -> tuple[Tensor, Tensor]:
    """The middle of each mouth (N, 1, 1, 2), and from there to both eyes (N, 2, 2), in pixels."""
    mouth = faces.corners.mean(dim=1, keepdim=True)
    return mouth[:, None], faces.eyes - mouth


def morphed(first: Faces, second: Faces, share: Tensor) -> Faces:
    """New people between two: the second's eyes and mouth laid over the first's, and `share` (N,) of it mixed in."""
    mouth, sides = _triangle(first)
    other_mouth, other_sides = _triangle(second)
    across = sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]
    adjugate = torch.stack((sides[:, 1, 1], -sides[:, 0, 1], -sides[:, 1, 0], sides[:, 0, 0]), dim=1).view(-1, 2, 2)
    linear = adjugate @ other_sides / across.view(-1, 1, 1)  # a solver would make the host wait for the device
    moved = (pixel_grid(len(share)) - mouth) @ linear[:, None] + other_mouth
    crops = torch.lerp(first.crops, sample(second.crops, moved), share.view(-1, 1, 1, 1))
    return Faces(crops=crops, corners=first.corners, eyes=first.eyes, lips=first.lips)


def made_up(draws: Draws, stills: Faces, pictures: Faces) -> tuple[Faces, Faces]:
    """Other lips and teeth: what differs from the skin around the mouth differs more, less or in another colour.

    The same for a still and for the picture that it was made of, lipstick and all.
    """
    n = len(stills.crops)
    half = (stills.corners[:, 1] - stills.corners[:, 0]).norm(dim=1).view(n, 1, 1) / 2
    offset = pixel_grid(n, CROP_PX) - stills.corners.mean(dim=1).view(n, 1, 1, 2)
    across, down = offset.unbind(dim=3)
    near = torch.exp(-((across / (1.4 * half)) ** 4) - ((down - 0.15 * half) / half) ** 4)[:, None]
    skin = (stills.crops * near).sum(dim=(2, 3), keepdim=True) / near.sum(dim=(2, 3), keepdim=True)
    some = (draws.uniform(n, 1, 1, 1) < MADE_UP).float()
    more = torch.exp(draws.normal(n, 1, 1, 1) * 0.35 + 0.25 + draws.normal(n, 3, 1, 1) * 0.12) - 1
    gain = near * more * some
    stills, pictures = (replace(f, crops=(f.crops + gain * (f.crops - skin)).clamp(0, 1)) for f in (stills, pictures))
    return stills, pictures


def with_hair(draws: Draws, stills: Faces, pictures: Faces) -> tuple[Faces, Faces, Tensor]:
    """Some of them with a moustache or a beard, the same on a still and on the picture that it was made of; and how
    much of their upper teeth it hides, (n,).
    """
    hair = Hair.any(len(stills.crops), draws.generator)
    some = draws.uniform(len(stills.crops)) < HAIRY
    stills, pictures = (
        replace(f, crops=torch.where(some.view(-1, 1, 1, 1), wear(f, hair), f.crops)) for f in (stills, pictures)
    )
    over_lip = hair.dense * (hair.top > 0) * (1 - hair.hang / LIP_HIDDEN_TO).clamp(0, 1)
    return stills, pictures, TEETH_HIDDEN * over_lip * some


def recoloured(draws: Draws, pictures: Tensor) -> Tensor:
    """Another light, camera, skin and sharpness for each pair (n, 2, 3, 96, 96)."""
    n = len(pictures)
    gamma = torch.exp(draws.normal(n, 1, 1, 1, 1) * 0.25)
    gain = torch.exp(draws.normal(n, 1, 1, 1, 1) * 0.3 - 0.1 + draws.normal(n, 1, 3, 1, 1) * 0.07)
    out = pictures.clamp(1e-3, 1) ** gamma * gain
    grey = out.mean(dim=2, keepdim=True)
    colourful = (1 + draws.normal(n, 1, 1, 1, 1) * 0.35).clamp(0, 1.4) * (draws.uniform(n, 1, 1, 1, 1) >= GREY)
    out = torch.lerp(grey, out, colourful)
    slope = (torch.linspace(-1, 1, FACE_PX).view(1, 1, 1, 1, -1) * draws.normal(n, 1, 1, 1, 1)) * 0.12
    out = out * (1 + slope)
    blurred = draws.uniform(n, 1, 1, 1, 1) * (draws.uniform(n, 1, 1, 1, 1) < BLURRED)
    out = torch.lerp(out, _averaged(_averaged(out, 5), 5), blurred)
    sharpness = LEAST_SHARP + (SHARPEST - LEAST_SHARP) * draws.uniform(n, 1, 1, 1, 1)
    return torch.lerp(_averaged(out, 3), out, sharpness).clamp(0, 1)


def _averaged(pictures: Tensor, size: int) -> Tensor:
    """Each pixel of (..., 3, H, W) the mean of size x size around it."""
    sums = F.pad(pictures.flatten(0, -4), (size // 2,) * 4, mode="replicate")
    for dim in (3, 2):  # a fifth of what pooling takes on a CPU
        ends = range(sums.shape[dim] - size + 1, sums.shape[dim] + 1)
        first, *others = (sums.narrow(dim, end - ends[0], ends[0]) for end in ends)
        sums = first.clone()
        for other in others:
            sums += other
    return (sums / size**2).view_as(pictures)

"""Still faces made to speak: the lower face follows four mouth parameters, as a smooth warp with a mouth drawn inside.

All in batches of tensors, one warp of coordinates and one bilinear sampling per picture, so that training has new faces
saying new things at every step. Lengths are in half mouth widths, in a frame through the mouth's corners: u along the
mouth, v down the face. Whatever a picture's mouth does, what lies between its lips, by landmarks, is never shown again.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.tools.constants import constant
from gpu_lipsync.tools.inner_lips import UPPER_SHARE, WIDE, edges_at, meeting
from gpu_lipsync.tools.looks import Looks
from gpu_lipsync.tools.lower_lip import lower_lip
from gpu_lipsync.tools.teeth import colour_of_teeth, kept_in_shade

CROP_PX = 128
CLEAR = 0.07  # half mouth widths beyond the lips' edges that are not shown either: teeth begin there
CLEARER = 0.14  # likewise at the corners of a wide mouth, where it is dark and landmarks are further off
BESIDE = 0.12  # half mouth widths beyond the corners of a wide mouth, where the dark of its inside ends
CHEEK = 0.5  # half mouth widths beyond the corners that go up or down with them
FULLER = 0.4  # the share of their height by which the lips of a broad smile swell as they close
LIP_LINE = (0.18, 0.39, 0.31)  # how much less light the line between lips that were apart has, in RGB, as in GRID
TOOTH_EDGES = (0.0, 0.3, 0.54, 0.75)  # incisors and canines, from the middle, at rest
LIP_REACH = 0.5  # how far below the lip its own motion gives way to the jaw's
CHIN, NECK = 1.15, 2.6  # below the lips: what moves with the jaw, and where the motion has died out
INSIDE_RGB = (0.44, 0.26, 0.25)
TONGUE_RGB = (0.86, 0.58, 0.56)
CORNER_SHADE, CORNERS_FROM = 0.35, 0.3  # how dark the corners are, and the gap from which they all are
LOWER_FROM = 0.4  # the gap from which as much of the lower teeth is seen as will be
CHEEKS_AND_CHIN = ((-24.0, 4.0), (24.0, 4.0), (0.0, 22.0))  # pixels from the mouth's centre
PAST_CORNER = 1.35 / 24.0  # of those 24 px: cheeks are at least 1.35 half mouth widths off, beyond a grin's corners


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Faces that can be animated.

    Attributes:
        crops: (N, 3, 128, 128) float RGB in [0, 1].
        corners: (N, 2, 2), of the mouth, left and right, x and y in crop pixels.
        eyes: (N, 2, 2), likewise.
        lips: (N, 2, N_LIP_POINTS), the inner edges of the upper and the lower lip: how far below the line through the
            corners they run, at even steps from corner to corner.
    """

    crops: Tensor
    corners: Tensor
    eyes: Tensor
    lips: Tensor

    def __getitem__(self, index: Tensor | slice) -> "Faces":
        return Faces(crops=self.crops[index], corners=self.corners[index], eyes=self.eyes[index], lips=self.lips[index])


def pixel_grid(n: int, size: int = CROP_PX) -> Tensor:
    """Where each pixel of a plain picture lies in the crop, (n, size, size, 2) as x, y."""
    at = (torch.arange(size) + 0.5) * CROP_PX / size - 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack((x, y), dim=2).expand(n, -1, -1, -1)


def sample(crops: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of crops (N, 3, 128, 128) at points (N, H, W, 2), x and y in pixels."""
    return F.grid_sample(crops, (points + 0.5) * (2 / CROP_PX) - 1, align_corners=False, padding_mode="border")


def animate(faces: Faces, mouth: Tensor, *, looks: Looks, points: Tensor, bare: Tensor | None = None) -> Tensor:
    """Draw faces with their mouths in a given state.

    Args:
        faces: N faces.
        mouth: (N, 4) in [0, 1]: open, spread, round, teeth.
        looks: N sets of looks.
        points: (N, H, W, 2) crop coordinates of the pixels wanted; `pixel_grid` for the plain crop.
        bare: (N, 3, 128, 128), the crops before hair was drawn on them: a beard says nothing of the light on teeth.

    Returns:
        (N, 3, H, W) RGB in [0, 1].
    """
    opening, spread, rounding, _ = (value.view(-1, 1, 1) for value in mouth.unbind(1))
    width_px = _axes(faces)[1].norm(dim=1).view(-1, 1, 1)
    u, v = mouth_frame(faces, points)
    near = torch.exp(-((u / 1.6) ** 2) - ((v - 0.1) / 0.9) ** 2)
    at_rest = u  # teeth do not follow the lips' corners
    u = u / (1 + (0.10 * spread - 0.28 * rounding - 0.10 * opening) * near)
    arch = (1 - u**2).clamp(min=0)
    lips = (1 - (u - looks.lean.view(-1, 1, 1) * arch) ** 2).clamp(min=0) ** looks.roundness.view(-1, 1, 1)
    was_upper, was_lower = edges_at(faces.lips, u)
    beside_corners = torch.exp(-(((u.abs() - 1).clamp(min=0) / CHEEK) ** 2))
    together = edges_at(meeting(faces.lips), u)[0] * beside_corners
    closing = (faces.lips[:, 1] - faces.lips[:, 0]).amax(dim=1).view(-1, 1, 1)
    at_corners = u.abs().clamp(max=1) ** 3 * torch.exp(-(((u.abs() - 1).clamp(min=0) / BESIDE) ** 2))
    at_corners = at_corners * (closing / WIDE).clamp(0, 1)
    clear = torch.maximum(CLEAR * ((was_lower - was_upper) / 0.1).clamp(0, 1), CLEARER * at_corners)
    gap = opening * looks.amplitude.view(-1, 1, 1)
    upper, lower = together - UPPER_SHARE * gap * lips, together + (1 - UPPER_SHARE) * gap * lips
    v_source = source_height(
        v,
        u,
        edges=(upper, lower),
        was=(was_upper - clear, was_lower + clear),
        closing=closing,
        jaw=(1 - UPPER_SHARE) * gap,
        rounding=rounding,
    )
    source = in_pixels(faces, u, v_source)
    line = (closing / 0.1).clamp(0, 1) * torch.exp(-(((v - together) / 0.045) ** 2)) * arch**0.3
    skin = sample(faces.crops, source) * (1 - line[:, None] * constant(LIP_LINE, v.device).view(1, 3, 1, 1))
    skin = skin * lower_lip(skin, skin_colour(faces), below=v - lower, arch=arch, gap=gap, closing=closing)
    light = light_of_skin(faces if bare is None else replace(faces, crops=bare))
    inside = _inside(v, u, at_rest, edges=(upper, lower), mouth=mouth, looks=looks, light=light)
    into, out_of = ((v - upper) * width_px + 0.5).clamp(0, 1), ((lower - v) * width_px + 0.5).clamp(0, 1)
    cover = (into * out_of * ((lower - upper) * width_px).clamp(0, 1))[:, None]
    in_corner = torch.exp(-(((u.abs() - 0.88) / 0.13) ** 2) - ((v - (upper + lower) / 2) / 0.07) ** 2)
    within = ((1 - u.abs()) / 0.1).clamp(0, 1)  # none of it on the cheek, where nothing would take it away again
    corners = 1 - CORNER_SHADE * in_corner * within * (gap / CORNERS_FROM).clamp(0, 1)
    return (torch.lerp(skin, inside, cover) * corners[:, None]).clamp(0, 1)


def _axes(faces: Faces) -> tuple[Tensor, Tensor, Tensor]:
    """The mouth's centre, half of it from there to the right, and as much down the face, each (N, 2) in pixels."""
    half = (faces.corners[:, 1] - faces.corners[:, 0]) / 2
    return faces.corners.mean(dim=1), half, torch.stack((-half[:, 1], half[:, 0]), dim=1)


def mouth_frame(faces: Faces, points: Tensor) -> tuple[Tensor, Tensor]:
    """Where points (N, H, W, 2) in pixels lie, in half mouth widths: u along the mouth, v down the face, (N, H, W)."""
    centre, half, down = _axes(faces)
    offset = points - centre[:, None, None]
    square = half.square().sum(dim=1).view(-1, 1, 1)
    u, v = ((offset * axis[:, None, None]).sum(dim=3) / square for axis in (half, down))
    return u, v


def in_pixels(faces: Faces, u: Tensor, v: Tensor) -> Tensor:
    """What `mouth_frame` undoes: points (N, H, W, 2) in pixels at u and v (N, H, W)."""
    centre, half, down = (axis[:, None, None] for axis in _axes(faces))
    return centre + u[..., None] * half + v[..., None] * down


def source_height(
    v: Tensor,
    u: Tensor,
    *,
    edges: tuple[Tensor, Tensor],
    was: tuple[Tensor, Tensor],
    closing: Tensor,
    jaw: Tensor,
    rounding: Tensor,
) -> Tensor:
    """Which height of the still picture is seen at (u, v) of the moved one, whose lips' edges `was` have become
    `edges`; `closing` (N, 1, 1) is how far they were apart, and their chin comes up as they meet, and they swell.
    """
    above, below = (edges[0] - v).clamp(min=0), (v - edges[1]).clamp(min=0)
    swollen = 0.2 * rounding + FULLER * (closing / 0.3).clamp(0, 1)
    thicker = 1 - swollen * torch.exp(-((torch.maximum(above, below) / 0.35) ** 2))
    lift = (was[0] - edges[0]) * torch.exp(-above / 0.35)
    of_lip = torch.exp(-below / LIP_REACH)
    of_jaw = (0.5 * jaw - 0.7 * closing) * torch.exp(-((u / 1.45) ** 2))
    fade = ((NECK - below) / (NECK - CHIN)).clamp(0, 1)
    drop = ((edges[1] - was[1]) * of_lip + of_jaw * (1 - of_lip)) * fade * fade * (3 - 2 * fade)
    upper_source = edges[0] - above * thicker + lift
    lower_source = edges[1] + below * thicker - drop
    return torch.where(v < (edges[0] + edges[1]) / 2, upper_source, lower_source)


def skin_colour(faces: Faces) -> Tensor:
    """Colour (N, 3, 1, 1) of the cheeks and the chin."""
    centre, half, _ = _axes(faces)
    further = (PAST_CORNER * half.norm(dim=1)).clamp(min=1)
    offsets = torch.stack((further, torch.ones_like(further)), dim=1)[:, None] * constant(CHEEKS_AND_CHIN, half.device)
    around = (centre[:, None] + offsets)[:, None]
    return sample(faces.crops, around).mean(dim=(2, 3), keepdim=True).clamp(0.08, 1)


def light_of_skin(faces: Faces) -> Tensor:
    """Colour (N, 3, 1, 1) of what is lit as the skin is, half as colourful."""
    light = skin_colour(faces)
    return torch.lerp(light, light.mean(dim=1, keepdim=True), 0.5)


def _inside(
    v: Tensor,
    u: Tensor,
    at_rest: Tensor,
    *,
    edges: tuple[Tensor, Tensor],
    mouth: Tensor,
    looks: Looks,
    light: Tensor,
) -> Tensor:
    """The mouth's inside, lit as the skin is: dark, upper teeth, and where it is wide open tongue and lower ones."""
    edge, tall = v - edges[0], (edges[1] - edges[0]).clamp(min=1e-3)
    teeth = mouth[:, 3].view(-1, 1, 1)
    row = looks.teeth_height.view(-1, 1, 1) * (0.25 + 0.75 * teeth)  # hidden rather than grey
    from_edge = (at_rest.abs()[..., None] - constant(TOOTH_EDGES, v.device)).abs().amin(dim=-1)
    between = torch.exp(-((from_edge / 0.045) ** 2))  # two teeth
    upper_row = row - 0.035 * between - edge
    lower_row = (
        looks.lower_height.view(-1, 1, 1) * teeth * (tall / LOWER_FROM).clamp(0, 1) - 0.15 * u**2 - (edges[1] - v)
    )
    tooth = (torch.maximum(upper_row, lower_row) / 0.06).clamp(0, 1) * (1.1 - 0.65 * u**2).clamp(0, 1)
    tongue = ((edge / tall - 0.35) / 0.35).clamp(0, 1) * ((tall - 0.1) / 0.25).clamp(0, 1)

    def lit(rgb: tuple[float, float, float], factor: Tensor) -> Tensor:
        return constant(rgb, v.device).view(1, 3, 1, 1) * light * factor.view(-1, 1, 1, 1)

    inside = lit(INSIDE_RGB, looks.inside_light) * (1.1 - 0.4 * (edge / tall).clamp(0, 1))[:, None]
    inside = torch.lerp(inside, lit(TONGUE_RGB, looks.inside_light.clamp(max=1)), 0.8 * tongue[:, None])
    shade = (0.8 + 0.2 * (edge / 0.15).clamp(0, 1)) * (1 - 0.16 * between)  # the upper lip's shadow
    shade = shade * kept_in_shade(tall)
    return torch.lerp(inside, colour_of_teeth(light, looks.teeth_light) * shade[:, None], tooth[:, None])


def shut(faces: Faces) -> Faces:
    """The same faces with their lips together, whatever gap they had."""
    n = len(faces.crops)
    plain = Looks(**{name: torch.full((n,), 0.5) for name in Looks.__dataclass_fields__})
    crops = animate(faces, torch.zeros(n, 4), looks=plain, points=pixel_grid(n))
    lips = meeting(faces.lips)
    lower = (lips[:, :1, 0] + lips[:, :1, -1]) / 2  # the corners than they were
    corners = faces.corners + lower[..., None] * _axes(faces)[2][:, None]
    return Faces(crops=crops, corners=corners, eyes=faces.eyes, lips=lips - lower[..., None])

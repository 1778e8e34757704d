"""How light the teeth are that a picture shows, so that it is made to speak with the same ones."""

import torch
from torch import Tensor

from gpu_lipsync.tools.constants import constant
from gpu_lipsync.tools.inner_lips import edges_at
from gpu_lipsync.tools.looks import Looks
from gpu_lipsync.tools.synthetic_talkers import Faces, in_pixels, light_of_skin, sample, skin_colour
from gpu_lipsync.tools.teeth import colour_of_teeth, kept_in_shade

GREY = (0.299, 0.587, 0.114)
SEEN_FROM = 0.14  # half mouth widths between the lips
SHOWN_FROM = 0.4  # of the teeth that a mouth may show
ALONG, ACROSS, LIGHTEST = 17, 9, 30  # places looked at between the lips, and how many of them are taken for teeth
LIPS_GREEN = 0.9  # of green over red, as it is in the skin: lips and tongues have less
MEASURED = 0.93  # of their light, for the upper lip's shadow and what lies between two of them
DULLEST, LIGHTEST_OF_ALL = 0.6, 2.0
COPIED = 0.75  # of how much lighter than usual they are: where none are seen, from frame to frame, they are the usual


def seen_in(faces: Faces) -> tuple[Tensor, Tensor]:
    """How light the teeth of filmed faces are, as Looks.teeth_light counts, and whether any are seen, both (N,)."""
    n, device = len(faces.crops), faces.crops.device
    u = torch.linspace(-0.5, 0.5, ALONG, device=device).expand(n, ACROSS, -1)
    upper, lower = edges_at(faces.lips, u)
    v = torch.lerp(upper, lower, torch.linspace(0.1, 0.9, ACROSS, device=device)[:, None].expand_as(upper))
    between = sample(faces.crops, in_pixels(faces, u, v)).flatten(2)
    grey = constant(GREY, device).view(1, 3, 1)
    lightest = (between * grey).sum(dim=1).topk(LIGHTEST, dim=1).indices
    teeth = between.gather(2, lightest[:, None].expand(-1, 3, -1)).mean(dim=2, keepdim=True)
    skin = skin_colour(faces)
    unit = colour_of_teeth(light_of_skin(faces), torch.ones(n, device=device))
    gap = (faces.lips[:, 1] - faces.lips[:, 0]).amax(dim=1)
    plain = (unit[..., 0] * grey).sum(dim=(1, 2)) * kept_in_shade(gap) * MEASURED
    light = (teeth * grey).sum(dim=(1, 2)) / plain
    green = (teeth[:, 1] / teeth[:, 0].clamp(min=0.02))[:, 0] / (skin[:, 1] / skin[:, 0])[:, 0, 0]
    return light.clamp(DULLEST, LIGHTEST_OF_ALL), (gap > SEEN_FROM) & (green > LIPS_GREEN)


def seen_as_drawn(mouth: Tensor, looks: Looks) -> tuple[Tensor, Tensor]:
    """Likewise of faces drawn with `mouth` (N, 4) and `looks`."""
    return looks.teeth_light, (mouth[:, 0] * looks.amplitude > SEEN_FROM) & (mouth[:, 3] > SHOWN_FROM)


def like_those_seen(usual: Tensor, light: Tensor, seen: Tensor) -> Tensor:
    """The light (N,) of teeth by those that the reference shows, or the usual."""
    return torch.where(seen, torch.lerp(usual, light, COPIED), usual)

"""Other throats, microphones and rooms than the material's, and silence: what is done to windows of sound."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.tools.draws import Draws
from gpu_lipsync.tools.talks import MEL_COLUMNS
from gpu_lipsync.tools.vocal_tract import with_tract

MEL_PER_DB = 0.08
PAUSE = 10**-2.6  # of the loudest moment's power: 5 % of its amplitude
THROATS = 0.13  # standard deviation of the logarithm of how much shorter they are


def roughened(draws: Draws, mel: Tensor) -> Tensor:
    """Other throats, levels, microphones and rooms for sound (n, 1, 80, 16): tract, gain, equaliser, noise."""
    n = len(mel)
    mel = with_tract(mel, torch.exp(draws.normal(n) * THROATS).clamp(0.72, 1.4))
    decibels = mel / MEL_PER_DB + draws.uniform(n, 1, 1, 1) * 30 - 20
    decibels = decibels + F.interpolate(draws.normal(n, 1, 5) * 3, 80, mode="linear", align_corners=True)[..., None]
    floor = draws.uniform(n, 1, 1, 1) * 45 - 60
    tilt = torch.linspace(0, -15, 80).view(1, 1, 80, 1) * draws.uniform(n, 1, 1, 1)
    noise = floor + tilt + draws.normal(n, 1, 80, MEL_COLUMNS) * 2.5
    nepers = 0.2303  # per dB of power
    noisy = torch.logaddexp(decibels * nepers, noise * nepers) / nepers
    out = torch.where(draws.uniform(n, 1, 1, 1) < 0.7, noisy, decibels)
    return (out * MEL_PER_DB).clamp(-4, 4)


def quiet(mel: Tensor) -> Tensor:
    """Which windows (N, 1, 80, 16) of one talk are pauses, by the loudest of them, (N,)."""
    power = (10 ** (mel / MEL_PER_DB / 10)).mean(dim=(1, 2, 3))
    return power < power.amax() * PAUSE


def silence(draws: Draws, n: int) -> Tensor:
    """Rooms in which nobody speaks, (n, 1, 80, 16) log-mel."""
    tilt = torch.linspace(0, 1, 80).view(1, 1, 80, 1) * (draws.uniform(n, 1, 1, 1) * 2 - 1.5)
    level = -0.5 - 4.0 * draws.uniform(n, 1, 1, 1)
    return (level + tilt + draws.normal(n, 1, 80, MEL_COLUMNS) * 0.2).clamp(-4, 4)

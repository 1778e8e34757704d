"""Other throats, rooms and microphones than the material's, and silence: what is done to windows of sound.

Reference: a room's reverberation as a tail that falls exponentially, J.-D. Polack, "La transmission de l'énergie sonore
dans les salles", thesis, Université du Maine, 1988.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.tools.draws import Draws
from gpu_lipsync.tools.talks import COLUMNS_PER_S, MEL_COLUMNS
from gpu_lipsync.tools.vocal_tract import with_tract

MEL_PER_DB = 0.08
PAUSE = 10**-2.6  # of the loudest moment's power: 5 % of its amplitude
THROATS = 0.13  # standard deviation of the logarithm of how much shorter they are
REVERBERANT, MUFFLED = 0.6, 0.2  # of the windows


def roughened(draws: Draws, mel: Tensor) -> Tensor:
    """Other throats, rooms, levels and microphones for sound (n, 1, 80, 16): tract, echo, gain, equaliser, noise."""
    n = len(mel)
    mel = with_tract(mel, torch.exp(draws.normal(n) * THROATS).clamp(0.72, 1.4))
    seconds, direct_db = 0.15 + 0.75 * draws.uniform(n), 2 + 18 * draws.uniform(n)
    echoing, dull = (draws.uniform(n, 1, 1, 1) < share for share in (REVERBERANT, MUFFLED))
    decibels = torch.where(echoing, reverberant(mel, seconds, direct_db), mel) / MEL_PER_DB
    decibels = torch.where(dull, muffled(decibels, 45 + 35 * draws.uniform(n)), decibels)
    decibels = decibels + draws.uniform(n, 1, 1, 1) * 30 - 20
    decibels = decibels + F.interpolate(draws.normal(n, 1, 5) * 3, 80, mode="linear", align_corners=True)[..., None]
    floor = draws.uniform(n, 1, 1, 1) * 45 - 60
    tilt = torch.linspace(0, -15, 80).view(1, 1, 80, 1) * draws.uniform(n, 1, 1, 1)
    noise = floor + tilt + draws.normal(n, 1, 80, MEL_COLUMNS) * 2.5
    nepers = 0.2303  # per dB of power
    noisy = torch.logaddexp(decibels * nepers, noise * nepers) / nepers
    out = torch.where(draws.uniform(n, 1, 1, 1) < 0.7, noisy, decibels)
    return (out * MEL_PER_DB).clamp(-4, 4)


def reverberant(mel: Tensor, seconds: Tensor, direct_db: Tensor) -> Tensor:
    """Sound in rooms that throw it back; what was said before a window leaves nothing in it.

    Args:
        mel: (n, 1, 80, T) log-mel.
        seconds: (n,), in which a room's tail falls by 60 dB.
        direct_db: (n,), by how much what comes straight is louder than the whole tail.
    """
    falls = (60 / COLUMNS_PER_S / seconds)[:, None, None]  # dB a column
    columns = torch.arange(mel.shape[3], device=mel.device)
    later = columns[:, None] - columns
    tail = (later > 0) * 10 ** (-falls * later.clamp(min=0) / 10) * (10 ** (falls / 10) - 1)  # 1 in all, if it ended
    tail = tail * 10 ** (-direct_db[:, None, None] / 10)
    power = 10 ** (mel[:, 0] / MEL_PER_DB / 10)
    return (power + power @ tail.transpose(1, 2)).log10()[:, None] * (10 * MEL_PER_DB)


def muffled(decibels: Tensor, bands: Tensor) -> Tensor:
    """Levels (n, 1, 80, T) in dB, falling by 3 dB a band above `bands` (n,), as behind a cloth or on a narrow line."""
    band = torch.arange(decibels.shape[2], device=decibels.device)
    return decibels - 3 * (band - bands[:, None]).clamp(min=0)[:, None, :, None]


def quiet(mel: Tensor) -> Tensor:
    """Which windows (N, 1, 80, 16) of one talk are pauses, by the loudest of them, (N,)."""
    power = (10 ** (mel / MEL_PER_DB / 10)).mean(dim=(1, 2, 3))
    return power < power.amax() * PAUSE


def silence(draws: Draws, n: int) -> Tensor:
    """Rooms in which nobody speaks, (n, 1, 80, 16) log-mel."""
    tilt = torch.linspace(0, 1, 80).view(1, 1, 80, 1) * (draws.uniform(n, 1, 1, 1) * 2 - 1.5)
    level = -0.5 - 4.0 * draws.uniform(n, 1, 1, 1)
    return (level + tilt + draws.normal(n, 1, 80, MEL_COLUMNS) * 0.2).clamp(-4, 4)

"""Mouths for real speech without a transcript: a small linear model, fitted where the mouth is known.

It sees loudness in a few bands only, each relative to the recording's own loud parts, so what it learns from synthetic
voices holds for real ones; a network that sees whole spectrograms falls silent on them instead.
"""

import torch
from torch import Tensor

from gpu_lipsync.tools.synthetic_speech import TRACK_HZ

MEL_PER_DB = 0.08
COLUMNS_PER_S = 80
BAND_EDGES = (0, 6, 12, 20, 30, 42, 58, 80)  # in mel bands
REACH = 3  # columns to each side
RIDGE = 10.0

Talk = tuple[Tensor, Tensor]  # log-mel (80, T), mouth (4, m)


def band_loudness(mel: Tensor) -> Tensor:
    """Features (T, n) of a log-mel spectrogram (80, T): square root of each band's amplitude, with its neighbours."""
    power = 10 ** (mel.float() / MEL_PER_DB / 10)
    bands = torch.stack([power[low:high].sum(0) for low, high in zip(BAND_EDGES, BAND_EDGES[1:], strict=False)])
    level = torch.cat((bands, power.sum(0, keepdim=True))) ** 0.25
    level = level / level.quantile(0.95, dim=1, keepdim=True).clamp(min=1e-6)
    padded = torch.nn.functional.pad(level[None], (REACH, REACH), mode="replicate")[0]
    shifted = [padded[:, i : i + level.shape[1]] for i in range(2 * REACH + 1)]
    return torch.cat((*shifted, torch.ones(1, level.shape[1]))).T


def fit(talks: list[Talk]) -> Tensor:
    """Ridge regression from band loudness to the mouth: weights (n, 4)."""
    features = [band_loudness(mel) for mel, _ in talks]
    mouths = []
    for columns, (_, mouth) in zip(features, talks, strict=True):
        at = (torch.arange(len(columns)) * TRACK_HZ / COLUMNS_PER_S).long().clamp(max=mouth.shape[1] - 1)
        mouths.append(mouth[:, at].float().T)
    x, y = torch.cat(features).double(), torch.cat(mouths).double()
    return torch.linalg.solve(x.T @ x + RIDGE * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y).float()


def guess_mouth(mel: Tensor, weights: Tensor) -> Tensor:
    """Mouth (4, m) at TRACK_HZ for a log-mel spectrogram (80, T), as lively as those it was fitted to."""
    guess = (band_loudness(mel) @ weights).T
    mean = guess.mean(dim=1, keepdim=True)
    lively = torch.tensor([1.45, 1.3, 1.3, 1.2]).view(4, 1)  # regression shrinks what it cannot know
    quiet = (guess[:1] / guess[:1].quantile(0.9)).clamp(0, 0.4) / 0.4
    lips = ((guess - mean) * lively + mean).clamp(0, 1) * quiet.clamp(0, 1)
    m = int(mel.shape[1] * TRACK_HZ / COLUMNS_PER_S)
    return torch.nn.functional.interpolate(lips[None], m, mode="linear", align_corners=False)[0]

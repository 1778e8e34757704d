"""Other throats: a shorter vocal tract moves a voice's resonances up, a longer one down.

Reference: N. Jaitly, G. Hinton, "Vocal Tract Length Perturbation (VTLP) improves speech recognition", ICML Workshop on
Deep Learning for Audio, Speech and Language Processing, 2013.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.tools.constants import constant

LOWEST_HZ, HIGHEST_HZ = 55.0, 7600.0  # of the mel bands
LINEAR_TO_HZ, HZ_PER_MEL = 1000.0, 200 / 3  # Slaney's scale is straight below, logarithmic above
LOG_STEP = math.log(6.4) / 27


def with_tract(mel: Tensor, factors: Tensor) -> Tensor:
    """Sound of other throats.

    Args:
        mel: (n, 1, bands, columns) log-mel.
        factors: (n,): by how much each voice's resonances lie higher.

    Returns:
        Like `mel`: each band has what lay `factors` times lower; beyond the ends, what is there.
    """
    n, _, bands, columns = mel.shape
    lowest, highest = (_to_mel(constant(hz, mel.device)) for hz in (LOWEST_HZ, HIGHEST_HZ))
    step = (highest - lowest) / (bands + 1)
    centres = _to_hz(lowest + step * torch.arange(1, bands + 1, device=mel.device))
    source = (_to_mel(centres / factors[:, None]) - lowest) / step - 1  # (n, bands)
    y = ((source.clamp(0, bands - 1) + 0.5) / bands * 2 - 1)[:, :, None].expand(n, bands, columns)
    x = ((torch.arange(columns, device=mel.device) + 0.5) / columns * 2 - 1).expand(n, bands, columns)
    return F.grid_sample(mel, torch.stack((x, y), dim=3), align_corners=False, padding_mode="border")


def _to_mel(hz: Tensor) -> Tensor:
    above = LINEAR_TO_HZ / HZ_PER_MEL + (hz.clamp(min=1) / LINEAR_TO_HZ).log() / LOG_STEP
    return torch.where(hz < LINEAR_TO_HZ, hz / HZ_PER_MEL, above)


def _to_hz(mel: Tensor) -> Tensor:
    above = LINEAR_TO_HZ * ((mel - LINEAR_TO_HZ / HZ_PER_MEL) * LOG_STEP).exp()
    return torch.where(mel < LINEAR_TO_HZ / HZ_PER_MEL, mel * HZ_PER_MEL, above)

"""Generators like trained ones, and what goes into them."""

import torch
from torch import Tensor, nn

from gpu_lipsync.models import Wav2Lip

WIDTH = 0.125  # of the networks the format tests pass around


def trained_like(width: float = WIDTH) -> Wav2Lip:
    """A seeded generator whose batch norms hold the statistics of a batch, as after training.

    With invented ones the signal fades from layer to layer, and the mouth would depend on no sound, and on a third of
    the weights only.
    """
    torch.manual_seed(0)
    generator = Wav2Lip(width).train()
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = 1.0
    with torch.no_grad():
        generator(*speech_and_faces(8))
    return generator.eval().requires_grad_(False)


def speech_and_faces(n: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    seed = torch.Generator().manual_seed(1)
    mel, faces = torch.randn(n, 1, 80, 16, generator=seed), torch.rand(n, 3, 96, 96, generator=seed)
    return mel.clamp(-4, 4).to(device), faces.to(device)

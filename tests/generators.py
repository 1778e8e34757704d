"""Generators like trained ones, and what goes into them."""

import torch
from torch import Tensor, nn

from gpu_lipsync.models import Wav2Lip

WIDTH = 0.125  # of the networks the format tests pass around


def trained_like(width: float = WIDTH) -> Wav2Lip:
    """A seeded generator whose batch norms hold statistics of their own, as after training."""
    torch.manual_seed(0)
    generator = Wav2Lip(width)
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return generator.eval().requires_grad_(False)


def speech_and_faces(n: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    seed = torch.Generator().manual_seed(1)
    mel, faces = torch.randn(n, 1, 80, 16, generator=seed), torch.rand(n, 3, 96, 96, generator=seed)
    return mel.clamp(-4, 4).to(device), faces.to(device)

"""Which device a run uses, and how host memory reaches it."""

from __future__ import annotations

import torch
from torch import Tensor

from gpu_lipsync.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` stands for.

    Raises:
        ConfigError: CUDA is asked for by name and not there. Never a silent fallback to the CPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        n_devices = torch.cuda.device_count()
        if not torch.cuda.is_available() or (device.index or 0) >= n_devices:
            raise ConfigError(f"device {name} is not there (CUDA devices found: {n_devices}); use auto or cpu")
    return device


def upload(host: Tensor, device: torch.device | str) -> Tensor:
    """Copy a host tensor to the device; on CUDA from pinned memory, without waiting for the copy."""
    target = torch.device(device)
    if target.type == "cuda" and torch.cuda.is_available():
        return host.pin_memory().to(target, non_blocking=True)
    return host.to(target)

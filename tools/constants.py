"""Small constants of training, brought to a device once: a copy from the host at each step would make it wait."""

from typing import Any

import torch
from torch import Tensor

from gpu_lipsync.ops import device_constant


@device_constant
def constant(values: tuple[Any, ...] | float, device: torch.device) -> Tensor:
    """The same tensor for all callers: not to be changed in place."""
    return torch.tensor(values, device=device)

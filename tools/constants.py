"""Small constants of training, brought to a device once: a copy from the host at each step would make it wait."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache
def constant(values: tuple[Any, ...] | float, device: torch.device) -> Tensor:
    """The same tensor for all callers: not to be changed in place."""
    return torch.tensor(values, device=device)

"""What is built once per size and device, and how it gets there."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, TypeVarTuple

import torch
from torch import Tensor
from torch._guards import detect_fake_mode

SIZES_OF_A_BATCH = 40  # to remember: without smoothing each of CUDA's 32 frames may have a size of its own
Key = TypeVarTuple("Key")
T = TypeVar("T")


def remembered(entries: int) -> Callable[[Callable[[*Key], T]], Callable[[*Key], T]]:
    """Remember what a function returns for the last `entries` sets of (hashable, positional) arguments.

    Shape-only runs on fake tensors have entries of their own: a fake constant in a real run would be a crash far
    from its cause.
    """

    def decorate(build: Callable[[*Key], T]) -> Callable[[*Key], T]:
        @lru_cache(maxsize=entries)
        def built(_mode: object, key: Any) -> T:
            with torch.inference_mode(False), torch.device("cpu"):  # the default, whatever a host program's is
                return build(*key)

        @wraps(build)
        def constant(*key: *Key) -> T:
            mode = fake_mode()
            return built(mode, key if mode is not None else tuple(_with_number(part) for part in key))

        return constant

    return decorate


def _with_number(part: Any) -> Any:
    """A CUDA device with the number that it has for now, if it is one without."""
    if isinstance(part, torch.device) and part.type == "cuda" and part.index is None and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return part


def device_constant(build: Callable[[*Key], T]) -> Callable[[*Key], T]:
    """`remembered`, for what is small: the last 64."""
    return remembered(64)(build)


def fake_mode() -> object | None:
    """The mode under which tensors are shapes without storage, or None in a real run."""
    return detect_fake_mode() if torch._C._len_torch_dispatch_stack() else None


def is_cpu(tensor: Tensor) -> bool:
    """Whether a CPU is to work on it, its own way. Asked here, so that a test can have a GPU's ways go on a CPU."""
    return tensor.device.type == "cpu"


def on_host(tensor: Tensor) -> bool:
    """Whether NumPy and threads may work on its memory: it is a CPU's, and no fake tensor, which has none."""
    return is_cpu(tensor) and fake_mode() is None


def upload(host: Tensor, device: torch.device | str) -> Tensor:
    """Copy a host tensor to `device` without waiting for it: pinned and asynchronous where that exists."""
    if torch.device(device).type == "cuda" and host.device.type == "cpu" and fake_mode() is None:
        # Not by pin_memory, which keeps strides: a batch's windows of sound lie spread over all of them, and it would
        # pin what lies between; and a copy of what is not dense goes through memory that is not pinned.
        host = torch.empty_like(host, pin_memory=True).copy_(host)
    return host.to(device, non_blocking=True)

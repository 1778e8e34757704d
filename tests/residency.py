"""What a run does to tensors, seen from below, and what of it would make a GPU wait or send pixels to the host."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

UPLOAD_LIMIT = 4096  # values: boxes and the like; a mouth of 96 x 96 has 27 648
MEL_FILTERS = 80 * 401  # values, once per clip
UPLOADS = {"_to_copy", "copy_"}
HOST_VALUES = {"lift_fresh", "lift_fresh_copy", "detach", "unbind", "_pin_memory", "pin_memory", "is_pinned"}


class Residency(TorchDispatchMode):
    """Writes down every operation, and separately those that leave the device."""

    def __init__(self, upload_limit: int = UPLOAD_LIMIT) -> None:
        """`upload_limit`: values that may be on the host or come from there in one tensor."""
        super().__init__()
        self._upload_limit = upload_limit
        self.operations: list[str] = []
        self.offences: list[str] = []
        self.of_the_host: list[str] = []  # operations that are given a tensor on the host, uploads too

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation, then judge it."""
        result = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        if func.namespace != "prim":
            self.operations.append(name)
            if any(t.device.type == "cpu" for t in _tensors((args, kwargs))):
                self.of_the_host.append(name)
            offence = _offence(name, _tensors((args, kwargs)), _tensors(result), self._upload_limit)
            if not offence and name in UPLOADS and _waits(args, kwargs or {}, _tensors(result)):
                offence = "copies from the host, which waits for it; ops.upload does not"
            if name == "bmm" and args[0].shape[2] == 1:
                offence = "an outer product, which PyTorch 2.14 has Triton compile: a GPU host may lack what that takes"
            if offence:
                self.offences.append(f"{func}: {offence}")
        return result


def _offence(name: str, given: list[Tensor], made: list[Tensor], upload_limit: int) -> str | None:
    hosts, guests = [t for t in given if t.device.type == "cpu"], [t for t in given if t.device.type != "cpu"]
    made_on_host = [t for t in made if t.device.type == "cpu"]
    if name == "_local_scalar_dense" or (guests and made_on_host):
        return "brings values to the host, which waits for them"
    if any(t.numel() > upload_limit for t in (*hosts, *made_on_host)):
        return "works on a picture on the host"
    if (guests or (made and not made_on_host)) and name not in UPLOADS and any(t.ndim for t in hosts):
        return "mixes a tensor on the host with those on the device"
    if made_on_host and name not in HOST_VALUES and any(t.ndim for t in made_on_host):
        return "makes a tensor on the host"
    return None


def _waits(args: tuple[Any, ...], kwargs: dict[str, Any], made: list[Tensor]) -> bool:
    """Whether a copy is one from the host's memory to the device without `non_blocking`."""
    from_host = any(t.device.type == "cpu" for t in _tensors(args)) and any(t.device.type != "cpu" for t in made)
    at_once = kwargs.get("non_blocking", False) or (len(args) > 2 and args[2] is True)  # copy_(self, src, non_blocking)
    return from_host and not at_once


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def watched(run: Callable[[], object], upload_limit: int = UPLOAD_LIMIT) -> Residency:
    """Do `run` and say what it did."""
    with Residency(upload_limit) as residency:
        run()
    return residency


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Tensors of shape and device without storage: a CUDA device where there is none."""
    # no_grad, not inference_mode: in that one even the boxes, which are real and on the host, cannot be read.
    with FakeTensorMode(), torch.no_grad():
        yield


@contextmanager
def no_waiting() -> Iterator[None]:
    """On a real CUDA device: any operation that makes the host wait raises."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.no_grad():
            yield
    finally:
        torch.cuda.set_sync_debug_mode(before)

"""What the operations of a run cost, counted on fake tensors: no GPU is needed, and no arithmetic is done."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# Read as much as they give, however large what they pick from is; write as much as they are given.
PICKING = {"index_select", "index", "gather", "embedding"}
PLACING = {"index_put_", "scatter_", "index_copy_"}
FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"}


@dataclass(frozen=True)
class Cost:
    """Of one operation, or of several together."""

    n_operations: int = 0
    single_flops: int = 0  # multiplications and additions, each counted
    tf32_flops: int = 0  # those of float32 convolutions, which torch lets cuDNN round to TF32 where a GPU has it
    half_flops: int = 0  # those of convolutions and products in half precision, which matrix units do
    n_bytes: int = 0  # read and written, each operation for itself: nothing is assumed to stay in a cache

    @property
    def flops(self) -> int:
        """All of them."""
        return self.single_flops + self.tf32_flops + self.half_flops

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.n_operations + other.n_operations,
            self.single_flops + other.single_flops,
            self.tf32_flops + other.tf32_flops,
            self.half_flops + other.half_flops,
            self.n_bytes + other.n_bytes,
        )


@dataclass
class Record:
    """The operations of a run that touch memory, in order; views are left out."""

    names: list[str] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)

    @property
    def total(self) -> Cost:
        """All of them together."""
        return sum(self.costs, Cost())


class OperationRecorder(TorchDispatchMode):
    """Fills `record` with every operation done under it."""

    def __init__(self) -> None:
        super().__init__()
        self.record = Record()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation, then write down what it costs."""
        kwargs = kwargs or {}
        if func.namespace == "prim":  # asks for a device or a layout
            return func(*args, **kwargs)
        if func._overloadpacket not in flop_registry:  # in inference mode composite ones come here whole
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        name = func._overloadpacket.__name__
        if not _is_view(func) and name not in FREE:
            self.record.names.append(name)
            self.record.costs.append(_cost(func, name, args, kwargs, result))
        return result


def record_operations(run: Callable[[], object]) -> Record:
    """Do `run` and say what operations it took."""
    with OperationRecorder() as recorder:
        run()
    return recorder.record


def _is_view(func: Any) -> bool:
    """Whether the result shares an argument's memory without writing to it."""
    if torch.Tag.inplace_view in func.tags:
        return True
    returned = [value.alias_info for value in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in returned)


def _cost(func: Any, name: str, args: Any, kwargs: Any, result: Any) -> Cost:
    given, made = _tensors((args, kwargs)), _tensors(result)
    flops = max((tensor.numel() for tensor in (*given, *made)), default=0)  # one for each value, as good as nothing
    n_bytes = _n_bytes(given) + _n_bytes(made)
    if name in PICKING:
        flops, n_bytes = 0, 2 * _n_bytes(made) + _n_bytes(given[1:])
    elif name in PLACING:
        flops, n_bytes = 0, 2 * _n_bytes(given[-1:]) + _n_bytes(given[1:-1])
    elif func._overloadpacket in flop_registry:
        flops = int(flop_registry[func._overloadpacket](*args, **kwargs, out_val=result))
        if made[0].dtype in (torch.float16, torch.bfloat16):
            return Cost(1, half_flops=flops, n_bytes=n_bytes)
        if name == "convolution":
            return Cost(1, tf32_flops=flops, n_bytes=n_bytes)
    return Cost(1, single_flops=flops, n_bytes=n_bytes)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _n_bytes(tensors: Iterable[Tensor]) -> int:
    """Of memory behind the tensors; what an expanded one repeats counts once."""
    total = 0
    for tensor in tensors:
        distinct = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride != 0]
        total += torch.Size(distinct).numel() * tensor.element_size()
    return total

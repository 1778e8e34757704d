"""Which operations are done within, and on which devices they make tensors."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Operations(TorchDispatchMode):
    """Their names, in order, and the kinds of the devices of what they made."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.devices: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.names.append(func._overloadpacket.__name__)
        self.devices |= {made.device.type for made in tree_leaves(result) if isinstance(made, Tensor)}
        return result

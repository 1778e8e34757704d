"""PyTorch without what only its compilers need: a quarter of the time that importing it takes."""

from __future__ import annotations

import sys
from types import ModuleType

# Python kernels for tensors that have no values, some two thousand, with the decompositions and references that they
# are made from; and what writes programs down.
ONLY_FOR_COMPILERS = ("torch._meta_registrations", "torch.export")


def import_torch() -> None:
    """Import torch without the parts that torch.compile, torch.export and fake tensors alone make use of.

    For a process that computes and does nothing else: a host program might want them. `import` by their names still
    brings them in afterwards, and torch._dynamo once torch._meta_registrations is there.
    """
    if "torch" in sys.modules:
        return
    absent = {name: ModuleType(name, "Left out by gpu_lipsync/process/lean_torch.py.") for name in ONLY_FOR_COMPILERS}
    sys.modules.update(absent)
    try:
        import torch
    finally:
        for name in absent:
            del sys.modules[name]
    for name, module in absent.items():
        attribute = name.removeprefix("torch.")
        if vars(torch).get(attribute) is module:
            delattr(torch, attribute)

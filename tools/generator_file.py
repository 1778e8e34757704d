"""A finished demo generator's file: written, and read into a network that is to learn on."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def start_from(generator: nn.Module, file: Path) -> None:
    """Give a generator on any device a file's weights.

    Raises:
        RuntimeError: the file lacks a weight, or has one of another shape or name.
    """
    counters = {name: count for name, count in generator.state_dict().items() if name.endswith("num_batches_tracked")}
    generator.load_state_dict(counters | load_file(file))


def save(out: Path, state: dict[str, Any]) -> None:
    """Everything to go on from, and the averaged generator as it would ship: half precision but for batch norm."""
    torch.save(state, out / "state.tmp")
    weights = {
        name: (tensor.half() if ".conv_block.1." not in name else tensor.float()).contiguous().cpu()
        for name, tensor in state["average"].items()
        if "num_batches_tracked" not in name
    }
    save_file(weights, out / "demo.tmp")
    # The state last: a run that is broken off here makes both again.
    (out / "demo.tmp").replace(out / "demo.safetensors")
    (out / "state.tmp").replace(out / "state.pt")

"""A finished demo generator's file, as `train_demo.save` writes it, read into a network that is to learn on."""

from pathlib import Path

from safetensors.torch import load_file
from torch import nn


def start_from(generator: nn.Module, file: Path) -> None:
    """Give a generator on any device a file's weights.

    Raises:
        RuntimeError: the file lacks a weight, or has one of another shape or name.
    """
    counters = {name: count for name, count in generator.state_dict().items() if name.endswith("num_batches_tracked")}
    generator.load_state_dict(counters | load_file(file))

"""The mean of generators that descend from each other or from one: steadier on strangers than the last of them.

    python -m gpu_lipsync.tools.average_generators EARLIER.safetensors LATER.safetensors --out demo.safetensors

Reference: arXiv 2203.05482; the batch norms' statistics are averaged like the weights, which makes the variances of
the decoder's last layers up to a fifth too large (checkpoints/HISTORY.md).
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def average(generators: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Means of tensors by name, taken in float32 and given in the first's types.

    Raises:
        ValueError: names or shapes differ.
    """
    first, *others = generators
    for other in others:
        if differing := first.keys() ^ other.keys():
            raise ValueError(f"the generators do not have the same tensors, got {sorted(differing)[0]} in one only")
        for name, tensor in first.items():
            if tensor.shape != other[name].shape:
                raise ValueError(f"{name} differs in shape, got {tuple(tensor.shape)} and {tuple(other[name].shape)}")
    return {
        name: torch.stack([generator[name].float() for generator in generators]).mean(dim=0).to(tensor.dtype)
        for name, tensor in first.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    save_file(average([load_file(path) for path in arguments.generators]), arguments.out)


if __name__ == "__main__":
    main()

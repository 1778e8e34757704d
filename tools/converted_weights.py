"""What both converters do: take the known file only, and write the same bytes each time."""

import hashlib
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


def check_known(content: bytes, name: str, sha256: str) -> None:
    """Refuse another file than the one whose licence and layers were looked at."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise SystemExit(f"{name} is not the known file: sha256 {digest}, expected {sha256}")


def write_weights(state: dict[str, Tensor], name: str, *, origin: str) -> None:
    """Write checkpoints/`name` and print what the README there and the module state about it."""
    # One entry only: safetensors writes several in random order, and the file must come out the same each time.
    content = save(state, metadata={"origin": origin})
    target = Path(__file__).parent.parent / "checkpoints" / name
    target.write_bytes(content)
    n_values = sum(tensor.numel() for tensor in state.values())
    print(f"{target}: {len(content)} bytes, {n_values} parameters, sha256 {hashlib.sha256(content).hexdigest()}")

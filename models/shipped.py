"""Reading the weights that ship with the program."""

import hashlib
from pathlib import Path

from torch import Tensor

from gpu_lipsync.errors import CheckpointError, is_shortage, shortage


def read_weights(path: Path, of: str, *, way_out: str, sha256: str | None) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, on the host.

    Args:
        path: of the file.
        of: whose weights they are, for the message.
        way_out: likewise, what to do about it.
        sha256: what the file has to be, where that is known.

    Raises:
        CheckpointError: the file cannot be read, is another one, or holds no tensors.
        ResourceError: the host is short of memory, threads or open files.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()
    except OSError as error:
        what = f"cannot read the {of}'s weights {path}"
        refused = CheckpointError(f"{what} ({error.strerror}); {way_out}")
        raise (shortage(what, error) if is_shortage(error) else refused) from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise CheckpointError(f"the {of}'s weights {path} are damaged ({len(content)} bytes); {way_out}")
    try:
        return load(content)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no .safetensors file, or is damaged ({error}); {way_out}") from error

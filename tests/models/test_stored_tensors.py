"""How weights lie in files: parts of one storage, in other layouts and precisions, and as old PyTorch names them."""

import json
import math
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from gpu_lipsync.errors import CheckpointError
from gpu_lipsync.models import load_wav2lip
from gpu_lipsync.models.weights import fold_batch_norm, read_generator
from tests.generators import speech_and_faces, trained_like

State = dict[str, Tensor]

PICKLED: dict[str, Callable[[object, Path], None]] = {
    "zip": torch.save,
    "before PyTorch 1.6": partial(torch.save, _use_new_zipfile_serialization=False),
}
SAVED: dict[str, Callable[[State, Path], None]] = {**PICKLED, "safetensors": save_file}


def published() -> State:
    """Without the counters of batch norms, which no mouth is made of."""
    return {name: t for name, t in trained_like().state_dict().items() if not name.endswith("num_batches_tracked")}


def in_one_storage(state: State) -> State:
    """As optimisers that flatten their parameters leave them: each behind the one before, in the same storage."""
    flat = torch.cat([torch.full((7,), torch.nan), *(tensor.flatten() for tensor in state.values())])
    parts: State = {}
    begin = 7
    for name, tensor in state.items():
        parts[name] = flat[begin : begin + tensor.numel()].view(tensor.shape)
        begin += tensor.numel()
    return parts


def channels_last(state: State) -> State:
    """As a network trained in that layout is saved: its strides are no longer those of its shape."""
    layouts = {4: torch.channels_last}
    return {n: t.contiguous(memory_format=layouts.get(t.dim(), torch.contiguous_format)) for n, t in state.items()}


def every_other(state: State) -> State:
    """Views that skip what lies between their numbers."""
    return {name: torch.stack((tensor, tensor + 1), dim=-1)[..., 0] for name, tensor in state.items()}


@pytest.mark.parametrize("kind", PICKLED)
@pytest.mark.parametrize("laid_out", [in_one_storage, channels_last, every_other])
def test_a_tensor_is_read_from_where_it_lies(laid_out: Callable[[State], State], kind: str, tmp_path: Path) -> None:
    state = published()
    PICKLED[kind](laid_out(state), tmp_path / "weights.pth")
    found = read_generator(tmp_path / "weights.pth")
    assert set(found) == set(state)
    for name, tensor in found.items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_are_the_numbers_that_were_saved(
    dtype: torch.dtype, kind: str, tmp_path: Path
) -> None:
    """Half the bits of the one kind read as the other are numbers, too, of other mouths."""
    state = {name: tensor.to(dtype) for name, tensor in published().items()}
    SAVED[kind](state, tmp_path / "weights.bin")
    found = read_generator(tmp_path / "weights.bin")
    assert {tensor.dtype for tensor in found.values()} == {dtype}
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    save_file({name: tensor.float() for name, tensor in state.items()}, tmp_path / "rounded.safetensors")
    mel, faces = speech_and_faces(2)
    mouths, expected = (load_wav2lip(tmp_path / name)(mel, faces) for name in ("weights.bin", "rounded.safetensors"))
    assert torch.equal(mouths, expected)  # each is folded in float32, from the same numbers


def test_a_safetensors_entry_with_fewer_bytes_than_its_shape_asks_for_is_refused(tmp_path: Path) -> None:
    """What lies behind them is another tensor's, and would be taken for the rest of this one."""
    path, name = tmp_path / "short.safetensors", "output_block.1.weight"
    save_file(published(), path)
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header[name]["data_offsets"][1] -= 4
    changed = json.dumps(header, separators=(",", ":")).encode()
    assert len(changed) <= length
    path.write_bytes(content[:8] + changed.ljust(length) + content[8 + length :])
    n_bytes = 4 * math.prod(header[name]["shape"])
    with pytest.raises(CheckpointError, match=rf"{name} has {n_bytes - 4} bytes for a shape of \(3, "):
        load_wav2lip(path)


class OldTensor:
    """Pickles as a tensor did before PyTorch 0.4."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __reduce__(self) -> tuple[Any, ...]:
        tensor = self._tensor
        place = (tensor._typed_storage(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        return torch._utils._rebuild_tensor, place


@pytest.mark.parametrize("kind", PICKLED)
def test_tensors_as_pytorch_before_0_4_pickled_them_are_read(kind: str, tmp_path: Path) -> None:
    state = published()
    PICKLED[kind]({"state_dict": {name: OldTensor(tensor) for name, tensor in state.items()}}, tmp_path / "old.pth")
    theirs = torch.load(tmp_path / "old.pth", weights_only=True)["state_dict"]
    found = read_generator(tmp_path / "old.pth")
    assert all(torch.equal(found[name], tensor) and torch.equal(theirs[name], tensor) for name, tensor in state.items())


def test_renamed_layers_may_be_folded_ones(tmp_path: Path) -> None:
    """As of a module scripted for use: no batch norms, and names of its own."""
    folded = fold_batch_norm(trained_like().state_dict())
    torch.save({f"w{i:03d}": tensor for i, tensor in enumerate(folded.values())}, tmp_path / "renamed.pth")
    found = read_generator(tmp_path / "renamed.pth")
    assert set(found) == set(folded) and all(torch.equal(found[name], tensor) for name, tensor in folded.items())

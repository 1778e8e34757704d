"""Files of generators: every format loads, code in them never runs, what is none is refused in one line."""

import io
import os
import pickle
import struct
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gpu_lipsync.errors import CheckpointError
from gpu_lipsync.models import Wav2Lip, load_wav2lip
from gpu_lipsync.models.weights import fold_batch_norm
from tests.generators import speech_and_faces, trained_like


def training_checkpoint(generator: Wav2Lip) -> dict[str, Any]:
    """As the original training script saves it: optimiser moments beside the network."""
    optimizer = torch.optim.Adam(p.requires_grad_() for p in generator.parameters())
    for parameter in generator.parameters():
        parameter.grad = torch.ones_like(parameter)
    state = {name: tensor.detach().clone() for name, tensor in generator.state_dict().items()}
    optimizer.step()
    return {"state_dict": state, "optimizer": optimizer.state_dict(), "global_step": 7, "global_epoch": 1}


def with_module_prefix(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return checkpoint | {"state_dict": {f"module.{k}": v for k, v in checkpoint["state_dict"].items()}}


class Settings(NamedTuple):
    """What a training script may keep beside the weights."""

    width: float = 0.25


def with_objects(generator: Wav2Lip) -> dict[str, Any]:
    """Beside the weights, objects that pickle makes without calling __init__ or setting a state."""
    beside = {"torch_version": torch.__version__, "settings": Settings(), "arguments": Namespace(), "object": object()}
    return beside | {"state_dict": generator.state_dict()}


def with_other_networks(generator: Wav2Lip) -> dict[str, Any]:
    """Averaged weights under names of their own, and a discriminator, whose first layers are called the same."""
    checkpoint = with_module_prefix(training_checkpoint(generator))
    averaged = {f"averaged.{name}": tensor * 0.5 for name, tensor in generator.state_dict().items()}
    layers = {f"face_encoder_blocks.{i}.0.conv_block.0.weight": torch.ones(8, 3, 7, 7) for i in range(9)}
    return {"discriminator": layers, "state_dict": checkpoint["state_dict"] | averaged}


def save_without_crcs(tensors: object, path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(tensors, path)
    finally:
        torch.serialization.set_crc32_options(True)


class Wrapped(nn.Module):
    """A scripted generator need not be the archive's root."""

    def __init__(self, generator: Wav2Lip) -> None:
        super().__init__()
        self.inner = generator

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        return self.inner(mel, faces)


FORMATS: dict[str, Callable[[Wav2Lip, Path], None]] = {
    "training": lambda g, path: torch.save(training_checkpoint(g), path),
    "training, module. prefix": lambda g, path: torch.save(with_module_prefix(training_checkpoint(g)), path),
    "training, before PyTorch 1.6": lambda g, path: torch.save(
        with_module_prefix(training_checkpoint(g)), path, _use_new_zipfile_serialization=False
    ),
    "with other networks": lambda g, path: torch.save(with_other_networks(g), path),
    "with objects": lambda g, path: torch.save(with_objects(g), path),
    "with objects, before PyTorch 1.6": lambda g, path: torch.save(
        with_objects(g), path, _use_new_zipfile_serialization=False
    ),
    "state dict": lambda g, path: torch.save(g.state_dict(), path),
    "state dict without CRCs": lambda g, path: save_without_crcs(g.state_dict(), path),
    "whole module": lambda g, path: torch.save(g, path),
    "whole module, before PyTorch 1.6": lambda g, path: torch.save(g, path, _use_new_zipfile_serialization=False),
    "traced": lambda g, path: torch.jit.trace(g, speech_and_faces(1), check_trace=False).save(str(path)),
    "traced inside another": lambda g, path: torch.jit.trace(Wrapped(g), speech_and_faces(1), check_trace=False).save(
        str(path)
    ),
    "safetensors": lambda g, path: save_file(g.state_dict(), path),
    "folded safetensors": lambda g, path: save_file(fold_batch_norm(g.state_dict()), path),
    "renamed layers": lambda g, path: torch.save({f"w{i:03d}": t for i, t in enumerate(g.state_dict().values())}, path),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_loads_to_the_same_network(kind: str, tmp_path: Path) -> None:
    generator = trained_like()
    mel, faces = speech_and_faces(3)
    expected = generator(mel, faces)
    FORMATS[kind](generator, tmp_path / "weights.bin")
    # 1e-4: folding reorders float32 sums over up to 1152 products through 20 layers (half a grey level is 2e-3).
    torch.testing.assert_close(load_wav2lip(tmp_path / "weights.bin")(mel, faces), expected, atol=1e-4, rtol=0)


def test_safetensors_may_lie_under_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.safetensors")
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    generator = trained_like()
    save_file(generator.state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(path)
    mel, faces = speech_and_faces(2)
    torch.testing.assert_close(load_wav2lip(path)(mel, faces), generator(mel, faces), atol=1e-4, rtol=0)  # see above


def test_full_width_training_checkpoint_loads_folded(tmp_path: Path) -> None:
    generator = trained_like(1.0)
    torch.save({"state_dict": generator.state_dict()}, tmp_path / "wav2lip.pth")
    mel, faces = speech_and_faces(2)
    loaded = load_wav2lip(tmp_path / "wav2lip.pth")
    torch.testing.assert_close(loaded(mel, faces), generator(mel, faces), atol=1e-4, rtol=0)  # see above
    assert not any(isinstance(module, nn.BatchNorm2d) for module in loaded.modules())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    weight = loaded.face_decoder_blocks[6][1].conv_block[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_checkpoint_saved_on_a_gpu_loads_on_a_cpu(tmp_path: Path) -> None:
    generator = trained_like()
    torch.save(generator.state_dict(), tmp_path / "cpu.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "cpu.pth").read_bytes()
    on_gpu = content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")  # the pickled location string
    assert on_gpu != content
    (tmp_path / "gpu.pth").write_bytes(on_gpu)
    mel, faces = speech_and_faces(2)
    torch.testing.assert_close(
        load_wav2lip(tmp_path / "gpu.pth")(mel, faces), load_wav2lip(tmp_path / "cpu.pth")(mel, faces), atol=0, rtol=0
    )


def test_only_the_networks_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(training_checkpoint(trained_like()), tmp_path / "training.pth")
    read: list[int] = []

    class Counted(io.BufferedReader):
        def readinto(self, buffer: Any) -> int:
            read.append(super().readinto(buffer))
            return read[-1]

    monkeypatch.setattr(Path, "open", lambda path, _mode: Counted(io.FileIO(path)))
    load_wav2lip(tmp_path / "training.pth")
    network = sum(t.nbytes for name, t in trained_like().state_dict().items() if "num_batches" not in name)
    assert sum(read) == network
    assert (tmp_path / "training.pth").stat().st_size > 2.9 * network  # Adam keeps two moments per weight


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_never_run(zipped: bool, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    checkpoint = {"state_dict": trained_like().state_dict(), "extra": Bomb()}
    torch.save(checkpoint, tmp_path / "bomb.pth", _use_new_zipfile_serialization=zipped)
    load_wav2lip(tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError):
        load_wav2lip(tmp_path / "plain.pth")
    assert not (tmp_path / "ran").exists()


def test_safetensors_may_begin_as_a_zip_does(tmp_path: Path) -> None:
    """With the length of their header, which spaces may fill up: 0x14B50 begins with PK."""
    generator, path = trained_like(), tmp_path / "a.safetensors"
    save_file(generator.state_dict(), path)
    content = path.read_bytes()
    n = struct.unpack("<Q", content[:8])[0]
    path.write_bytes(struct.pack("<Q", 0x14B50) + content[8 : 8 + n].ljust(0x14B50) + content[8 + n :])
    assert path.read_bytes().startswith(b"PK")
    with safe_open(path, "pt") as theirs:
        assert set(theirs.keys()) == set(generator.state_dict())
    mel, faces = speech_and_faces(2)
    torch.testing.assert_close(load_wav2lip(path)(mel, faces), generator(mel, faces), atol=1e-4, rtol=0)  # see above


def one_more_layer(state: dict[str, Tensor]) -> str:
    for name in [name for name in state if name.startswith("face_decoder_blocks.6.2.")]:
        state[name.replace(".6.2.", ".6.3.")] = state[name]
    return r"face_decoder_blocks\.6\.3\.conv_block\.0\.weight"


def weighted_activations(state: dict[str, Tensor]) -> str:
    """PReLU where the published layers have ReLU."""
    for name in [name for name in state if name.endswith("conv_block.0.bias")]:
        state[name.replace("conv_block.0.bias", "act.weight")] = torch.full((1,), 0.25)
    return r"face_encoder_blocks\.0\.0\.act\.weight"


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("fork", [one_more_layer, weighted_activations])
def test_a_network_with_more_than_the_published_layers_is_refused(
    fork: Callable[[dict[str, Tensor]], str], prefix: str, tmp_path: Path
) -> None:
    state = dict(trained_like().state_dict())
    named = fork(state)
    torch.save({"state_dict": {f"{prefix}{name}": tensor for name, tensor in state.items()}}, tmp_path / "fork.pth")
    with pytest.raises(CheckpointError, match=named):
        load_wav2lip(tmp_path / "fork.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")
def test_a_frozen_script_is_called_one(tmp_path: Path) -> None:
    script = torch.jit.freeze(torch.jit.trace(trained_like(), speech_and_faces(1), check_trace=False))
    script.save(str(tmp_path / "frozen.pt"))
    with pytest.raises(CheckpointError, match=r"frozen TorchScript.*before freezing.*state_dict"):
        load_wav2lip(tmp_path / "frozen.pt")


def half_of(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def deflated(path: Path) -> None:
    """As archivers pack anew what PyTorch only stores."""
    with ZipFile(io.BytesIO(path.read_bytes())) as stored, ZipFile(path, "w", ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))


def endless(path: Path) -> None:
    """Forty levels of dicts that hold the next one twice: a few hundred bytes."""
    tree: dict[str, Any] = {}
    for _ in range(40):
        tree = {"a": tree, "b": tree}
    torch.save({"state_dict": tree}, path)


def packed(path: Path) -> None:
    with ZipFile(path, "w", ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(100_000_001))


BAD_FILES: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.touch(),
    "folder": lambda path: path.mkdir(),
    "web page": lambda path: path.write_text("<!DOCTYPE html><title>Sign in</title>"),
    "another network": lambda path: torch.save(nn.Conv2d(3, 8, 3).state_dict(), path),
    "another network in safetensors": lambda path: save_file({"a.weight": torch.ones(4)}, path),
    "no tensors": lambda path: torch.save({"state_dict": {}}, path),
    "lacks a tensor": lambda path: torch.save(dict(list(trained_like().state_dict().items())[:-1]), path),
    "another shape": lambda path: torch.save(
        trained_like().state_dict() | {"output_block.1.bias": torch.ones(4)}, path
    ),
    "without an end": endless,
    "a hundred megabytes in a hundred kilobytes": packed,
    "truncated": lambda path: (torch.save(trained_like().state_dict(), path), half_of(path)),
    "compressed": lambda path: (torch.save(training_checkpoint(trained_like()), path), deflated(path)),
    "truncated, before PyTorch 1.6": lambda path: (
        torch.save(trained_like().state_dict(), path, _use_new_zipfile_serialization=False),
        half_of(path),
    ),
    "truncated safetensors": lambda path: (save_file(trained_like().state_dict(), path), half_of(path)),
    "truncated script": lambda path: (
        torch.jit.trace(trained_like(), speech_and_faces(1), check_trace=False).save(str(path)),
        half_of(path),
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_is_one_line_with_its_name_and_the_way_out(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "some weights.pth"
    BAD_FILES[kind](path)
    with pytest.raises(CheckpointError) as caught:
        load_wav2lip(path)
    message = str(caught.value)
    assert str(path) in message and "wav2lip_gan.pth" in message and "\n" not in message

"""The generator against the published network's facts, and every way a checkpoint may come."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_lipsync.errors import CheckpointError
from gpu_lipsync.models import Wav2Lip, load_wav2lip
from gpu_lipsync.models.weights import fold_batch_norm

# The published checkpoints' convolutions: block, then the weight's shape (transposed ones are in, out, k, k).
PUBLISHED = """
face_encoder_blocks.0.0 16 6 7 7
face_encoder_blocks.1.0 32 16 3 3
face_encoder_blocks.1.1 32 32 3 3
face_encoder_blocks.1.2 32 32 3 3
face_encoder_blocks.2.0 64 32 3 3
face_encoder_blocks.2.1 64 64 3 3
face_encoder_blocks.2.2 64 64 3 3
face_encoder_blocks.2.3 64 64 3 3
face_encoder_blocks.3.0 128 64 3 3
face_encoder_blocks.3.1 128 128 3 3
face_encoder_blocks.3.2 128 128 3 3
face_encoder_blocks.4.0 256 128 3 3
face_encoder_blocks.4.1 256 256 3 3
face_encoder_blocks.4.2 256 256 3 3
face_encoder_blocks.5.0 512 256 3 3
face_encoder_blocks.5.1 512 512 3 3
face_encoder_blocks.6.0 512 512 3 3
face_encoder_blocks.6.1 512 512 1 1
audio_encoder.0 32 1 3 3
audio_encoder.1 32 32 3 3
audio_encoder.2 32 32 3 3
audio_encoder.3 64 32 3 3
audio_encoder.4 64 64 3 3
audio_encoder.5 64 64 3 3
audio_encoder.6 128 64 3 3
audio_encoder.7 128 128 3 3
audio_encoder.8 128 128 3 3
audio_encoder.9 256 128 3 3
audio_encoder.10 256 256 3 3
audio_encoder.11 512 256 3 3
audio_encoder.12 512 512 1 1
face_decoder_blocks.0.0 512 512 1 1
face_decoder_blocks.1.0 1024 512 3 3
face_decoder_blocks.1.1 512 512 3 3
face_decoder_blocks.2.0 1024 512 3 3
face_decoder_blocks.2.1 512 512 3 3
face_decoder_blocks.2.2 512 512 3 3
face_decoder_blocks.3.0 768 384 3 3
face_decoder_blocks.3.1 384 384 3 3
face_decoder_blocks.3.2 384 384 3 3
face_decoder_blocks.4.0 512 256 3 3
face_decoder_blocks.4.1 256 256 3 3
face_decoder_blocks.4.2 256 256 3 3
face_decoder_blocks.5.0 320 128 3 3
face_decoder_blocks.5.1 128 128 3 3
face_decoder_blocks.5.2 128 128 3 3
face_decoder_blocks.6.0 160 64 3 3
face_decoder_blocks.6.1 64 64 3 3
face_decoder_blocks.6.2 64 64 3 3
output_block.0 32 80 3 3
"""
TRANSPOSED = {f"face_decoder_blocks.{i}.0" for i in range(1, 7)}
WIDTH = 0.125  # of the networks the format tests pass around


def published_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for line in PUBLISHED.split("\n")[1:-1]:
        block, *numbers = line.split()
        shape = tuple(int(number) for number in numbers)
        channels = shape[1] if block in TRANSPOSED else shape[0]
        shapes[f"{block}.conv_block.0.weight"] = shape
        shapes[f"{block}.conv_block.0.bias"] = (channels,)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{block}.conv_block.1.{name}"] = (channels,)
        shapes[f"{block}.conv_block.1.num_batches_tracked"] = ()
    return shapes | {"output_block.1.weight": (3, 32, 1, 1), "output_block.1.bias": (3,)}


def trained_like(width: float = WIDTH) -> Wav2Lip:
    """A seeded generator whose batch norms hold statistics of their own, as after training."""
    torch.manual_seed(0)
    generator = Wav2Lip(width)
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return generator.eval().requires_grad_(False)


def speech_and_faces(n: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    seed = torch.Generator().manual_seed(1)
    mel, faces = torch.randn(n, 1, 80, 16, generator=seed), torch.rand(n, 3, 96, 96, generator=seed)
    return mel.clamp(-4, 4).to(device), faces.to(device)


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
    "state dict": lambda g, path: torch.save(g.state_dict(), path),
    "whole module": lambda g, path: torch.save(g, path),
    "traced": lambda g, path: torch.jit.trace(g, speech_and_faces(1), check_trace=False).save(str(path)),
    "traced inside another": lambda g, path: torch.jit.trace(Wrapped(g), speech_and_faces(1), check_trace=False).save(
        str(path)
    ),
    "safetensors": lambda g, path: save_file(g.state_dict(), path),
    "folded safetensors": lambda g, path: save_file(fold_batch_norm(g.state_dict()), path),
    "renamed layers": lambda g, path: torch.save({f"w{i:03d}": t for i, t in enumerate(g.state_dict().values())}, path),
}


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        generator = Wav2Lip()
    assert {name: tuple(t.shape) for name, t in generator.state_dict().items()} == published_shapes()
    assert sum(p.numel() for p in generator.parameters()) == 36_298_035  # the paper's network


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_loads_to_the_same_network(kind: str, tmp_path: Path) -> None:
    generator = trained_like()
    mel, faces = speech_and_faces(3)
    expected = generator(mel, faces)
    FORMATS[kind](generator, tmp_path / "weights.bin")
    # 1e-4: folding reorders float32 sums over up to 1152 products through 20 layers (half a grey level is 2e-3).
    torch.testing.assert_close(load_wav2lip(tmp_path / "weights.bin")(mel, faces), expected, atol=1e-4, rtol=0)


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


def half_of(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


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
    "truncated": lambda path: (torch.save(trained_like().state_dict(), path), half_of(path)),
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


def test_any_batch_size_gives_each_frame_the_same_face(tmp_path: Path) -> None:
    save_file(trained_like().state_dict(), tmp_path / "small.safetensors")
    generator = load_wav2lip(tmp_path / "small.safetensors")
    mel, faces = speech_and_faces(11)
    alone = torch.cat([generator(mel[i : i + 1], faces[i : i + 1]) for i in range(11)])
    # 1e-5: another batch size may take another convolution kernel, i.e. another order of summation.
    torch.testing.assert_close(generator(mel, faces), alone, atol=1e-5, rtol=0)
    assert generator(mel[:0], faces[:0]).shape == (0, 3, 96, 96)


def test_lower_half_of_the_frame_is_hidden_and_the_reference_is_not() -> None:
    generator = trained_like()
    mel, faces = speech_and_faces(1)
    other = faces.clone()
    other[:, :, 48:] = 0.5
    assert torch.equal(generator(mel, other, faces), generator(mel, faces, faces))
    assert not torch.equal(generator(mel, faces, other), generator(mel, faces, faces))
    other = faces.clone()
    other[:, :, :48] = 0.5
    assert not torch.equal(generator(mel, other, faces), generator(mel, faces, faces))


def test_channels_reach_the_network_masked_frame_first_in_bgr() -> None:
    generator = trained_like()
    seen: list[Tensor] = []
    generator.face_encoder_blocks[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    mel, faces = speech_and_faces(1)
    generator(mel, faces)
    bgr = faces[:, [2, 1, 0]]
    assert torch.equal(seen[0][:, :3, :48], bgr[:, :, :48]) and not seen[0][:, :3, 48:].any()
    assert torch.equal(seen[0][:, 3:], bgr)


def test_wrong_shapes_are_named() -> None:
    mel, faces = speech_and_faces(2)
    with pytest.raises(ValueError, match="torch.Size"):
        trained_like()(mel[:1], faces)
    with pytest.raises(ValueError, match="torch.Size"):
        trained_like()(mel, faces[..., :95])


class OperationCount(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_operations_on_cuda_do_not_grow_with_the_batch(dtype: torch.dtype) -> None:
    counts = []
    with FakeTensorMode(), torch.device("cuda"):
        try:
            torch.set_default_dtype(dtype)  # a module on fake tensors cannot be moved afterwards
            generator = Wav2Lip(WIDTH, folded=True).eval().requires_grad_(False)
        finally:
            torch.set_default_dtype(torch.float32)
        for n in (4, 64):
            with OperationCount() as operations:
                out = generator(torch.empty(n, 1, 80, 16), torch.empty(n, 3, 96, 96))
            assert out.device.type == "cuda" and out.dtype == torch.float32 and out.shape == (n, 3, 96, 96)
            counts.append(operations.count)
    assert counts[0] == counts[1]


def test_networks_agree_across_devices_and_precisions(device: str, tmp_path: Path) -> None:
    save_file(trained_like().state_dict(), tmp_path / "small.safetensors")
    expected = trained_like()(*speech_and_faces(5))
    mel, faces = speech_and_faces(5, device)
    out = load_wav2lip(tmp_path / "small.safetensors", device)(mel, faces)
    torch.testing.assert_close(out.cpu(), expected, atol=2e-3, rtol=0)  # half a grey level: TF32 on newer GPUs
    half = load_wav2lip(tmp_path / "small.safetensors", device, torch.float16)(mel, faces)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.cpu(), expected, atol=2e-2, rtol=0)  # half has 11 bits; five grey levels at most

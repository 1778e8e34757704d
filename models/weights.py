"""Weights files to networks ready for inference: which format, which tensors, batch norm folded, device and layout."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from gpu_lipsync.errors import CheckpointError, is_shortage, shortage
from gpu_lipsync.models.archive import Archive, open_archive
from gpu_lipsync.models.fast_cpu import speed_up_on_cpu
from gpu_lipsync.models.wav2lip import FACE_ENCODER, Wav2Lip
from gpu_lipsync.process.lack_of_memory import is_lack_of_memory

FIRST_WEIGHT = "face_encoder_blocks.0.0.conv_block.0.weight"
TO_RGB = "output_block.1."  # stays in float32
BATCH_NORM_EPS = 1e-5  # PyTorch's default, which the published networks were trained with
WAY_OUT = "pass a Wav2Lip generator such as wav2lip_gan.pth (README.md says where to get one), or download it again"


def load_wav2lip(
    path: str | os.PathLike[str], device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Wav2Lip:
    """Load a generator for inference: batch norm folded, channels_last, no gradients; on a CPU in its fastest form.

    Args:
        path: a .pth training checkpoint or bare state dict (either format of torch.save), a TorchScript archive, or
            .safetensors. Nothing pickled in it is run.
        device: where the network goes, wherever it was saved from.
        dtype: of weights and arithmetic; inputs and outputs stay float32.

    Raises:
        CheckpointError: no such file, damaged, or the weights of another network.
        ResourceError: the host is short of memory or open files.
    """
    state = fold_batch_norm(read_generator(path))
    with torch.device("meta"):  # no time spent on random numbers that are replaced at once
        generator = Wav2Lip(_width(state[FIRST_WEIGHT].shape), folded=True)
    placed = {
        name: tensor.to(device=device, dtype=torch.float32 if name.startswith(TO_RGB) else dtype)
        for name, tensor in state.items()
    }
    layouts = {name: torch.channels_last if t.dim() == 4 else torch.contiguous_format for name, t in placed.items()}
    generator.load_state_dict({n: t.contiguous(memory_format=layouts[n]) for n, t in placed.items()}, assign=True)
    generator = generator.eval().requires_grad_(False)
    fast = torch.device(device).type == "cpu" and dtype in (torch.float32, torch.bfloat16)
    return speed_up_on_cpu(generator) if fast else generator


def read_generator(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a generator's tensors under their published names, on the CPU, as stored.

    Raises:
        CheckpointError: no such file, damaged, or the weights of another network.
        ResourceError: the host is short of memory or open files.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}; {WAY_OUT}")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty; {WAY_OUT}")
    try:
        archive = open_archive(path)
        names = _published_names(archive, path)
        return {published: archive.read(stored) for published, stored in names.items()}
    except CheckpointError:
        raise
    except Exception as error:  # the formats' readers raise a dozen kinds on damaged bytes
        if is_lack_of_memory(error):
            raise
        if is_shortage(error):
            raise shortage(f"{path} cannot be read", error) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path} cannot be read as weights ({reason}); {WAY_OUT}") from error


def fold_batch_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Merge each `conv_block.1` (batch norm) into its `conv_block.0`; float32 out.

    Args:
        state: tensors by published name; without batch norm it comes back as it is.

    Returns:
        The state of a `Wav2Lip(folded=True)`.
    """
    folded = {name: tensor.float() for name, tensor in state.items() if ".conv_block.1." not in name}
    for name in [name for name in state if name.endswith(".conv_block.1.weight")]:
        norm, conv = name.removesuffix("weight"), name.removesuffix("1.weight") + "0."
        mean, variance = state[f"{norm}running_mean"].float(), state[f"{norm}running_var"].float()
        scale = state[name].float() * torch.rsqrt(variance + BATCH_NORM_EPS)
        weight = folded[f"{conv}weight"]
        transposed = _is_transposed(conv)  # its weight is (in, out, k, k)
        folded[f"{conv}weight"] = weight * (scale.view(1, -1, 1, 1) if transposed else scale.view(-1, 1, 1, 1))
        folded[f"{conv}bias"] = (folded[f"{conv}bias"] - mean) * scale + state[f"{norm}bias"].float()
    return folded


def _is_transposed(conv: str) -> bool:
    block, _, rest = conv.removeprefix("face_decoder_blocks.").partition(".")
    return conv.startswith("face_decoder_blocks.") and block != "0" and rest.startswith("0.")


def _published_names(archive: Archive, path: Path) -> dict[str, str]:
    """Map each published name to the name it has in the file.

    A prefix (`state_dict.`, `module.`, any other) is looked through, and what is no part of the network left alone.
    A file that calls its layers otherwise but holds the published shapes in the published order is taken as well:
    scripted modules may be wrapped and renamed.
    """
    firsts = [name for name in archive.shapes if f".{name}".endswith(f".{FIRST_WEIGHT}")]
    # A discriminator's, which may come first, is called the same, but sees one picture and not two.
    first = next((name for name in firsts if archive.shapes[name][1:2] == (6,)), firsts[0] if firsts else None)
    if first is None:
        return _names_by_shape(archive, path)
    prefix = first.removesuffix(FIRST_WEIGHT)
    stored = [name.removeprefix(prefix) for name in archive.shapes if name.startswith(prefix)]
    expected = _expected_shapes(archive.shapes[first], folded=not any(".conv_block.1." in name for name in stored))
    for name, shape in expected.items():
        if prefix + name not in archive.shapes:
            _refuse(path, f"it lacks {name}")
        if archive.shapes[prefix + name] != shape:
            _refuse(path, f"{name} is {archive.shapes[prefix + name]}, not {shape}")
    parts = {name.partition(".")[0] for name in expected}
    for name in stored:
        # Left out, an activation's weights or a layer more would leave a network that makes other mouths.
        if name.partition(".")[0] in parts and name not in expected and not name.endswith(".num_batches_tracked"):
            _refuse(path, f"it has {name} besides, as other networks do")
    return {name: prefix + name for name in expected}


def _names_by_shape(archive: Archive, path: Path) -> dict[str, str]:
    names = [name for name, shape in archive.shapes.items() if shape != ()]  # () are batch norm's counters
    shapes = [archive.shapes[name] for name in names]
    if shapes and len(shapes[0]) == 4:
        for folded in (False, True):
            expected = _expected_shapes(shapes[0], folded=folded)
            if shapes == list(expected.values()):
                return dict(zip(expected, names, strict=True))
    _refuse(path, f"it holds {len(shapes)} tensors" + (f", the first {names[0]} of shape {shapes[0]}" if names else ""))


def _expected_shapes(first_shape: tuple[int, ...], *, folded: bool) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        generator: nn.Module = Wav2Lip(_width(first_shape), folded=folded)
    return {name: tuple(t.shape) for name, t in generator.state_dict().items() if "num_batches_tracked" not in name}


def _width(first_shape: tuple[int, ...]) -> float:
    """Width factor of a network, from its first weight's output channels."""
    return first_shape[0] / FACE_ENCODER[0][0].out


def _refuse(path: Path, why: str) -> NoReturn:
    raise CheckpointError(f"{path} is no Wav2Lip generator: {why}; {WAY_OUT}")

"""The generator against the published network's facts: names and shapes, faces in and out, devices and precisions."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gpu_lipsync.models import Wav2Lip, load_wav2lip
from gpu_lipsync.ops.boxes import Window
from tests.generators import WIDTH, speech_and_faces, trained_like
from tests.operations import Operations, default_dtype
from tests.published_wav2lip import published_wav2lip

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


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        generator = Wav2Lip()
    assert {name: tuple(t.shape) for name, t in generator.state_dict().items()} == published_shapes()
    assert sum(p.numel() for p in generator.parameters()) == 36_298_035  # the paper's network


def test_any_batch_size_gives_each_frame_the_same_face(tmp_path: Path) -> None:
    save_file(trained_like().state_dict(), tmp_path / "small.safetensors")
    generator = load_wav2lip(tmp_path / "small.safetensors")
    mel, faces = speech_and_faces(11)
    alone = torch.cat([generator(mel[i : i + 1], faces[i : i + 1]) for i in range(11)])
    # 1e-5: another batch size may take another convolution kernel, i.e. another order of summation.
    torch.testing.assert_close(generator(mel, faces), alone, atol=1e-5, rtol=0)
    assert generator(mel[:0], faces[:0]).shape == (0, 3, 96, 96)


@pytest.mark.parametrize("window", [None, (41, 84, 19, 77)])
def test_one_face_says_all_of_the_sound(window: Window | None, device: str, tmp_path: Path) -> None:
    """As a still's does: what is seen of it is worked out once, and its planes keep the layout that is fast."""
    save_file(trained_like().state_dict(), tmp_path / "small.safetensors")
    generator = load_wav2lip(tmp_path / "small.safetensors", device)
    mel, faces = speech_and_faces(11, device)
    encoded: list[int] = []
    layouts: list[bool] = []
    generator.face_encoder_blocks[0].register_forward_pre_hook(lambda _module, inputs: encoded.append(len(inputs[0])))
    generator.output_block.register_forward_pre_hook(
        lambda _module, inputs: layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    out = generator(mel, faces[:1], window=window)
    assert encoded == [1] and all(layouts)
    expected = generator(mel, faces[:1].expand(11, -1, -1, -1), window=window)
    # 1e-5: summed in another order; on a GPU in TF32, whose kernels differ with the batch, by half a level of 255.
    torch.testing.assert_close(out, expected, atol=1e-5 if device == "cpu" else 2e-3, rtol=0)


def test_a_batch_that_is_learned_from_stays_whole() -> None:
    """In evaluation mode too, in which batch norms hold still: only what learns nothing is split over the cores."""
    generator = trained_like()
    encoded: list[int] = []
    generator.face_encoder_blocks[0].register_forward_pre_hook(lambda _module, inputs: encoded.append(len(inputs[0])))
    mel, faces = speech_and_faces(11)
    generator(mel, faces)
    assert sum(encoded) == 11 and len(encoded) > 1
    encoded.clear()
    assert generator(mel.requires_grad_(), faces).requires_grad and encoded == [11]
    with torch.no_grad():
        generator(mel, faces)
    assert len(encoded) > 2


def test_a_host_program_s_default_device_is_its_own_affair(tmp_path: Path) -> None:
    generator = trained_like()
    save_file(generator.state_dict(), tmp_path / "a.safetensors")
    mel, faces = speech_and_faces(2)
    torch.set_default_device("meta")  # as "cuda" would be, elsewhere than the host
    try:
        loaded = load_wav2lip(tmp_path / "a.safetensors")
    finally:
        torch.set_default_device(None)
    torch.testing.assert_close(loaded(mel, faces), generator(mel, faces), atol=1e-4, rtol=0)  # folded


def test_the_forward_pass_is_the_published_one() -> None:
    generator = trained_like()
    mel, faces = speech_and_faces(3)
    expected = published_wav2lip(generator.state_dict(), mel, faces)
    torch.testing.assert_close(generator(mel, faces), expected, atol=1e-5, rtol=0)  # float32, summed in another order


def test_the_mouth_depends_on_the_sound() -> None:
    """Of the generators that tests use, or they could not tell whether a file's ear was read."""
    generator = trained_like()
    mel, faces = speech_and_faces(2)
    assert (generator(mel, faces) - generator(mel.flip(3), faces)).abs().amax() > 0.05


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


@pytest.mark.parametrize("sign", [1, -1])
def test_what_half_precision_cannot_hold_is_no_colour(sign: int) -> None:
    """Infinity before the sigmoid, which would make white or black of it: found out by whoever looks for numbers. In
    one channel, that is: of several of either sign the sum is no number by itself.
    """
    generator = trained_like()
    last = generator.output_block[0]

    def overflow(_module: object, _inputs: object, out: Tensor) -> Tensor:
        return torch.cat((out[:, :1].index_fill(3, torch.tensor([40]), sign * torch.inf), out[:, 1:]), dim=1)

    last.register_forward_hook(overflow)
    mouths = generator(*speech_and_faces(1))
    assert mouths[..., 40].isnan().all() and mouths[..., :40].isfinite().all()


def test_wrong_shapes_are_named() -> None:
    mel, faces = speech_and_faces(2)
    with pytest.raises(ValueError, match="torch.Size"):
        trained_like()(mel[:1], faces)
    with pytest.raises(ValueError, match="torch.Size"):
        trained_like()(mel, faces[..., :95])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_operations_on_cuda_do_not_grow_with_the_batch(dtype: torch.dtype) -> None:
    counts = []
    with FakeTensorMode(), torch.device("cuda"):
        with default_dtype(dtype):
            generator = Wav2Lip(WIDTH, folded=True).eval().requires_grad_(False)
        for n in (4, 64):
            with Operations() as operations:
                out = generator(torch.empty(n, 1, 80, 16), torch.empty(n, 3, 96, 96))
            assert out.device.type == "cuda" and out.dtype == torch.float32 and out.shape == (n, 3, 96, 96)
            counts.append(len(operations.names))
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

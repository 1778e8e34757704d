"""The CPU's own forms of the generator's convolutions against PyTorch's."""

import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.models import fast_cpu, load_wav2lip
from gpu_lipsync.models.fast_cpu import speed_up_on_cpu
from gpu_lipsync.models.onednn import OnednnBlock, has_onednn
from gpu_lipsync.models.subpixel import OnePixelBlock, SubpixelBlock
from gpu_lipsync.models.wav2lip import ConvBlock
from gpu_lipsync.models.winograd import WinogradBlock, transforms
from tests.generators import speech_and_faces, trained_like


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("tile", [2, 4])
def test_transforms_convolve_exactly(tile: int) -> None:
    exact = transforms(tile)
    pixels, filters = drawn(tile + 2).double(), drawn(3).double()
    found = exact.back @ ((exact.filters @ filters) * (exact.pixels @ pixels))
    expected = F.conv1d(pixels[None, None], filters[None, None])[0, 0]
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("size", [(3, 3), (6, 6), (12, 12), (48, 48), (5, 7), (1, 9)])
@pytest.mark.parametrize("n", [128, 24])
def test_winograd_is_a_convolution_with_its_input_added(tile: int, size: tuple[int, int], n: int) -> None:
    weight, bias, features = drawn(n, n, 3, 3) / (9 * n) ** 0.5, drawn(n), drawn(3, n, *size)
    expected = F.relu(F.conv2d(features.double(), weight.double(), bias.double(), padding=1) + features)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = features.contiguous(memory_format=layout)
        before = given.clone()
        found = WinogradBlock(weight, bias, tile=tile)(given)
        # Sums of the order of 1; tiles of 4 multiply rounding errors (6e-8) by up to a few hundred.
        torch.testing.assert_close(found.double(), expected, atol=1e-4 if tile == 4 else 1e-5, rtol=0)
        assert torch.equal(given, before)


def test_winograd_does_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    block = WinogradBlock(drawn(32, 32, 3, 3) / 17, drawn(32), tile=4)
    features = drawn(5, 32, 24, 20)
    made = []
    for frames_in_a_piece in (0.01, 0.5, 2, 100):
        monkeypatch.setattr("gpu_lipsync.models.winograd.PIECE_VALUES", int(30 * 36 * 32 * frames_in_a_piece))
        made.append(block(features))
    for one, other in pairwise(made):  # matrix products of other sizes may add up in another order
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(3, 3), (6, 6), (1, 1), (5, 4)])
def test_subpixel_products_are_a_transposed_convolution(size: tuple[int, int]) -> None:
    weight, bias, features = drawn(24, 16, 3, 3) / 10, drawn(16), drawn(2, 24, *size)
    expected = F.relu(F.conv_transpose2d(features, weight, bias, stride=2, padding=1, output_padding=1))
    torch.testing.assert_close(SubpixelBlock(weight, bias)(features), expected, atol=1e-5, rtol=0)


def test_one_pixel_becomes_nine() -> None:
    weight, bias, features = drawn(24, 16, 3, 3) / 10, drawn(16), drawn(4, 24, 1, 1)
    expected = F.relu(F.conv_transpose2d(features, weight, bias))
    torch.testing.assert_close(OnePixelBlock(weight, bias)(features), expected, atol=1e-5, rtol=0)


def test_the_generator_says_the_same_in_its_fast_form(tmp_path: Path) -> None:
    """At half width, so that each kind of block is among those replaced."""
    save_file(trained_like(0.5).state_dict(), tmp_path / "half.safetensors")
    fast = load_wav2lip(tmp_path / "half.safetensors")
    kinds = {type(module) for module in fast.modules()}
    assert {WinogradBlock, SubpixelBlock, OnePixelBlock, ConvBlock} <= kinds
    assert {block.tile for block in fast.modules() if isinstance(block, WinogradBlock)} == {2, 4}
    mel, faces = speech_and_faces(3)
    with torch.inference_mode():
        found, expected = fast(mel, faces), trained_like(0.5)(mel, faces)
    assert (255 * (found - expected)).abs().max() < 0.05  # levels: nothing that rounding to one could show
    assert not any(tensor.requires_grad for tensor in fast.state_dict().values())


KINDS = {
    "7x7": (nn.Conv2d(6, 16, 7, padding=3), False),
    "same": (nn.Conv2d(64, 64, 3, padding=1), True),
    "halving": (nn.Conv2d(32, 64, 3, 2, 1), False),
    "of mel": (nn.Conv2d(32, 64, 3, (3, 1), 1), False),
    "1x1": (nn.Conv2d(64, 64, 1), False),
    "transposed": (nn.ConvTranspose2d(48, 32, 3, 2, 1, output_padding=1), False),
    "depthwise": (nn.Conv2d(32, 32, 3, 2, 1, groups=32), False),
    "of one pixel": (nn.ConvTranspose2d(64, 32, 3), False),
}


bfloat16_here = pytest.mark.skipif(not has_onednn(), reason="oneDNN has no bfloat16 on this CPU (no AVX-512)")


@bfloat16_here
@pytest.mark.parametrize("kind", KINDS)
def test_onednn_block_is_a_convolution_whatever_shape_comes(kind: str) -> None:
    conv, residual = KINDS[kind]
    halved = copy.deepcopy(conv).to(torch.bfloat16).requires_grad_(False)
    block = OnednnBlock(halved, residual=residual)
    exact = copy.deepcopy(halved).double()
    for size in ((8, 12, 10), (3, 12, 10), (8, 7, 9), (1, 12, 10), (8, 12, 10)):
        features = drawn(size[0], conv.in_channels, *size[1:]).to(torch.bfloat16)
        expected = exact(features.double())
        expected = F.relu(expected + features.double() if residual else expected)
        for given in (features, features.contiguous(memory_format=torch.channels_last)):
            before = given.clone()
            found = block(given)
            assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=torch.channels_last)
            # Sums in float32 (1e-5 here), rounded once to the 8 bits of bfloat16.
            torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=2**-8)
            assert torch.equal(given, before)


def test_onednn_is_there_where_the_cpu_can() -> None:
    """In the PyTorch that tests run with: private operations may go."""
    assert has_onednn() == torch.ops.mkldnn._is_mkldnn_bf16_supported()


@bfloat16_here
def test_bfloat16_says_the_same_with_onednn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(trained_like(0.5).state_dict(), tmp_path / "half.safetensors")
    fused = load_wav2lip(tmp_path / "half.safetensors", dtype=torch.bfloat16)
    monkeypatch.setattr(fast_cpu, "has_onednn", lambda: False)
    plain = load_wav2lip(tmp_path / "half.safetensors", dtype=torch.bfloat16)
    assert not any(isinstance(module, ConvBlock) for module in fused.modules())
    assert not any(isinstance(module, OnednnBlock) for module in plain.modules())
    mel, faces = speech_and_faces(3)
    exact = trained_like(0.5)
    for window in (None, (40, 92, 10, 80), (51, 90, 21, 77)):
        with torch.inference_mode():
            found, expected, truth = (network(mel, faces, window=window) for network in (fused, plain, exact))
        off, plain_off = ((255 * (mouths - truth)).abs().mean() for mouths in (found, expected))
        assert off < 1.05 * plain_off + 0.01  # levels: rounded once a layer instead of up to three times


def test_half_precision_and_small_networks_stay_as_they_are(tmp_path: Path) -> None:
    save_file(trained_like(0.5).state_dict(), tmp_path / "half.safetensors")
    loaded = load_wav2lip(tmp_path / "half.safetensors", dtype=torch.float16)
    faster = WinogradBlock | SubpixelBlock | OnePixelBlock | OnednnBlock
    assert not any(isinstance(module, faster) for module in loaded.modules())
    small = trained_like(0.125)
    before = [type(module) for module in small.modules()]
    assert [type(module) for module in speed_up_on_cpu(small).modules()] == before

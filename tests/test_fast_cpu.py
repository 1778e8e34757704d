"""The CPU's own forms of the generator's convolutions against PyTorch's."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.models import load_wav2lip
from gpu_lipsync.models.fast_cpu import speed_up_on_cpu
from gpu_lipsync.models.subpixel import OnePixelBlock, SubpixelBlock
from gpu_lipsync.models.wav2lip import ConvBlock
from gpu_lipsync.models.winograd import WinogradBlock, transforms
from tests.test_wav2lip import speech_and_faces, trained_like


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
@pytest.mark.parametrize(("n_in", "n_out"), [(128, 128), (24, 40)])
def test_winograd_is_a_convolution(tile: int, size: tuple[int, int], n_in: int, n_out: int) -> None:
    weight, bias, features = drawn(n_out, n_in, 3, 3) / (9 * n_in) ** 0.5, drawn(n_out), drawn(3, n_in, *size)
    residual = n_in == n_out
    expected = F.conv2d(features.double(), weight.double(), bias.double(), padding=1)
    expected = F.relu(expected + features if residual else expected)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = features.contiguous(memory_format=layout)
        before = given.clone()
        found = WinogradBlock(weight, bias, tile=tile, residual=residual)(given)
        # Sums of the order of 1; tiles of 4 multiply rounding errors (6e-8) by up to a few hundred.
        torch.testing.assert_close(found.double(), expected, atol=1e-4 if tile == 4 else 1e-5, rtol=0)
        assert torch.equal(given, before)


def test_winograd_does_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    block = WinogradBlock(drawn(32, 32, 3, 3) / 17, drawn(32), tile=4, residual=True)
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


def test_other_precisions_and_small_networks_stay_as_they_are(tmp_path: Path) -> None:
    save_file(trained_like(0.5).state_dict(), tmp_path / "half.safetensors")
    loaded = load_wav2lip(tmp_path / "half.safetensors", dtype=torch.bfloat16)
    assert not any(isinstance(module, WinogradBlock | SubpixelBlock | OnePixelBlock) for module in loaded.modules())
    small = trained_like(0.125)
    before = [type(module) for module in small.modules()]
    assert [type(module) for module in speed_up_on_cpu(small).modules()] == before

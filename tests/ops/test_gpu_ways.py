"""What a GPU does in its own way, done by a CPU: the numbers are those of a CPU's way."""

from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.ops import reduce_bytes, resize_bytes, resize_to_bytes, yuv420
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.ops.resize import resize_window
from tests import pictures

# By name: the package has a function called resize.
ASKED = [
    *((f"gpu_lipsync.ops.{module}", "is_cpu") for module in ("convert", "matrices", "resize", "yuv420")),
    *((f"gpu_lipsync.{module}", "on_host") for module in ("ops.yuv420", "pasting.crops", "faces")),
]
WINDOW = Window(100, 232, 46, 348)


@pytest.fixture
def both_ways(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Tensor]], tuple[Tensor, Tensor]]:
    """What work gives by a CPU's way and by a GPU's."""

    def done(work: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        by_cpu = work()
        with monkeypatch.context() as patched:
            for module, name in ASKED:
                patched.setattr(import_module(module), name, lambda _: False)
            return by_cpu, work()

    return done


Both = Callable[[Callable[[], Tensor]], tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def planes() -> Tensor:
    return pictures.sample_planes(2)


def picture(n: int = 2, side: int = 300) -> Tensor:
    return torch.from_numpy(np.stack([pictures.face_like(side, side, seed=i) for i in range(n)])).permute(0, 3, 1, 2)


def test_planes_as_rgb(planes: Tensor, both_ways: Both) -> None:
    by_cpu, by_gpu = both_ways(lambda: yuv420.read_rgb(planes, WINDOW, matrix="bt601"))
    assert torch.equal(by_gpu, by_cpu)  # whole numbers are summed


@pytest.mark.parametrize("colour", [0, 1, 2])
def test_rgb_as_planes(planes: Tensor, both_ways: Both, colour: int) -> None:
    """A change of any one colour is one."""
    before = yuv420.read_rgb(planes, WINDOW, matrix="bt709")
    after = before.clone()
    after[:, colour, 20:80] ^= 64

    def written() -> Tensor:
        changed = planes.clone()
        yuv420.turn_over(yuv420.bits_changed(changed, WINDOW, before, after, matrix="bt709"))
        return changed

    by_cpu, by_gpu = both_ways(written)
    apart = by_gpu.float() - by_cpu.float()
    luma, chroma = apart[:, :590], apart[:, 590:]
    # Of luma the sums are in another order: one on the edge between two levels may go either way. Of chroma a CPU
    # rounds the mean of four before, which neither lightens nor darkens.
    assert luma.abs().max() <= 1 and (luma != 0).float().mean() < 1e-3
    assert chroma.abs().max() <= 1 and chroma.mean().abs() < 0.01
    assert (by_cpu != planes).any()


@pytest.mark.parametrize("interleave", [False, True])
def test_resizing(both_ways: Both, interleave: bool) -> None:
    image = picture(side=96).float() / 255
    by_cpu, by_gpu = both_ways(
        lambda: resize_window(image, (311, 277), Window(20, 290, 11, 266), mode="bicubic", interleave=interleave)
    )
    torch.testing.assert_close(by_gpu, by_cpu, atol=1e-5, rtol=0)  # float32, summed in other blocks


@pytest.mark.parametrize("name", ["to bytes", "to the network's size", "smaller"])
def test_resizing_bytes(both_ways: Both, name: str) -> None:
    image, window = picture(side=96).float() / 255, Window(0, 311, 0, 277)
    work = {
        "to bytes": lambda: resize_to_bytes(image, (311, 277), window),
        "to the network's size": lambda: resize_bytes(picture(), (96, 96)) * 255,
        "smaller": lambda: reduce_bytes(picture(), (131, 97)),
    }[name]
    by_cpu, by_gpu = (way.float() for way in both_ways(work))
    apart = by_gpu - by_cpu
    # A CPU rounds in between, a GPU at the end; neither lightens or darkens.
    assert apart.abs().max() <= 1.001 and apart.mean().abs() < 0.05


@pytest.mark.parametrize("method", BLENDS)
def test_faces_out_and_mouths_in(both_ways: Both, method: str) -> None:
    frames, mouths = picture(), picture(side=96).float() / 255
    boxes = torch.tensor([(30, 20, 190, 210), (31, 20, 191, 210)])
    config = BlendConfig(method=method)  # type: ignore[arg-type]
    by_cpu, by_gpu = both_ways(lambda: crop_faces(frames, boxes))
    # A CPU's are whole levels, from weights of so many bits.
    assert (by_gpu - by_cpu).abs().max() * 255 <= 1 and (by_gpu - by_cpu).mean().abs() * 255 < 0.05
    by_cpu, by_gpu = both_ways(lambda: paste_faces(frames, mouths, boxes, config))
    apart = (by_gpu.int() - by_cpu.int()).abs()
    # hd looks for edges, of which one in a thousand pixels is or is not one.
    assert (apart.float().mean() < 0.02) and (method == "hd" or apart.max() <= 1)

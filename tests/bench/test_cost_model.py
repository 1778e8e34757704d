"""The cost model counts what arithmetic by hand says, and predicts what the slowest limit allows."""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench import cost_model
from bench.cost_model import GPUS, Gpu, Stage, count_stages
from bench.operation_record import Cost, Record, record_operations
from gpu_lipsync.models.wav2lip import Wav2Lip


def test_a_product_costs_what_the_textbook_says() -> None:
    left, right = torch.ones(30, 40), torch.ones(40, 50)
    cost = record_operations(lambda: left @ right).total
    assert cost == Cost(1, single_flops=2 * 30 * 40 * 50, n_bytes=4 * (30 * 40 + 40 * 50 + 30 * 50))
    half = record_operations(lambda: left.half() @ right.half()).costs[-1]
    assert half == Cost(1, half_flops=2 * 30 * 40 * 50, n_bytes=2 * (30 * 40 + 40 * 50 + 30 * 50))


def test_a_convolution_costs_the_same_in_inference_mode() -> None:
    image, layer = torch.ones(2, 3, 32, 32), nn.Conv2d(3, 8, 3, padding=1, bias=False)
    expected = Cost(1, tf32_flops=2 * 2 * 8 * 32 * 32 * 3 * 9, n_bytes=4 * (image.numel() + 216 + 2 * 8 * 32 * 32))
    with torch.no_grad():
        assert record_operations(lambda: layer(image)).total == expected
    with torch.inference_mode():
        assert record_operations(lambda: layer(image)).total == expected


def test_only_what_moves_is_counted() -> None:
    image, rows = torch.ones(100, 50), torch.tensor([3, 4])
    assert record_operations(lambda: image.t()[10:].unsqueeze(0).reshape(1, 40, 100)).total == Cost()
    assert record_operations(lambda: torch.empty(1000)).total == Cost()
    assert record_operations(lambda: image.index_select(0, rows)).total.n_bytes == 2 * 4 * 2 * 50 + 2 * 8
    assert record_operations(lambda: torch.ones(1, 50).expand(100, 50) + image).costs[-1].n_bytes == 4 * (50 + 2 * 5000)
    assert record_operations(lambda: image.add_(1)).total.n_bytes == 2 * 4 * 5000  # read and written


def test_the_generators_arithmetic_is_that_of_its_layers() -> None:
    """4 G multiply-adds a frame, of each layer the weights times the places they are applied at."""
    n_products = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal n_products
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        places = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        n_products += layer.weight.numel() * places.shape[2] * places.shape[3]

    with FakeTensorMode(), torch.no_grad():
        generator = Wav2Lip(folded=True).eval()
        for layer in generator.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.register_forward_hook(add)
        cost = record_operations(lambda: generator(torch.empty(1, 1, 80, 16), torch.empty(1, 3, 96, 96))).total
    assert cost.tf32_flops == 2 * n_products
    assert 3.9e9 < n_products < 4.05e9


def test_the_slowest_limit_sets_the_time() -> None:
    gpu = Gpu("test", 1e9, 2e9, 4e9, 1e6, 1.0)
    arithmetic, memory = Cost(1, single_flops=10**9, tf32_flops=2 * 10**9, half_flops=4 * 10**9), Cost(1, n_bytes=10**6)
    assert gpu.seconds(arithmetic) == (3.0, 0.0, 5e-6)
    seconds, limit = Stage("both", Record(["a", "b"], [arithmetic, memory]), n_frames=2).predict(gpu)
    assert seconds == pytest.approx(2.0) and limit == "arithmetic"
    seconds, limit = Stage("small", Record(["a"], [Cost(1, n_bytes=1)]), n_frames=1).predict(gpu)
    assert seconds == pytest.approx(5e-6) and limit == "launch"


def test_stages_do_the_same_operations_for_any_batch() -> None:
    small, large = (count_stages(360, 640, batch=batch, half=True) for batch in (5, 20))
    for few, many in zip(small, large, strict=True):
        assert few.record.names == many.record.names, few.name
        assert few.record.total.n_bytes < many.record.total.n_bytes
    seconds = [sum(stage.predict(gpu)[0] for stage in large if stage.always) for gpu in GPUS]
    assert seconds[-1] < seconds[0]  # an H100 before a T4


def test_the_table_says_that_it_is_predicted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cost_model, "SIZES", {"small": (256, 320)})
    monkeypatch.setattr("sys.argv", ["cost_model", "--batch", "5"])
    cost_model.main()
    printed = capsys.readouterr().out
    assert "PREDICTED" in printed and "measured" not in printed
    assert all(gpu.name in printed for gpu in GPUS)
    tables = [part.splitlines() for part in printed.split("\n\n") if part.startswith("|")]
    assert len(tables) == 2 and all(len({line.count("|") for line in lines}) == 1 for lines in tables)

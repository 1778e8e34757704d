"""Training of the demo generator: a run broken off goes on as if nothing had been, a recorded step is the step."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gpu_lipsync.tools import generator_file, train_demo
from gpu_lipsync.tools.demo_report import drop_records
from gpu_lipsync.tools.recorded_step import RecordedStep
from gpu_lipsync.tools.train_demo import Plan, Trainer
from tests.talkers import small_material

SAVE_EVERY = 4
PLAN = {"audio": 3, "faces": 6, "decay": 2, "audio_batch": 4, "batch": 4, "critic_share": 0.5, "critic_alone": 2}


@pytest.fixture
def material(tmp_path: Path) -> Path:
    torch.manual_seed(0)  # landmarks of the material
    torch.save(small_material(), tmp_path / "material.pt")
    return tmp_path / "material.pt"


class BrokenOffError(Exception):
    """What ends a run in a test."""


@pytest.fixture
def train(material: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], dict[str, Tensor]]:
    """Train as the command does, without its pictures, which need packages that tests do without."""
    monkeypatch.setattr(train_demo, "draw_losses", lambda out: None)
    monkeypatch.setattr(train_demo, "draw_faces", lambda *_, **__: None)

    def run(out: Path) -> dict[str, Tensor]:
        options = [word for name, value in PLAN.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        files = ["--material", str(material), "--out", str(out)]
        fixed = ["--device", "cpu", "--save-every", str(SAVE_EVERY), "--quiet"]
        monkeypatch.setattr(sys, "argv", ["train_demo", *files, *fixed, *options])
        train_demo.main()
        return load_file(out / "demo.safetensors")

    return run


def test_wherever_a_run_is_broken_off_it_ends_as_an_unbroken_one(
    train: Callable[[Path], dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is saved, after a state, and as the last file is written: the same file, bit for bit. Weights,
    optimizers and the averages of weights go on, and so does the seed. What came after the last state is done again,
    and is in the log once.
    """
    monkeypatch.setattr(train_demo, "LOG_EVERY", 1)
    unbroken, end = train(tmp_path / "unbroken"), PLAN["audio"] + PLAN["faces"]
    step, written = Trainer.step, list[int]()

    def stop_at(last: int) -> Callable[[Trainer, int, int], dict[str, Tensor]]:
        def stopping(trainer: Trainer, number: int, seed: int) -> dict[str, Tensor]:
            if number == last:
                raise BrokenOffError
            return step(trainer, number, seed)

        return stopping

    def stop_writing(weights: dict[str, Tensor], path: Path) -> None:
        written.append(1)
        if len(written) == -(-end // SAVE_EVERY):
            path.write_bytes(b"half of it")
            raise BrokenOffError
        save_file(weights, path)

    def records(run: str) -> list[dict[str, Any]]:
        lines = (tmp_path / run / "log.jsonl").read_text().splitlines()
        return [json.loads(line) | {"seconds": 0} for line in lines]

    ways: dict[str, tuple[object, str, object]] = {
        "early": (Trainer, "step", stop_at(SAVE_EVERY - 1)),
        "midway": (Trainer, "step", stop_at(SAVE_EVERY + 2)),
        "late": (generator_file, "save_file", stop_writing),
    }
    for name, (owner, method, stop) in ways.items():
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, stop)
            with pytest.raises(BrokenOffError):
                train(tmp_path / name)
        if name == "midway":
            half = load_file(tmp_path / name / "demo.safetensors")
            assert any(not torch.equal(half[key], tensor) for key, tensor in unbroken.items())
        resumed = train(tmp_path / name)
        assert resumed.keys() == unbroken.keys() and all(torch.equal(resumed[key], t) for key, t in unbroken.items())
        assert records(name) == records("unbroken") and len(records(name)) == end


def test_a_run_does_not_go_on_by_another_plan(
    train: Callable[[Path], dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "run")
    monkeypatch.setitem(PLAN, "faces", 8)
    with pytest.raises(SystemExit, match=r"run/state\.pt was made by .*'faces': 6.*give the same, or another --out"):
        train(tmp_path / "run")


def test_a_run_does_not_go_on_with_other_pictures(train: Callable[[Path], dict[str, Tensor]], tmp_path: Path) -> None:
    train(tmp_path / "run")
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert {"material", "start", "weights", "width", "seed"} <= set(state["made_by"])
    material = torch.load(tmp_path / "material.pt", weights_only=True)
    material["stills"]["crops"][0, 0, 0, 0] += 0.125
    torch.save(material, tmp_path / "material.pt")  # as many bytes
    with pytest.raises(SystemExit, match=r"run/state\.pt was made by .*'material': '[0-9a-f]{64}'.*give the same"):
        train(tmp_path / "run")


def test_a_run_of_before_its_material_was_noted_goes_on(
    train: Callable[[Path], dict[str, Tensor]], tmp_path: Path
) -> None:
    before = train(tmp_path / "run")
    file = tmp_path / "run" / "state.pt"
    state = torch.load(file, weights_only=True)
    state["made_by"] = {name: value for name, value in state["made_by"].items() if name in {*PLAN, "seed"}}
    torch.save(state, file)
    after = train(tmp_path / "run")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_generator_that_hears_is_not_taught_to_hear_anew(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(
            sys, "argv", ["train_demo", "--material", "m.pt", "--out", "run", "--weights", "demo.safetensors"]
        )
        train_demo.main()
    assert "--audio 0" in capsys.readouterr().err


def test_a_record_that_was_cut_off_is_none(tmp_path: Path) -> None:
    """Of a run that was killed as it wrote its log: it goes on from the state before."""
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 20, "l1": 0.5}\n{"step": 40, "l1": 0.4}\n{"step": 60, "l1": 0.3}\n{"step": 80, "l')
    drop_records(tmp_path, after=40)
    assert log.read_text() == '{"step": 20, "l1": 0.5}\n{"step": 40, "l1": 0.4}\n'


def test_another_run_goes_on_from_a_state(train: Callable[[Path], dict[str, Tensor]], tmp_path: Path) -> None:
    """Networks and optimizers are as that run left them, the critic's as well; the plan starts anew."""
    train(tmp_path / "first")
    left = tmp_path / "first" / "state.pt"
    arguments = argparse.Namespace(
        device="cpu", width=0.25, start=left, weights=None, material=tmp_path / "material.pt"
    )
    trainer = Trainer(arguments, Plan(**(PLAN | {"audio": 0})))
    state = torch.load(left, weights_only=True)
    for name, module in trainer.modules().items():
        torch.testing.assert_close(tensors_of(module.state_dict()), tensors_of(state[name]), rtol=0, atol=0)
    parts = trainer.step(0, 0)
    assert "critic" in parts, "no sound alone"


def tensors_of(state: dict[Any, Any]) -> dict[str, Tensor]:
    """All tensors of nested dicts, by path. Learning rates, which are the plan's, lie in lists."""
    found = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            found[str(name)] = value
        elif isinstance(value, dict):
            found |= {f"{name}.{inner}": tensor for inner, tensor in tensors_of(value).items()}
    return found


def test_what_ships_is_the_mean_of_weights(
    train: Callable[[Path], dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the first step, from which the average starts, and a share of those of the sixth."""
    weights: list[dict[str, Tensor]] = []
    step = Trainer.step

    def watched(trainer: Trainer, number: int, seed: int) -> dict[str, Tensor]:
        losses = step(trainer, number, seed)
        weights.append({name: t.clone() for name, t in trainer.learner.generator.state_dict().items()})
        return losses

    monkeypatch.setattr(Trainer, "step", watched)
    train(tmp_path / "run")
    average = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["average"]
    share = 10 / (5 - PLAN["audio"] + 20)
    for name, tensor in average.items():
        expected = weights[0][name].lerp(weights[5][name], share) if tensor.is_floating_point() else weights[-1][name]
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6, msg=name)  # two ways to mix in float32


def test_a_critic_that_is_heeded_changes_what_is_learnt(material: Path) -> None:
    """From the same weights and the same batch."""
    learnt = []
    for alone in (0, 1):
        torch.manual_seed(0)
        plan = Plan(**(PLAN | {"audio": 0, "critic_alone": alone}))
        arguments = argparse.Namespace(device="cpu", width=0.25, start=None, weights=None, material=material)
        trainer = Trainer(arguments, plan)
        trainer.step(0, 0)
        learnt.append(torch.cat([weight.detach().flatten() for weight in trainer.learner.generator.parameters()]))
    assert not torch.equal(*learnt)


def test_a_recorded_step_is_the_step(device: str) -> None:
    """Weights, numbers drawn and losses are those of the step as it comes, call by call."""
    if device == "cpu":
        pytest.skip("nothing is recorded on a CPU")
    weights = []
    for record in (False, True):
        torch.manual_seed(1)
        layer, random = nn.Linear(4, 1).to(device), torch.Generator(device)

        def step(layer: nn.Linear = layer, random: torch.Generator = random) -> dict[str, Tensor]:
            x = torch.rand(16, 4, generator=random, device=device)
            loss = (layer(x) - x.sum(dim=1, keepdim=True)).square().mean()
            layer.zero_grad(set_to_none=True)
            loss.backward()
            with torch.no_grad():
                for weight in layer.parameters():
                    assert weight.grad is not None
                    weight -= 0.1 * weight.grad
            return {"loss": loss.detach()}

        stream = torch.cuda.Stream() if device == "cuda" else None
        with torch.cuda.stream(stream):
            run = RecordedStep(step, random) if record else step
            losses = []
            for seed in range(8):
                random.manual_seed(seed)
                losses.append(float(run()["loss"]))
        weights.append((losses, [weight.detach().clone() for weight in layer.parameters()]))
    (plain_losses, plain), (recorded_losses, recorded) = weights
    assert recorded_losses == pytest.approx(plain_losses, rel=1e-5)  # libraries may sum in another order
    assert len(set(plain_losses)) == 8
    for one, other in zip(plain, recorded, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_every_part_of_the_plan_trains(material: Path, device: str) -> None:
    """More steps of each than are taken before one is recorded; the critic is heeded in the last."""
    plan = Plan(**(PLAN | {"audio": 5, "faces": 10, "critic_alone": 5}))
    arguments = argparse.Namespace(device=device, width=0.25, start=None, weights=None, material=material)
    stream = torch.cuda.Stream() if device == "cuda" else None
    with torch.cuda.stream(stream):
        trainer = Trainer(arguments, plan)
        before = [weight.detach().clone() for weight in trainer.learner.parameters()]
        losses = [{name: float(value.detach()) for name, value in trainer.step(i, i).items()} for i in range(15)]
    drawn = {"l1", "small", "edges", "detail", "mouth", "critic"}
    assert [set(parts) for parts in losses] == [{"mouth"}] * 5 + [drawn] * 10
    assert all(abs(value) < 100 for parts in losses for value in parts.values()), "a loss that is no number"
    moved = [not torch.equal(a, b) for a, b in zip(before, trainer.learner.parameters(), strict=True)]
    assert all(moved)

"""What an ear hears is drawn, as often wide and shut as it is said; and a face that learns from it leaves the ear."""

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.tools import heard_mouth, train_demo
from gpu_lipsync.tools.demo_batches import BatchMaker
from gpu_lipsync.tools.heard_mouth import HeardMouth, linear_reading, read
from gpu_lipsync.tools.talks import FRAME_MOMENT
from gpu_lipsync.tools.train_demo import Plan, Trainer
from tests.talkers import small_material

N_SAID = 4000


@pytest.fixture(scope="module")
def material() -> dict[str, Any]:
    return small_material()


@pytest.fixture(autouse=True)
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heard_mouth, "FIT_BATCHES", 4)
    monkeypatch.setattr(heard_mouth, "FIT_BATCH", N_SAID // 4)


def told(n: int) -> tuple[Tensor, Tensor]:
    """Windows whose first row tells the mouth that says them, half lost in noise; a third of the mouths are shut."""
    mouth = (torch.rand(n, 4, 4) * 1.5 - 0.5).clamp(min=0)
    mel = torch.zeros(n, 1, 80, 16)
    mel[:, 0, 0, :4] = mouth[:, FRAME_MOMENT] + 0.15 * torch.randn(n, 4)
    return mel, mouth


class FirstFour(nn.Module):
    def forward(self, mel: Tensor) -> Tensor:
        return mel[:, 0, 0, :4, None, None] * 3 - 1


def test_a_reading_is_the_least_squares_one() -> None:
    torch.manual_seed(0)
    codes, values = torch.randn(500, 7), torch.randn(500, 3)
    ones = torch.cat((codes, torch.ones(500, 1)), dim=1)
    expected = ones @ torch.linalg.lstsq(ones, values).solution
    torch.testing.assert_close(read(codes, linear_reading(codes, values)), expected, atol=1e-3, rtol=0)  # the ridge


def test_what_is_heard_is_as_often_shut_and_wide_as_what_is_said() -> None:
    torch.manual_seed(0)
    heard = HeardMouth(FirstFour(), told)
    mel, mouth = told(N_SAID)
    drawn, said = heard(mel, mouth), mouth[:, FRAME_MOMENT]
    for k in range(4):
        assert torch.corrcoef(torch.stack((drawn[:, k], said[:, k])))[0, 1] > 0.9
        for share in (0.2, 0.5, 0.8, 0.99):  # 0.04 is four standard errors of a quantile of so many, from two samples
            assert abs(float(drawn[:, k].quantile(share) - said[:, k].quantile(share))) < 0.04
    plain = read(mel[:, 0, 0, :4], linear_reading(mel[:, 0, 0, :4], said))
    assert plain.std() < 0.96 * said.std() and abs(float(drawn.std() / said.std()) - 1) < 0.02


def test_it_is_a_matter_of_the_sound_alone_and_silence_is_shut() -> None:
    torch.manual_seed(0)
    heard = HeardMouth(FirstFour(), told)
    mel, mouth = told(200)
    drawn = heard(mel, mouth)
    torch.testing.assert_close(heard(mel, mouth.flip(0) + 0.01), drawn, rtol=0, atol=0)
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert not heard(mel, torch.zeros(200, 4, 4)).any()


def test_stills_are_drawn_to_say_what_is_heard(material: dict[str, Any]) -> None:
    """The same sound and faces; mouths as an ear has it that hears all of them wide open, in pauses none."""
    maker = BatchMaker(material, device=torch.device("cpu"))
    maker.seed(3)
    as_said = maker.batch(16)
    maker.heard = lambda mel, mouth: torch.ones(len(mel), 4) * (mouth != 0).flatten(1).any(dim=1, keepdim=True)  # type: ignore[assignment]
    maker.seed(3)
    as_heard = maker.batch(16)
    assert torch.equal(as_said.mel, as_heard.mel) and torch.equal(as_said.silent, as_heard.silent)
    speaks = ~as_said.silent & (as_said.mouth_known > 0)
    assert speaks.any() and (as_heard.mouth[speaks, FRAME_MOMENT] == 1).all()
    others = [k for k in range(4) if k != FRAME_MOMENT]
    assert torch.equal(as_said.mouth[:, others], as_heard.mouth[:, others])


def test_a_face_learns_and_its_ear_stays(material: dict[str, Any], tmp_path: Path, device: str) -> None:
    torch.manual_seed(0)
    start = {name: tensor for name, tensor in Wav2Lip(0.25).state_dict().items() if "num_batches" not in name}
    save_file(start, tmp_path / "start.safetensors")
    torch.save(material, tmp_path / "material.pt")
    arguments = argparse.Namespace(
        device=device, width=0.25, start=None, weights=tmp_path / "start.safetensors", material=tmp_path / "material.pt"
    )
    plan = Plan(audio=0, faces=6, decay=2, batch=8, critic_share=0.5, critic_alone=2, keep_ear=1)
    stream = torch.cuda.Stream() if device == "cuda" else None
    with torch.cuda.stream(stream):
        trainer = Trainer(arguments, plan)
        assert trainer.maker.heard is not None
        reading = trainer.learner.to_mouth.weight.detach().clone()
        for i in range(6):
            trainer.step(i, i)
        learnt = trainer.learner.generator.state_dict()
        assert torch.equal(trainer.learner.to_mouth.weight, reading)
    for name, before in start.items():
        same = torch.equal(learnt[name].cpu(), before)
        assert same == name.startswith("audio_encoder."), name


def test_an_ear_that_has_learnt_nothing_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        options = ["--material", "m.pt", "--out", "run", "--audio", "0", "--keep-ear", "1"]
        patch.setattr(sys, "argv", ["train_demo", *options])
        train_demo.main()
    assert "--weights" in capsys.readouterr().err

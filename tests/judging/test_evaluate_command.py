"""What the judge's command hands on to it, and where its report goes."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpu_lipsync.evaluate import main
from tests.places import FACE


class Judge:
    """Stands for reading and judging: keeps what it was asked for, and reports what it was told to."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report, self.asked = report, dict[str, Any]()

    def read_clip(self, path: str, *_: object, **how: Any) -> str:
        self.asked = how
        return path

    def evaluate(self, *_: object, **__: object) -> dict[str, Any]:
        return self.report


def judged(monkeypatch: pytest.MonkeyPatch, report: dict[str, Any]) -> Judge:
    judge = Judge(report)
    monkeypatch.setattr("gpu_lipsync.judging.talking_clip.read_clip", judge.read_clip)
    monkeypatch.setattr("gpu_lipsync.judging.evaluation.evaluate", judge.evaluate)
    return judge


def test_the_report_goes_to_stdout_and_nothing_else_does(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(monkeypatch, {"n_frames": 40, "silence": {"motion": 0.25}})
    assert main(["--checkpoint_path", str(checkpoint), "--face", str(FACE)]) == 0
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout) == {
        "checkpoint": str(checkpoint),
        "clip": str(FACE),
        "n_frames": 40,
        "silence": {"motion": 0.25},
    }
    assert not stderr


def test_a_report_of_what_json_has_no_number_for_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure that is NaN is a bug of ours: better no file than one that most readers of JSON refuse."""
    judged(monkeypatch, {"n_frames": 40, "silence": {"motion": float("nan")}})
    out = tmp_path / "report.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        main(["--checkpoint_path", str(checkpoint), "--face", str(FACE), "--out", str(out)])
    assert not out.exists()


def test_flags_about_the_clip_reach_its_reader(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = judged(monkeypatch, {})
    flags = ["--decoder", "decord", "--max_seconds", "3", "--audio", "speech.wav"]
    assert main(["--checkpoint_path", str(checkpoint), "--face", str(FACE), *flags]) == 0
    assert judge.asked == {"decoder": "decord", "max_seconds": 3.0, "audio": "speech.wav"}

"""The benchmarks' table, from figures whose ratios are known; memory's verdict; the cost model's limits."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as report
from bench import cost_model, memory


def entry(name: str, group: str, seconds: float, *, frames: int = 1, reference: bool = False) -> dict[str, Any]:
    return {
        "name": f"test_{name}",
        "group": group,
        "stats": {"median": seconds},
        "extra_info": {"frames": frames, "reference": reference},
    }


def test_rows_have_time_a_frame_and_ratio_within_their_group() -> None:
    lines = report.rows(
        [
            entry("ours", "blur", 0.032, frames=16),
            entry("alone", "voting", 0.001),
            entry("theirs", "blur", 0.016, frames=4, reference=True),
        ]
    )
    assert lines[2:] == [
        "| blur | ours | 2.000 | 500 | 0.50 |",
        "| blur | theirs | 4.000 | 250 | reference |",
        "| voting | alone | 1.000 | 1000 |  |",
    ]


def test_the_heading_names_machine_commit_and_versions() -> None:
    measured = {
        "machine_info": {"cpu": {"brand_raw": "A CPU", "count": 2}},
        "commit_info": {"id": "0123456789abcdef"},
        "versions": {"torch": "9.9", "numpy": "1.2"},
    }
    text = report.describe(measured)
    assert "commit 0123456789," in text and text.endswith("A CPU, 2 logical cores, torch 9.9, numpy 1.2")


def test_the_table_replaces_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Benchmarks\n\n{report.MARK}\n\nold\n")
    monkeypatch.setattr(report, "README", readme)
    report.write_readme("new")
    assert readme.read_text() == f"# Benchmarks\n\n{report.MARK}\n\nnew\n"


@pytest.mark.parametrize("code", [0, 1])
def test_what_failed_is_not_published(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither figures that stored before, where nothing ran, nor those of a run of which a part failed."""
    readme, stored = tmp_path / "README.md", tmp_path / "full.json"
    readme.write_text(report.MARK)
    stored.write_text(json.dumps({"machine_info": {}, "benchmarks": [entry("old", "blur", 1.0)]}))
    monkeypatch.setattr(report, "README", readme)
    monkeypatch.setattr(report, "RESULTS", tmp_path)

    def ran(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        assert not stored.exists()
        stored.write_text(json.dumps({"machine_info": {}, "benchmarks": [entry("new", "blur", 1.0)]}))
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", ran)
    assert report.main([]) == code
    assert ("| blur | new |" in readme.read_text()) == (code == 0)


@pytest.mark.parametrize(
    ("peaks", "code"), [({20: 1600.0, 60: 1700.0}, 0), ({20: 1600.0, 60: 1800.0}, 1), ({20: 2600.0, 60: 2600.0}, 1)]
)
def test_the_memory_benchmark_judges(
    peaks: dict[int, float], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "peak_mb", lambda _folder, seconds, _checkpoint: peaks[seconds])
    monkeypatch.setattr(memory, "RESULTS", tmp_path)
    assert memory.main([]) == code
    stored = json.loads((tmp_path / "memory.json").read_text())
    assert stored["peak_mb"] == {str(seconds): mb for seconds, mb in peaks.items()} and "torch" in stored["versions"]


def test_the_limits_of_every_gpu_are_shown() -> None:
    lines = list(cost_model.limits())
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == ["T4", "L4", "A10", "RTX 4090", "H100 SXM"]
    assert lines[2] == "| T4 | 8.1 | 8.1 | 65 | 320 | 12 |"

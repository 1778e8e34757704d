"""What `make gpu-check` does on a GPU host, done here without its clock, so that it does not break unseen."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import gpu_check, gpu_check_sample
from gpu_lipsync.blend_kernels import BLENDS
from tests.clips import tone, write_sound

STAGES = (
    "detector",
    "generator (demo), torch.float32",
    "generator (demo), torch.float16",
    "crop",
    "lip motion",
    *(f"blend {method}" for method in BLENDS),
    "RGB to 4:2:0",
    "mouths in torch.float32",
    "mouths in torch.float16",
    *(f"decode to the device, {decoder}" for decoder in ("decord", "torchcodec", "pyav")),
    "encode from the device, h264_nvenc",
    "encode from the device, libx264",
    "the whole sample",
    "the whole sample in half precision, hd, pauses gated",
    "the whole sample by inference_fast.py",
    "the whole sample in little memory",
)


def _ran(work: Callable[[], object], *, n_frames: int = 1, rounds: int = 1) -> float:
    """Instead of CUDA's events."""
    with torch.inference_mode():
        work()
    return 0.001


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"BATCH": 2, "HEIGHT": 720, "WIDTH": 1280, "BOX": [400, 100, 600, 350]}.items():
        monkeypatch.setattr(gpu_check, name, value)
    monkeypatch.setattr(gpu_check, "_events", _ran)
    speech = np.concatenate([tone(0.4), 0 * tone(0.4)], axis=1)  # two batches, a pause to gate
    monkeypatch.setattr(gpu_check_sample, "SPEECH", write_sound(tmp_path / "speech.wav", speech))


@pytest.mark.usefixtures("small")
def test_every_stage_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "_has_nvenc", lambda: False)  # a card here may have it, which is not asked
    rows = list(gpu_check.every_stage(torch.device("cpu")))
    assert len(rows) == len(STAGES)
    for (name, seconds, note), stage in zip(rows, STAGES, strict=True):
        assert name.startswith(stage) and not note.startswith(gpu_check.FAILED), note
        # What is not on this machine has no time, and says why; PyAV and libx264 are everywhere.
        assert note if seconds is None else seconds > 0
    notes = {name: note for name, _, note in rows}
    assert not [name for name, seconds, _ in rows if seconds is None and re.search("blend|pyav|generator|x264", name)]
    assert re.match(r"0\.000 levels", notes["mouths in torch.float32"])
    assert re.match(r"0\.[0-9]+ levels", notes["mouths in torch.float16"])
    assert "libx264" in notes["encode from the device, libx264"] and "0.00 levels" in notes["the whole sample"]


@pytest.mark.usefixtures("small")
def test_a_stage_that_fails_is_a_line_and_the_others_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nand more")

    monkeypatch.setattr(gpu_check, "load_face_detector", broken)
    report = SimpleNamespace(total_seconds=1.0, n_frames=2, precision="float32", decoder="PyAV", encoder="libx264")
    monkeypatch.setattr(gpu_check_sample, "_sample", lambda *_, **__: (report, torch.zeros(2, 3, 8, 8)))
    rows = list(gpu_check.every_stage(torch.device("cpu")))
    failed = [
        name for name, _, note in rows if note.startswith(f"{gpu_check.FAILED}RuntimeError: CUDA error: an illegal")
    ]
    assert failed == ["network", "precision"]
    assert any(name.startswith("the whole sample") for name, _, _ in rows)


@pytest.mark.usefixtures("small")
def test_a_decoder_with_other_colours_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = gpu_check.Video.batches

    def pale(video: gpu_check.Video, frames: range, size: int) -> Iterator[tuple[range, Tensor]]:
        for where, batch in batches(video, frames, size):
            yield where, batch if "PyAV" in video.decoder else batch // 2 + 64

    monkeypatch.setattr(gpu_check.Video, "batches", pale)
    notes = {name: note for name, _, note in gpu_check._decode(torch.device("cpu"))}
    wrong = [name for name, note in notes.items() if note.startswith(gpu_check.FAILED)]
    assert any("decord" in name for name in wrong) and not any("pyav" in name for name in wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device here: make gpu-check is the test")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main() == 1
    assert "needs a CUDA device" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main() == 0
    printed = capsys.readouterr().out
    assert all(stage in printed for stage in STAGES)

"""What `make gpu-check` does on a GPU host, done here without its clock, so that it does not break unseen."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench import gpu_check
from gpu_lipsync.blend_kernels import BLENDS

STAGES = (
    "detector",
    "mel",
    "generator (demo), torch.float32",
    "generator (demo), torch.float16",
    "crop",
    *(f"blend {method}" for method in BLENDS),
    "RGB to 4:2:0",
    *(f"decode to the device, {decoder}" for decoder in ("decord", "torchcodec", "pyav")),
    "encode from the device",
    "encode from the device",
)


def _ran(work: Callable[[], Tensor]) -> float:
    """Instead of CUDA's events."""
    with torch.inference_mode():
        assert work() is not None
    return 0.001


def test_every_stage_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BATCH": 2, "HEIGHT": 720, "WIDTH": 1280, "BOX": [400, 100, 600, 350]}.items():
        monkeypatch.setattr(gpu_check, name, value)
    monkeypatch.setattr(gpu_check, "_events", _ran)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    rows = gpu_check.every_stage(torch.device("cpu"))
    assert len(rows) == len(STAGES)
    for (name, seconds, note), stage in zip(rows, STAGES, strict=True):
        assert name.startswith(stage)
        # What is not on this machine has no time, and says why; PyAV and libx264 are everywhere.
        assert note if seconds is None else seconds > 0
    missing = [name for name, seconds, _ in rows if seconds is None]
    assert not [name for name in missing if re.search("blend|pyav|generator", name)]
    assert "libx264" in rows[-1][2] and rows[-1][1] is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device here: make gpu-check is the test")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main() == 1
    assert "needs a CUDA device" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main() == 0
    printed = capsys.readouterr().out
    assert all(stage in printed for stage in STAGES)

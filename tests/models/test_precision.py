"""In which precision mouths come out, and on which device."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gpu_lipsync.errors import ConfigError
from gpu_lipsync.models import load_wav2lip
from gpu_lipsync.process.device import resolve_device
from tests.generators import speech_and_faces, trained_like


def test_half_precision_s_colours_come_in_finer_steps_than_levels(tmp_path: Path) -> None:
    """Between a half and one bfloat16 has 128 numbers, a level apart each."""
    save_file(trained_like().state_dict(), tmp_path / "small.safetensors")
    mouths = load_wav2lip(tmp_path / "small.safetensors", dtype=torch.bfloat16)(*speech_and_faces(2))
    assert len(mouths[mouths > 0.5].unique()) > 1000  # of 40 000 values


def test_a_gpu_s_number_ends_before_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"device cuda:1 is not available \(CUDA devices found: 1\)"):
        resolve_device("cuda:1")

"""Who learns the detail that a generator is taught to give."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.tools import sharpen_decoder
from gpu_lipsync.tools.generator_file import save
from gpu_lipsync.tools.sharpen_decoder import LAST_LAYERS
from tests.talkers import small_material


def test_the_last_layers_alone_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no batch norm's statistics either: what the mouth does was decided before. The same twice, and something
    else where detail does not count.
    """
    torch.manual_seed(0)
    torch.save(small_material(), tmp_path / "material.pt")
    (tmp_path / "before").mkdir()
    save(tmp_path / "before", {"average": Wav2Lip(0.125).state_dict()})
    start = tmp_path / "before" / "demo.safetensors"

    def sharpened(name: str, detail_weight: float) -> dict[str, Tensor]:
        out = tmp_path / f"{name}.safetensors"
        files = ["--material", str(tmp_path / "material.pt"), "--start", str(start), "--out", str(out)]
        options = ["--steps", "5", "--batch", "8", "--width", "0.125", "--device", "cpu"]
        options += ["--detail-weight", str(detail_weight), "--quiet"]
        monkeypatch.setattr(sys, "argv", ["sharpen_decoder", *files, *options])
        sharpen_decoder.main()
        return load_file(out)

    before = load_file(start)
    plain, again, detailed = sharpened("plain", 0.0), sharpened("again", 0.0), sharpened("detailed", 8.0)
    for after in (plain, detailed):
        assert {name: w.dtype for name, w in before.items()} == {name: w.dtype for name, w in after.items()}
        changed = {name for name, w in before.items() if not torch.equal(w, after[name])}
        assert changed and all(name.startswith(LAST_LAYERS) and "running" not in name for name in changed)
    assert all(torch.equal(w, again[name]) for name, w in plain.items())
    assert not all(torch.equal(w, detailed[name]) for name, w in plain.items())

"""Generators of one training run can be averaged into one."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpu_lipsync.tools import average_generators
from gpu_lipsync.tools.average_generators import average

HALVES = {"a": torch.tensor([1.0, 60000.0]).half(), "norm": torch.tensor([0.1])}
OTHERS = {"a": torch.tensor([2.0, 60000.0]).half(), "norm": torch.tensor([0.3])}


def test_mean_of_files_in_their_own_types(tmp_path, monkeypatch):
    files = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    for file, generator in zip(files, (HALVES, OTHERS), strict=True):
        save_file(generator, file)
    monkeypatch.setattr("sys.argv", ["average", *map(str, files), "--out", str(tmp_path / "out.safetensors")])
    average_generators.main()
    out = load_file(tmp_path / "out.safetensors")
    assert out["a"].dtype == torch.float16 and out["norm"].dtype == torch.float32
    assert torch.equal(out["a"], torch.tensor([1.5, 60000.0]).half())  # whose sum in half precision is infinite
    assert out["norm"].item() == pytest.approx(0.2, abs=1e-7)  # a rounding of float32


@pytest.mark.parametrize("other", [{"a": HALVES["a"]}, HALVES | {"a": torch.zeros(3).half()}])
def test_generators_that_differ_are_refused(other):
    with pytest.raises(ValueError, match=r"got (norm|\(2,\) and \(3,\))"):
        average([HALVES, other])

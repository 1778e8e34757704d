"""Detail that a generator is taught to give: how much there is, wherever its lines lie, and who learns it."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.tools import sharpen_decoder
from gpu_lipsync.tools.sharpen_decoder import LAST_LAYERS, detail, lacking
from gpu_lipsync.tools.train_demo import save
from tests import pictures
from tests.talkers import small_material

EVEN = torch.ones(1, 1, 96, 96)


def stripes(phase: int) -> Tensor:
    """(1, 3, 96, 96), two pixels light and two dark."""
    columns = ((torch.arange(96) + phase) // 2 % 2).float()
    return (0.4 + 0.2 * columns).expand(1, 3, 96, 96)


def test_detail_is_what_a_box_blur_takes_away() -> None:
    """NumPy's mean squares, in the middle, where no edge is near."""
    face = pictures.batch(pictures.face_like(96, 96))
    grey = face[0].numpy().mean(0)
    for k, size in enumerate(sharpen_decoder.FINER_THAN_PX):
        half = size // 2
        fine = [
            [grey[y, x] - grey[y - half : y + half + 1, x - half : x + half + 1].mean() for x in range(44, 53)]
            for y in range(44, 53)
        ]
        expected = (torch.tensor(fine).square().mean() + 1e-5).sqrt()
        torch.testing.assert_close(detail(face)[0, k, 48, 48], expected.float(), rtol=1e-4, atol=0)  # float32


def test_it_is_missed_where_a_picture_is_blurred_and_not_where_its_lines_lie_elsewhere() -> None:
    sharp, beside = stripes(0), stripes(1)
    blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1, count_include_pad=False)
    assert lacking(sharp, sharp, EVEN) == 0
    # Two more columns of 96 are at an edge, where windows are cut off.
    assert lacking(beside, sharp, EVEN) < 0.05 * lacking(blurred, sharp, EVEN)
    assert (beside - sharp).abs().mean() > (blurred - sharp).abs().mean(), "L1 would rather have it blurred"


@pytest.mark.parametrize("weight", [0.0, 8.0])
def test_the_last_layers_alone_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weight: float) -> None:
    """And no batch norm's statistics either: what the mouth does was decided before."""
    torch.manual_seed(0)
    whole = small_material()
    for kind in ("talks", "real_talks"):  # numbers that say when and which, as small as sounds and mouths are
        whole[kind] = [(mel / 1000 - 2, mouth / 20000, voice) for mel, mouth, voice in whole[kind]]
    torch.save(whole, tmp_path / "material.pt")
    (tmp_path / "before").mkdir()
    save(tmp_path / "before", {"average": Wav2Lip(0.125).state_dict()})
    start, out = tmp_path / "before" / "demo.safetensors", tmp_path / "after.safetensors"
    files = ["--material", str(tmp_path / "material.pt"), "--start", str(start), "--out", str(out)]
    options = ["--steps", "5", "--batch", "8", "--width", "0.125", "--device", "cpu", "--detail-weight", str(weight)]
    monkeypatch.setattr(sys, "argv", ["sharpen_decoder", *files, *options, "--quiet"])
    sharpen_decoder.main()
    before, after = load_file(start), load_file(out)
    assert {name: w.dtype for name, w in before.items()} == {name: w.dtype for name, w in after.items()}
    changed = {name for name, w in before.items() if not torch.equal(w, after[name])}
    assert changed and all(name.startswith(LAST_LAYERS) and "running" not in name for name in changed)

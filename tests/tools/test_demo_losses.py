"""What the demo generator's faces are measured by: how much detail there is, wherever its lines lie, and silence."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gpu_lipsync.tools import demo_learner
from gpu_lipsync.tools.demo_batches import Batch
from gpu_lipsync.tools.demo_learner import SILENT_WEIGHT, detail, lacking_detail, losses
from tests import pictures


def stripes(phase: int) -> Tensor:
    """(1, 3, 96, 96), two pixels light and two dark."""
    columns = ((torch.arange(96) + phase) // 2 % 2).float()
    return (0.4 + 0.2 * columns).expand(1, 3, 96, 96)


def blurred(picture: Tensor) -> Tensor:
    return avg_pool2d(picture, 3, 1, 1, count_include_pad=False)


def batch(*, faces: Tensor, mouth: Tensor, known: bool = True) -> Batch:
    """Of one face, its reference the face itself and its mouth everywhere alike."""
    return Batch(
        mel=torch.zeros(1, 1, 80, 16),
        faces=faces,
        reference=faces,
        region=torch.ones(1, 1, 96, 96),
        mouth=mouth.expand(1, 4, 4),
        mouth_known=torch.tensor([float(known)]),
    )


SHUT, OPEN = torch.zeros(4), torch.tensor([0.5, 0.0, 0.0, 0.0])


def test_detail_is_what_a_box_blur_takes_away() -> None:
    """NumPy's mean squares, in the middle, where no edge is near."""
    face = pictures.batch(pictures.face_like(96, 96))
    grey = face[0].numpy().mean(0)
    for k, size in enumerate(demo_learner.FINER_THAN_PX):
        half = size // 2
        fine = [
            [grey[y, x] - grey[y - half : y + half + 1, x - half : x + half + 1].mean() for x in range(44, 53)]
            for y in range(44, 53)
        ]
        expected = (torch.tensor(fine).square().mean() + 1e-5).sqrt()
        torch.testing.assert_close(detail(face)[0, k, 48, 48], expected.float(), rtol=1e-4, atol=0)  # float32


def test_it_is_missed_where_a_picture_is_blurred_and_not_where_its_lines_lie_elsewhere() -> None:
    sharp, beside = stripes(0), stripes(1)
    said = batch(faces=sharp, mouth=OPEN)
    assert lacking_detail(sharp, said) == 0
    # Two more columns of 96 are at an edge, where windows are cut off.
    assert lacking_detail(beside, said) < 0.05 * lacking_detail(blurred(sharp), said)
    assert (beside - sharp).abs().mean() > (blurred(sharp) - sharp).abs().mean(), "L1 would rather have it blurred"


def test_silence_is_to_look_alike_and_is_asked_for_no_detail() -> None:
    """Where the mouth is known to rest, not where nothing is known of it."""
    sharp = stripes(0)
    out, heard = blurred(sharp), torch.zeros(1, 4, 4)
    quiet, spoken = (losses(out, [out], heard, batch(faces=sharp, mouth=mouth)) for mouth in (SHUT, OPEN))
    unknown = losses(out, [out], heard, batch(faces=sharp, mouth=SHUT, known=False))
    for name in ("l1", "small", "edges"):
        torch.testing.assert_close(quiet[name], SILENT_WEIGHT * spoken[name])
        assert unknown[name] == spoken[name] > 0
    assert quiet["detail"] == 0 < spoken["detail"] == unknown["detail"]

"""Only the part of the mouths that a blend mode looks at is generated: what comes out is the same."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from gpu_lipsync.blend_kernels import BlendConfig, BlendMethod
from gpu_lipsync.faces import paste_faces
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.pasting.mouth_window import blended_boxes, mouth_window
from tests.generators import speech_and_faces, trained_like
from tests.heads import held_still
from tests.operations import default_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize("fits", [[(0, 0, 0)] * 3, [(-9, 5, 24), (4, -7, 20), (24, 12, 0)]])
@pytest.mark.parametrize("keep_detail", [False, True])
@pytest.mark.parametrize("sharpen_mouth", [False, True])
@pytest.mark.parametrize("region", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("method", get_args(BlendMethod))
def test_no_mode_looks_outside(
    method: BlendMethod, region: float, sharpen_mouth: bool, keep_detail: bool, fits: list[tuple[int, int, int]]
) -> None:
    config = BlendConfig(method=method, mouth_region_size=region, sharpen_mouth=sharpen_mouth, keep_detail=keep_detail)
    seed = torch.Generator().manual_seed(3)
    frames = torch.randint(0, 256, (3, 3, 400, 420), dtype=torch.uint8, generator=seed)
    mouths = 0.5 + 0.1 * torch.rand(3, 3, 96, 96, generator=seed)  # some of it near enough to grey noise to be kept
    boxes = torch.tensor([[10, 10, 70, 90], [20, 5, 321, 390], [0, 0, 96, 96]])
    fitted = torch.tensor(fits)
    window = mouth_window(boxes, config, CPU, fits=fitted)
    expected = paste_faces(frames, mouths, boxes, config, fits=fitted)
    if window is None:
        assert method in ("hd", "original")
        return
    top, bottom, left, right = window
    for outside in (0.0, 1.0):
        generated = torch.full_like(mouths, outside)
        generated[:, :, top:bottom, left:right] = mouths[:, :, top:bottom, left:right]
        assert torch.equal(paste_faces(frames, generated, boxes, config, fits=fitted), expected)


@pytest.mark.parametrize("fits", [[(0, 0, 0)] * 2, [(-9, 6, 20), (24, -12, 24)]])
@pytest.mark.parametrize("region", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("method", get_args(BlendMethod))
def test_nothing_changes_outside_of_the_blended_boxes(
    method: BlendMethod, region: float, fits: list[tuple[int, int, int]]
) -> None:
    config, fitted = BlendConfig(method=method, mouth_region_size=region), torch.tensor(fits)
    boxes = torch.tensor([[10, 10, 70, 90], [21, 5, 322, 391]])
    frames = torch.full((2, 3, 400, 420), 60, dtype=torch.uint8)
    pasted = paste_faces(frames, torch.ones(2, 3, 96, 96), boxes, config, fits=fitted)
    around = blended_boxes(replace(held_still(boxes), fits=fitted), config, CPU, (400, 420))
    assert around.dtype == torch.int64
    for before, after, (x1, y1, x2, y2) in zip(frames, pasted, around.tolist(), strict=True):
        rows, columns = (before != after).any(0).nonzero().unbind(1)
        seen = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        assert x1 <= seen[0] and y1 <= seen[1] and seen[2] <= x2 and seen[3] <= y2
        # And no larger than that, but for the margin of modes that look around, and a mask under half a level.
        assert max(abs(a - b) for a, b in zip(seen, (x1, y1, x2, y2), strict=True)) <= 8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_boxes_of_tilted_heads_are_exact_whatever_a_host_program_s_default_is(dtype: torch.dtype) -> None:
    """Half precision knows every eighth pixel from 1024 on."""
    boxes = torch.tensor([[1301, 403, 1599, 800], [2702, 503, 2918, 800]])
    heads = replace(held_still(boxes), tilts=torch.tensor([30.0, -30.0], dtype=torch.float64))
    expected = blended_boxes(heads, BlendConfig(), CPU, (1080, 3840))
    with default_dtype(dtype):
        assert torch.equal(blended_boxes(heads, BlendConfig(), CPU, (1080, 3840)), expected)


def test_the_window_is_no_larger_than_it_must_be() -> None:
    window = mouth_window(torch.tensor([[0, 0, 300, 360]]), BlendConfig(), CPU)
    assert window is not None
    top, bottom, left, right = window
    assert (bottom - top) * (right - left) < 0.5 * 96 * 96


@pytest.mark.parametrize(
    "window", [(34, 92, 10, 87), (50, 61, 47, 48), (0, 96, 0, 96), (0, 5, 90, 96), (95, 96, 0, 1), (27, 96, 1, 96)]
)
def test_the_generator_makes_the_same_pixels_in_a_window(window: Window) -> None:
    generator, (mel, faces) = trained_like(), speech_and_faces(3)
    top, bottom, left, right = window
    with torch.no_grad():
        whole, found = generator(mel, faces), generator(mel, faces, window=window)
    part = (slice(None), slice(None), slice(top, bottom), slice(left, right))
    torch.testing.assert_close(found[part], whole[part], atol=1e-5, rtol=0)  # sums may be in another order
    found[part] = 0
    assert (found == 0).all()

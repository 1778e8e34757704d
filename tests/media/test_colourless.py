"""Mouths for black and white faces are black and white, and all others as they were made."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.blend_kernels.colourless import COLOUR, NO_COLOUR, desaturated_like
from tests import pictures
from tests.clips import write_clip
from tests.places import DEMO, FACE, SPEECH
from tests.tools.test_demo_generator import BOX


def mouths_of(n: int, device: str) -> Tensor:
    return torch.cat([pictures.batch(pictures.face_like(96, 96, seed=i)) for i in range(n)]).to(device)


def faces_of(spreads: list[float], device: str) -> Tensor:
    """Flat ones whose red is by so many levels more than green and blue."""
    faces = torch.full((len(spreads), 3, 96, 96), 0.4)
    faces[:, 0] += torch.tensor(spreads)[:, None, None] / 255
    return faces.to(device)


def test_black_and_white_faces_get_opencv_s_grey_and_others_their_mouths(device: str) -> None:
    mouths = mouths_of(4, device)
    result = desaturated_like(mouths, faces_of([0, NO_COLOUR - 0.01, COLOUR + 0.01, 60], device))
    assert torch.equal(result[2:], mouths[2:])
    for made, grey in zip(mouths[:2], result[:2], strict=True):
        expected = cv2.cvtColor(made.permute(1, 2, 0).cpu().numpy(), cv2.COLOR_RGB2GRAY)
        # Float32 sums of three products.
        np.testing.assert_allclose(grey.cpu().numpy(), np.broadcast_to(expected, (3, 96, 96)), atol=1e-5)


def test_skin_is_never_taken_for_grey_nor_a_codec_s_tinge_for_skin(device: str) -> None:
    """Levels between the colours of real material: a dark skin has 13, and codecs make 2 of black and white."""
    mouths = mouths_of(2, device)
    grey, skin = desaturated_like(mouths, faces_of([2.5, 7.0], device))
    assert torch.equal(skin, mouths[1]) and (grey - grey[:1]).abs().max() < 1e-6


def test_the_face_as_a_whole_decides_by_all_of_its_colours(device: str) -> None:
    """A logo in red on black and white is no skin; a face lit in green has as much red as blue."""
    noise = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)).sub_(0.5).mul_(4 / 255)
    logo, green = torch.full((2, 1, 3, 96, 96), 0.4)
    logo += noise
    logo[0, :, :4, :4] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    green[:, 1] += 60 / 255
    mouths = mouths_of(2, device)
    grey, coloured = desaturated_like(mouths, torch.cat((logo, green)).to(device))
    assert (grey - grey[:1]).abs().max() < 1e-6 and torch.equal(coloured, mouths[1])


def test_between_colour_and_none_nothing_switches(device: str) -> None:
    """A picture that fades to black and white takes the mouth along."""
    mouths = mouths_of(1, device).expand(61, -1, -1, -1)
    result = desaturated_like(mouths, faces_of(torch.linspace(0, 2 * COLOUR, 61).tolist(), device))
    steps = (result[1:] - result[:-1]).abs().amax((1, 2, 3))
    assert steps.max() <= 0.2 * 2 * COLOUR / (COLOUR - NO_COLOUR) / 3  # of the whole way, in at least 15 of the 60


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("spread", [0.0, (NO_COLOUR + COLOUR) / 2, 60.0])
def test_what_is_no_number_stays_none(wrong: float, spread: float, device: str) -> None:
    mouths = mouths_of(1, device)
    mouths[0, 1, 50, 50] = wrong
    assert not desaturated_like(mouths, faces_of([spread], device)).isfinite().all()


def test_a_black_and_white_clip_stays_so(tmp_path: Path) -> None:
    with av.open(str(FACE)) as clip:
        face = next(clip.decode(video=0)).to_ndarray(format="gray")
    grey = np.repeat(face[..., None], 3, axis=2)
    path = write_clip(tmp_path / "grey.mp4", n_frames=5, size=face.shape, picture=lambda *_: grey)
    out = tmp_path / "out.mp4"
    config = {"checkpoint_path": DEMO, "face": path, "audio": SPEECH, "outfile": out, "device": "cpu"}
    run(LipSyncConfig(**config, box=BOX, crf=0))
    with av.open(str(out)) as clip:
        for frame in clip.decode(video=0):
            for plane in frame.planes[1:]:
                assert set(bytes(plane)) <= {127, 128, 129}  # a level of rounding either way

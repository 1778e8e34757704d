"""What the demo generator is trained on: lips where they are, mouths that do as told, sounds that name them."""

import numpy as np
import pytest
import torch

from gpu_lipsync.models import load_face_mesh
from gpu_lipsync.tools.face_landmarks import UPPER_INNER, find_landmarks, lip_edges
from gpu_lipsync.tools.speech_tables import ARPABET, VISEMES
from gpu_lipsync.tools.synthetic_talkers import N_LIP_POINTS
from tests.talkers import BOX, sample_frame, speaking


def test_lip_edges_are_the_landmarks_interpolated() -> None:
    points = find_landmarks(sample_frame(), BOX, load_face_mesh())[..., :2] * 128
    corners, lips = lip_edges(points)
    half = (corners[0, 1] - corners[0, 0]) / 2
    down = torch.stack((-half[1], half[0]))
    offset = points[0, list(UPPER_INNER)] - corners[0].mean(dim=0)
    u = (offset @ half / (half @ half)).numpy()
    v = (offset @ down / (half @ half)).numpy()
    expected = np.interp(np.linspace(-1, 1, N_LIP_POINTS), u, v)
    np.testing.assert_allclose(lips[0, 0].numpy(), expected, atol=1e-4)  # float32 against float64
    assert bool((lips[:, 1] >= lips[:, 0]).all())  # the lower lip is never above the upper
    assert float((lips[:, 1] - lips[:, 0]).max()) > 0.1  # she smiles, her teeth showing


def test_a_mouth_moves_and_the_eyes_do_not() -> None:
    shut, opened = speaking(torch.tensor([0.0, 1.0]))
    change = (shut - opened).abs().mean(dim=0)
    assert float(change[:32].mean()) < 0.008  # the eyes: two levels, hair and lids on the warp's last traces
    assert float(change[60:90, 30:66].mean()) > 0.05  # the mouth
    dark = opened[:, 66:76, 42:54].mean()
    assert float(dark) < 0.6 * float(shut[:, 66:76, 42:54].mean())  # a mouth's inside is darker than lips


def test_every_phone_has_a_mouth() -> None:
    assert all(letter in VISEMES for ipa in ARPABET.values() for letter in ipa)


def test_grid_files_tell_their_sentences() -> None:
    pytest.importorskip("pocketsphinx", reason="comes with the tools extra")
    from gpu_lipsync.tools.real_speech import grid_sentence

    assert grid_sentence("grid_s33_lbaa7a") == "lay blue at a seven again"
    assert grid_sentence("grid_rizkiarm_id2_vcd_swwp2s") == "set white with p. two soon"

"""What the demo generator is trained on: lips where they are, mouths that do as told, sounds that name them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync.models import load_face_detector, load_face_mesh
from gpu_lipsync.tools.face_landmarks import UPPER_INNER, lip_edges
from gpu_lipsync.tools.facial_hair import Hair, wear
from gpu_lipsync.tools.inner_lips import N_LIP_POINTS, UPPER_SHARE, edges_at
from gpu_lipsync.tools.looks import Looks
from gpu_lipsync.tools.speech_tables import ARPABET, VISEMES
from gpu_lipsync.tools.synthetic_talkers import CROP_PX, animate, mouth_frame, pixel_grid, shut
from gpu_lipsync.tools.telling_sounds import openings_at, telling_sounds
from gpu_lipsync.tracking.mouth_landmarks import find_landmarks
from tests.talkers import BOX, sample_faces, sample_frame, speaking


def test_material_without_the_face_wanted_is_named() -> None:
    pytest.importorskip("matplotlib", reason="comes with the tools extra")
    from gpu_lipsync.tools.face_crops import crops_and_landmarks

    detector, mesh = load_face_detector(), load_face_mesh()
    frames = torch.cat([sample_frame(), torch.full_like(sample_frame(), 90)])
    crops, landmarks = crops_and_landmarks("a.mpg", frames[:1], detector, mesh)
    assert crops.shape == (1, 3, 128, 128) and landmarks.shape == (1, 468, 3)
    with pytest.raises(ValueError, match=r"a\.mpg: frame 1 shows 0 faces, 1 are needed"):
        crops_and_landmarks("a.mpg", frames, detector, mesh)


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


def test_a_shout_is_as_wide_open_beside_the_middle_and_the_corners_stay() -> None:
    shut, almond, box = (speaking(torch.tensor([o]), roundness=r)[0] for o, r in ((0.0, 1.3), (1.0, 1.3), (1.0, 0.3)))
    corners = sample_faces(1).corners[0] * 96 / CROP_PX
    left, right = corners[:, 0].round().long().tolist()
    beside = slice(left, left + (right - left) // 4)  # the mouth's first quarter
    middle = slice((left + right) // 2 - 2, (left + right) // 2 + 3)
    rows = slice(int(corners[:, 1].mean()) - 2, int(corners[:, 1].mean()) + 12)  # from lip to lip
    opened = [float((shut - face).abs().mean(dim=0)[rows, beside].mean()) for face in (almond, box)]
    assert opened[1] > 1.3 * opened[0]
    inside = [face[:, rows, middle] for face in (almond, box)]
    torch.testing.assert_close(*inside, atol=0.1, rtol=0)  # as wide open; the lips' edges are half a pixel off
    torch.testing.assert_close(almond[..., : left - 3], box[..., : left - 3], atol=0.02, rtol=0)  # cheeks: 5 levels


def test_a_mouth_that_leans_is_wider_open_on_that_side_and_its_corners_stay() -> None:
    shut, left, even, right = (
        speaking(torch.tensor([o]), lean=lean)[0] for o, lean in ((0.0, 0.0), (1.0, -0.45), (1.0, 0.0), (1.0, 0.45))
    )
    corners = sample_faces(1).corners[0] * 96 / CROP_PX
    first, last = corners[:, 0].round().long().tolist()
    rows, quarter = slice(int(corners[:, 1].mean()) - 2, int(corners[:, 1].mean()) + 12), (last - first) // 4

    def opened(face: Tensor, columns: slice) -> float:
        return float((shut - face).abs().mean(dim=0)[rows, columns].mean())

    at_left, at_right = slice(first, first + quarter), slice(last - quarter, last)
    assert opened(left, at_left) > 1.2 * opened(even, at_left) > 1.2 * opened(right, at_left)
    assert opened(right, at_right) > 1.2 * opened(even, at_right) > 1.2 * opened(left, at_right)
    for face in (left, right):
        torch.testing.assert_close(face[..., : first - 3], even[..., : first - 3], atol=0.02, rtol=0)  # cheek: 5 levels


def test_a_shout_shuts_in_a_shallow_bow_with_nothing_dark_at_its_corners() -> None:
    """Of a box that landmarks take for an almond, as they do: what they leave out, at the corners, is dark."""
    still, ones, arch = shut(sample_faces(1)), torch.ones(1), 1 - torch.linspace(-1, 1, N_LIP_POINTS) ** 2
    looks = Looks(**{name: ones * 0.6 for name in Looks.__dataclass_fields__})
    looks = replace(looks, roundness=0.4 * ones, lean=0 * ones, teeth_height=0 * ones, lower_height=0 * ones)
    shout = animate(still, torch.tensor([[1.0, 0.2, 0.0, 0.5]]), looks=looks, points=pixel_grid(1))
    edges = still.lips + torch.tensor([-UPPER_SHARE, 1 - UPPER_SHARE])[:, None] * 0.6 * arch**1.2
    closed = shut(replace(still, crops=shout, lips=edges))
    u, v = mouth_frame(still, pixel_grid(1))
    at_corners = ((u.abs() > 0.85) & (u.abs() < 1.1) & (v.abs() < 0.25))[0]
    darkest = [float(faces.crops[0].mean(dim=0)[at_corners].quantile(0.1)) for faces in (still, closed)]
    assert darkest[1] > 0.92 * darkest[0]  # 0.85 where as little is left out as beside the middle
    crooked = edges - 0.2 * arch * (1 + 0.5 * torch.linspace(-1, 1, N_LIP_POINTS))  # higher on the right
    met = shut(replace(still, crops=shout, lips=crooked)).lips
    torch.testing.assert_close(met, met.flip(2), atol=1e-5, rtol=0)  # no longer, within float32
    torch.testing.assert_close(shut(still).lips, still.lips)  # lips that are shut stay where they are


def test_teeth_take_some_of_the_light_that_the_skin_is_in() -> None:
    """A grey face, and a reddish one: half of its colour is taken for the skin's own, half for the light's."""
    faces = shut(sample_faces(1))
    grey = faces.crops.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    ones, mouth = torch.ones(1), torch.tensor([[1.0, 0.3, 0.0, 1.0]])
    plain = Looks(**{name: ones * 0.6 for name in Looks.__dataclass_fields__})
    plain = replace(plain, lower_height=0 * ones, lean=0 * ones)
    ratios = []
    for tint in (torch.ones(3), torch.tensor([1.0, 0.7, 0.5])):
        tinted = replace(faces, crops=grey * tint.view(1, 3, 1, 1))
        toothless, toothed = (
            animate(tinted, mouth, looks=replace(plain, teeth_height=height * ones), points=pixel_grid(1))[0]
            for height in (0.0, 0.3)
        )
        teeth = (toothed - toothless).sum(dim=0).flatten().topk(20).indices
        red, green, _ = toothed.flatten(1)[:, teeth].mean(dim=1).tolist()
        ratios.append(green / red)
    assert ratios[0] == pytest.approx(0.90 / 0.98, abs=0.005)
    assert ratios[1] / ratios[0] == pytest.approx((0.7 + 0.733) / (1 + 0.733), abs=0.01), "of means 1, 0.7, 0.5: 0.733"


def test_a_moustache_grows_on_the_upper_lip_and_moves_with_it() -> None:
    """Over the smile of the sample, whose lips are apart, and over the same lips further down."""
    smiling = sample_faces(2)
    lower = replace(smiling, lips=smiling.lips + 0.1)
    hair = replace(
        Hair.any(2, torch.Generator().manual_seed(0)),
        top=torch.tensor([0.6, 0.0]),  # the second has none
        hang=torch.full((2,), 0.2),
        reach=torch.full((2,), 1.2),
        droop=torch.zeros(2),
        beard=torch.zeros(2),
        dense=torch.ones(2),
        colour=torch.full((2, 3), 0.1),
    )
    heights = []
    for faces in (smiling, lower):
        change = (wear(faces, hair) - faces.crops).abs().amax(dim=1)
        assert not change[1].any()
        u, v = mouth_frame(faces, pixel_grid(2))
        above = edges_at(faces.lips, u)[0] - v
        grown = change[0] > 0.1
        assert int(grown.sum()) > 100
        # Hair keeps to its outlines and what strands overgrow: half of RAGGED, and half of the soft edge.
        assert float(above[0][grown].min()) > 0.2 - 0.13 and float(above[0][grown].max()) < 0.6 + 0.13
        assert float(u[0][grown].abs().max()) < 1.2 + 0.13 * 1.2 / 0.6
        heights.append(float(v[0][grown & (u[0].abs() < 0.3)].mean()))
    assert heights[1] - heights[0] == pytest.approx(0.1, abs=0.02)  # a third of a pixel


def test_a_beard_leaves_lips_and_eyes_alone() -> None:
    faces = sample_faces(1)
    hair = Hair.any(1, torch.Generator().manual_seed(1))
    hair = replace(hair, top=torch.zeros(1), beard=torch.ones(1), wide=torch.ones(1), colour=torch.full((1, 3), 0.1))
    change = (wear(faces, hair) - faces.crops).abs().amax(dim=1)[0]
    u, v = (value[0] for value in mouth_frame(faces, pixel_grid(1)))
    upper, lower = (edge[0] for edge in edges_at(faces.lips, u[None]))
    lips = (u.abs() < 0.8) & (v > upper - 0.15) & (v < lower + 0.15)
    assert not change[lips].any() and not change[v < -0.9].any()
    chin = (u.abs() < 0.4) & (v > lower + 0.8) & (v < lower + 1.4)
    assert float((change[chin] > 0.1).float().mean()) > 0.9


def test_a_beard_does_not_darken_teeth() -> None:
    """They are lit as the skin is that it grows on, by what the face was like before."""
    bare = shut(sample_faces(1))
    hair = Hair.any(1, torch.Generator().manual_seed(1))
    hair = replace(hair, top=torch.zeros(1), beard=torch.ones(1), wide=torch.ones(1), colour=torch.full((1, 3), 0.1))
    bearded = replace(bare, crops=wear(bare, hair))
    looks, mouth = Looks.alike(1), torch.tensor([[1.0, 0.3, 0.0, 1.0]])
    u, v = mouth_frame(bare, pixel_grid(1))
    inside = (u[0].abs() < 0.3) & (v[0] > 0.0) & (v[0] < 0.2)  # teeth
    shaven, lit_by_skin, lit_by_hair = (
        animate(faces, mouth, looks=looks, points=pixel_grid(1), bare=light)[0][:, inside]
        for faces, light in ((bare, None), (bearded, bare.crops), (bearded, None))
    )
    torch.testing.assert_close(lit_by_skin, shaven)
    assert float(lit_by_hair.mean()) < 0.9 * float(shaven.mean()), "or the hair did not lie where light is taken from"


def test_every_phone_has_a_mouth() -> None:
    assert all(letter in VISEMES for ipa in ARPABET.values() for letter in ipa)


def test_grid_files_tell_their_sentences() -> None:
    pytest.importorskip("pocketsphinx", reason="comes with the tools extra")
    from gpu_lipsync.tools.real_speech import grid_sentence

    assert grid_sentence("grid_s33_lbaa7a") == "lay blue at a seven again"
    assert grid_sentence("grid_rizkiarm_id2_vcd_swwp2s") == "set white with p. two soon"


def test_what_cannot_be_aligned_is_refused() -> None:
    for module in ("pocketsphinx", "espeakng_loader"):
        pytest.importorskip(module, reason="comes with the tools extra")
    from gpu_lipsync.tools.real_speech import align

    noise = 0.01 * torch.randn(32000, generator=torch.Generator().manual_seed(0))
    for text, complaint in ((None, "no words"), ("hello world", "'hello world' is not what is said")):
        with pytest.raises(ValueError, match=complaint):
            align(noise, text)


def test_lips_are_asked_about_where_the_sound_tells() -> None:
    """At 10 frames a second, the frame at 0.3 s missing: "b" lasts into the third, "aw" into the seventh."""
    phonemes = [(0.0, ""), (0.1, "b"), (0.25, "i"), (0.4, "ɔ"), (0.65, "")]
    sounds = telling_sounds(phonemes, end=0.9)
    assert sounds == [(0.1, 0.25, "lips_together"), (0.4, 0.65, "open_vowels")]
    opening = torch.tensor([0.2, 0.04, 0.03, 0.1, 0.3, 0.2, 0.5])  # at frames 0, 1, 2, 4, 5, 6 and 7
    found = openings_at(sounds, opening, [0, 1, 2, 4, 5, 6, 7], fps=10.0)
    assert found == {"lips_together": [pytest.approx(0.03)], "open_vowels": [pytest.approx(0.3)]}
    assert openings_at(sounds, opening[:1], [0], fps=10.0) == {"lips_together": [], "open_vowels": []}
    assert telling_sounds([(0.0, "aɪ")], end=0.5) == [(0.0, 0.5, "open_vowels")]  # the last ends with the sound


def test_an_open_mouth_has_a_lower_lip_where_a_smile_has_drawn_it_out() -> None:
    opened = speaking(torch.tensor([1.0]))[0]
    corners = sample_faces(1).corners[0] * 96 / CROP_PX
    half, middle, line = (float(x) for x in ((corners[1, 0] - corners[0, 0]) / 2, *corners.mean(dim=0)))
    columns = slice(round(middle) - 4, round(middle) + 5)
    met, _ = edges_at(shut(sample_faces(1)).lips, torch.zeros(1, 1, 1))
    edge = line + (float(met) + (1 - UPPER_SHARE) * 0.7) * half  # where the drawn mouth ends
    lip = opened[:, round(edge + 0.08 * half) : round(edge + 0.24 * half), columns].mean(dim=(1, 2))
    chin = opened[:, round(edge + 0.55 * half) : round(edge + 0.9 * half), columns].mean(dim=(1, 2))
    redder = float((lip[0] / lip[1]) / (chin[0] / chin[1]))
    assert redder > 1.15  # lips over skin, red over green: 1.3 by the drawing, some of it the picture's light


def test_a_grin_that_shuts_has_its_lower_lip_back() -> None:
    """Red over green of what lies below the line where the lips meet, over the chin's; a mouth that was shut stays."""
    grin = sample_faces(1)
    closed = shut(grin)
    u, v = (value[0] for value in mouth_frame(grin, pixel_grid(1)))
    met = edges_at(closed.lips, u[None])[0][0]
    middle = u.abs() < 0.3
    lip, chin = middle & (v > met + 0.06) & (v < met + 0.18), middle & (v > met + 0.5) & (v < met + 0.8)
    of_lip, of_chin = (closed.crops[0][:, where].mean(dim=1) for where in (lip, chin))
    redder = float((of_lip[0] / of_lip[1]) / (of_chin[0] / of_chin[1]))
    assert redder > 1.1, redder
    again = shut(closed)
    assert (again.crops - closed.crops)[0][:, lip].abs().max() < 0.02, "sampled once more, nothing drawn"

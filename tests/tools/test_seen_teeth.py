"""Teeth that a picture shows, and those that training draws in its place: as light, and as white."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_lipsync.tools import demo_batches
from gpu_lipsync.tools.demo_batches import AS_IT_WAS, BatchMaker
from gpu_lipsync.tools.draws import Draws
from gpu_lipsync.tools.looks import USUAL, Looks
from gpu_lipsync.tools.seen_teeth import COPIED, like_those_seen, seen_as_drawn, seen_in
from gpu_lipsync.tools.synthetic_talkers import Faces, shut
from gpu_lipsync.tools.teeth import colour_of_teeth
from tests.talkers import sample_faces, small_material
from tests.tools.drawn_faces import drawn, filmed, gaps


def test_teeth_drawn_light_are_seen_as_light() -> None:
    for gap in (0.2, 0.4):
        drawn_light = torch.tensor([0.95, 1.2, 1.5, 1.8])
        light, seen = seen_in(drawn(sample_faces(4), torch.full((4,), gap), teeth_light=drawn_light))
        assert seen.all()
        # The lip's shadow falls on more of the teeth or less. In a gap of 0.2 they keep 0.87 of their light.
        torch.testing.assert_close(light / drawn_light, torch.ones(4), atol=0.12, rtol=0)


def test_the_sample_s_smile_has_whiter_teeth_than_usual() -> None:
    (smile,), seen = seen_in(sample_faces(1))
    assert seen.all() and float(smile) > 1.4  # a studio's light on made-up teeth


def test_grid_s_speakers_have_the_usual_teeth(media: Path) -> None:
    """By such clips it was set what is usual: 1.05 to 1.2."""
    speakers = filmed(media / "more" / "grid_s34_lbwh5n.mpg")
    light, seen = seen_in(speakers)
    wide = seen & (gaps(speakers) > 0.3)
    assert int(wide.sum()) >= 3 and 0.95 < float(light[wide].median()) < 1.3


def test_lips_that_are_shut_or_hardly_apart_show_no_teeth() -> None:
    """Whatever lies between them."""
    assert not seen_in(shut(sample_faces(1)))[1].any()
    white = replace(shut(sample_faces(1)), crops=torch.ones(1, 3, 128, 128))
    for gap, seen in ((0.1, False), (0.2, True)):
        lips = torch.stack((white.lips[:, 0] - gap / 2, white.lips[:, 1] + gap / 2), dim=1)
        assert seen_in(replace(white, lips=lips))[1].tolist() == [seen]


def test_a_tongue_is_not_taken_for_teeth() -> None:
    without = drawn(sample_faces(2), torch.full((2,), 0.6), teeth_height=torch.zeros(2), lower_height=torch.zeros(2))
    assert not seen_in(without)[1].any()


def test_teeth_twice_as_light_are_as_white_as_teeth_are() -> None:
    skin_light = torch.tensor([0.8, 0.6, 0.5]).view(1, 3, 1, 1)
    usual, light = (colour_of_teeth(skin_light, torch.tensor([value])).flatten() for value in (1.0, 1.8))
    assert float(usual[2] / usual[0]) < 0.65  # as reddish as half the skin
    assert 0.85 < float(light[2] / light[0]) < 0.95  # a tooth's own yellow: a shade guide's B1 in daylight
    assert float(light.mean()) > 1.7 * float(usual.mean())


def test_where_none_are_seen_they_are_the_usual() -> None:
    usual, light = torch.tensor([1.1, 1.1]), torch.tensor([1.9, 1.9])
    given = like_those_seen(usual, light, torch.tensor([True, False]))
    torch.testing.assert_close(given, torch.tensor([1.1 + 0.8 * COPIED, 1.1]))


def test_drawn_mouths_that_are_shut_or_hide_their_teeth_show_none() -> None:
    looks = replace(Looks.alike(3), amplitude=torch.full((3,), 0.7))
    open_wide, closed, toothless = (0.8, 0.2, 0.0, 0.9), (0.18, 0.2, 0.0, 0.9), (0.8, 0.2, 0.0, 0.1)
    _, seen = seen_as_drawn(torch.tensor([open_wide, closed, toothless]), looks)
    assert seen.tolist() == [True, False, False]


def test_a_still_speaks_with_the_teeth_that_its_reference_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    drawings: list[tuple[Tensor, Looks]] = []
    animate = demo_batches.animate

    def noted(faces: Faces, mouth: Tensor, *, looks: Looks, **options: Any) -> Tensor:
        drawings.append((mouth, looks))
        return animate(faces, mouth, looks=looks, **options)

    filmed_teeth: list[tuple[Tensor, Tensor]] = []

    def seen_and_noted(faces: Faces) -> tuple[Tensor, Tensor]:
        filmed_teeth.append(seen_in(faces))
        return filmed_teeth[-1]

    hidden: list[Tensor] = []

    def bearded(draws: Draws, *pictures: Faces) -> tuple[Faces, Faces, Tensor]:
        assert filmed_teeth, "before hair is drawn, which says nothing of teeth"
        *worn, by_hair = with_hair(draws, *pictures)
        hidden.append(by_hair)
        return *worn, by_hair

    with_hair = demo_batches.with_hair
    monkeypatch.setattr(demo_batches, "animate", noted)
    monkeypatch.setattr(demo_batches, "seen_in", seen_and_noted)
    monkeypatch.setattr(demo_batches, "with_hair", bearded)
    maker = BatchMaker(small_material(), device=torch.device("cpu"))
    maker.seed(0)
    maker.batch(64)
    (shown, references), (_, stills) = drawings
    assert 5 < int((hidden[0] > 0).sum()) < 60, "some have a moustache over the lip"
    torch.testing.assert_close(stills.teeth_height, USUAL["teeth_height"] * (1 - hidden[0]))
    n_as_it_was = round(len(stills.teeth_light) * AS_IT_WAS)
    light, seen = seen_as_drawn(shown, references)
    assert 5 < int(seen.sum()) < len(seen) - 5
    apart = stills.teeth_light[n_as_it_was:] - light
    assert float(apart[seen].abs().max()) < 0.25 * 0.85  # a quarter of what lies between 1.05 to 1.2 and 0.7 to 1.9
    assert float(apart[~seen].abs().max()) > 0.3
    ((light, seen),) = filmed_teeth
    mine = stills.teeth_light[:n_as_it_was]
    assert len(light) == n_as_it_was and bool(seen.all()), "the sample smiles"
    usual = (mine - COPIED * light) / (1 - COPIED)
    assert float(usual.min()) > 1.05 - 1e-4 and float(usual.max()) < 1.2 + 1e-4

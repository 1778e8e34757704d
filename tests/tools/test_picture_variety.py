"""Other people, heads, lights and cameras of training pictures: where things go, and what stays."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.tools import picture_variety
from gpu_lipsync.tools.demo_learner import detail
from gpu_lipsync.tools.draws import Draws
from gpu_lipsync.tools.picture_variety import (
    BOX,
    FACE_PX,
    PRESSED_MOST,
    TEETH_HIDDEN,
    TILT,
    TURN,
    morphed,
    pressed,
    recoloured,
    stretched,
    views,
    with_hair,
)
from gpu_lipsync.tools.synthetic_talkers import CROP_PX, Faces, in_pixels, pixel_grid, sample
from tests.talkers import sample_faces
from tests.tools.drawn_faces import filmed


def test_heads_turn_within_their_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle of the face goes aside by up to TURN of half a box, its edges stay, and nothing folds over."""
    seen = {}
    for turn in (0.0, TURN):
        monkeypatch.setattr(picture_variety, "TURN", turn)
        seen[turn], _ = views(Draws(torch.Generator().manual_seed(3)), 200)
    aside = (seen[TURN] - seen[0.0])[..., 0] / (BOX * CROP_PX / 2)
    middle = aside[:, 48, 40:56].mean(dim=1).abs()
    assert middle.max() > 0.8 * TURN and middle.median() < 0.46 * TURN, "half of all within 0.5 ** 1.3 = 0.41 of it"
    on_the_edge = ((seen[0.0] - (CROP_PX / 2 - 0.5)) / (BOX * CROP_PX / 2))[..., 0].abs() > 0.99
    assert aside[on_the_edge].abs().max() <= 0.02 * TURN + 1e-5, "1 - 0.99 ** 2"
    along = seen[TURN][..., 0].diff(dim=2) * seen[0.0][:, :1, -1:, 0].sub(seen[0.0][:, :1, :1, 0]).sign()
    assert (along > 0).float().mean() > 0.99, "a fold shows a cheek twice"


def test_heads_tilt_and_the_reference_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Angles of the eyes' row, left to right: spread as TILT says, at most twice that; the pair alike."""
    for others in ("TURN", "NOD", "BEND"):
        monkeypatch.setattr(picture_variety, others, 0.0)
    both = views(Draws(torch.Generator().manual_seed(4)), 500)
    ends = torch.stack([view[:, 40, -1] - view[:, 40, 0] for view in both])
    angles = torch.atan2(ends[..., 1], ends[..., 0].abs())  # some are mirrored
    assert 0.85 * TILT < angles[0].std() < 1.05 * TILT, "a normal's spread, held at two deviations: 0.96"
    assert angles.abs().max() < 2 * TILT + 0.13, "and four of the shear's 0.03"
    beside = (angles[1] - angles[0]).abs()
    assert beside.quantile(0.85) < 1e-5 and 0.01 < beside.max() < 0.15, "nine in ten are the same view"


def test_blurred_pictures_lose_their_finest_detail_in_both_of_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of one pixel, whose contrast two means of 25 pixels take down to 1/625; some lose less."""
    checks = ((pixel_grid(1).sum(dim=3) % 2 < 1).float() * 0.4 + 0.3)[:, None, None, :96, :96].expand(64, 2, 3, -1, -1)
    contrast = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(picture_variety, "BLURRED", share)
        pictures = recoloured(Draws(torch.Generator().manual_seed(2)), checks)
        assert torch.equal(pictures[:, 0], pictures[:, 1])
        contrast[share] = pictures[:, 0].diff(dim=3).abs().mean(dim=(1, 2, 3))
    left = contrast[1.0] / contrast[0.0]
    assert left.max() < 1.0 and left.min() < 0.05 and 0.3 < left.median() < 0.7, "by as much as a uniform draw says"


def upper_detail(pictures: Tensor) -> Tensor:
    """How much of the finest detail (N, 3, 96, 96) have around the eyes, by their brightness, (N,)."""
    return detail(pictures)[:, 0, 10:45, 15:80].mean(dim=(1, 2)) / pictures.mean(dim=(1, 2, 3))


def test_pictures_of_a_soft_film_are_often_as_sharp_as_a_stranger(media: Path) -> None:
    """GRID's have two thirds of the detail of a talker's in use; of those drawn of them a fifth has as much."""
    film, stranger = (
        F.interpolate(filmed(media / path).crops, FACE_PX, mode="area")
        for path in ("more/grid_s34_lbwh5n.mpg", "video/vretalk_3_woman_flag.mp4")
    )
    asked = upper_detail(stranger).median()
    pairs = film.repeat(8, 1, 1, 1)[:, None].expand(-1, 2, -1, -1, -1)
    drawn = upper_detail(recoloured(Draws(torch.Generator().manual_seed(5)), pairs)[:, 0])
    assert upper_detail(film).max() < 0.7 * asked
    assert float((drawn > asked).float().mean()) > 0.15
    assert float((drawn > 2 * asked).float().mean()) < 0.05, "few are sharper by far"


def test_a_moustache_over_the_lip_hides_teeth() -> None:
    """As much as of the lip itself, just above its inner edge: none where that is bare."""
    faces = sample_faces(200)
    over_lip = in_pixels(faces, torch.zeros(200, 1, 1), faces.lips[:, :1, 16:17] - 0.04)
    stills, pictures, hidden = with_hair(Draws(torch.Generator().manual_seed(6)), faces, faces)
    assert torch.equal(stills.crops, pictures.crops)
    changed = (sample(stills.crops, over_lip) - sample(faces.crops, over_lip)).abs().amax(dim=(1, 2, 3))
    assert not changed[hidden == 0].any()
    assert changed[hidden > 0.5 * TEETH_HIDDEN].min() > 0.02 and (hidden > 0.5 * TEETH_HIDDEN).sum() > 10
    assert hidden.max() <= TEETH_HIDDEN


def test_mouths_grow_in_their_middle_alone() -> None:
    """By 1 / (1 - share), as the docstring says; eyes stay where they are, and nothing folds over."""
    points = pixel_grid(3)
    corners = torch.tensor([[[44.0, 84.0], [84.0, 84.0]]]).expand(3, -1, -1)
    wider, higher = torch.tensor([0.0, 0.3, -0.3]), torch.tensor([0.5, 0.0, -0.1])
    moved = stretched(points, corners, wider, higher)
    at_centre = moved[:, 86:89, 63:66] - moved[:, 85:88, 62:65]  # across and down by a pixel; the centre lies at 64, 87
    expected = 1 - torch.stack((wider, higher), dim=1)
    torch.testing.assert_close(at_centre.mean(dim=(1, 2)), expected, rtol=0, atol=0.02)  # half a pixel off the centre
    assert (moved - points)[:, :40].abs().max() < 0.1, "a tenth of a pixel is not seen"
    assert (moved[..., 0].diff(dim=2) > 0).all() and (moved[..., 1].diff(dim=1) > 0).all()


def test_lips_are_pressed_where_they_are_shut_and_there_alone() -> None:
    """Within a lip's height of the line between them; the nose's base and the chin, a half mouth away, hardly move."""
    opening = torch.tensor([0.0, 0.04, 0.06, 0.5]).repeat(500)
    higher = pressed(Draws(torch.Generator().manual_seed(1)), opening, 0.5)
    shut = opening < 0.05
    assert not higher[~shut].any() and -PRESSED_MOST <= higher.min() < -0.9 * PRESSED_MOST
    assert abs(float((higher[shut] < 0).float().mean()) - 0.5) < 0.05, "1000 draws, three standard deviations"
    points, corners = pixel_grid(1), torch.tensor([[[44.0, 84.0], [84.0, 84.0]]])
    down = (stretched(points, corners, torch.zeros(1), torch.tensor([-PRESSED_MOST])) - points)[0, :, 64, 1]
    assert down[87 + 6] > 0.4 * 6, "what lay six pixels below the line is seen at four"
    assert max(down[87 + 24].abs(), down[87 - 24].abs()) < 0.4, "beyond a half mouth and a fifth, in pixels"
    assert (down.diff() > -1).all(), "a fold"


def test_two_people_meet_at_eyes_and_mouth() -> None:
    """The second is a picture of its own coordinates: what is seen at the first's eyes says where it comes from."""
    one = sample_faces(1)
    ramp = pixel_grid(1).permute(0, 3, 1, 2) / CROP_PX
    other = Faces(
        crops=torch.cat((ramp, ramp[:, :1]), dim=1),
        corners=torch.tensor([[[47.0, 88.0], [80.0, 83.0]]]),
        eyes=torch.tensor([[[40.0, 51.0], [77.0, 45.0]]]),
        lips=one.lips,
    )
    seen = morphed(one, other, torch.ones(1)).crops[:, :2]
    for ours, theirs in ((one.eyes, other.eyes), (one.corners.mean(1, True), other.corners.mean(1, True))):
        found = sample(seen, ours[:, None])[:, :, 0].transpose(1, 2) * CROP_PX
        torch.testing.assert_close(found, theirs, rtol=0, atol=1e-2)  # a ramp is bilinear; float32

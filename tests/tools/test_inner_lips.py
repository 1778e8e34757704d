"""Where drawn mouths shut, beside where those of people filmed do."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gpu_lipsync.tools.inner_lips import N_LIP_POINTS, SAG, UPPER_SHARE, edges_at, meeting
from gpu_lipsync.tools.synthetic_talkers import Faces, in_pixels, sample, shut, skin_colour
from tests.tools.drawn_faces import filmed, gaps

ARCH = 1 - torch.linspace(-1, 1, N_LIP_POINTS) ** 2


@pytest.mark.parametrize("bow", [-0.3, 0.2])
def test_corners_that_a_shout_or_a_smile_moved_come_back(bow: float) -> None:
    """From a bow of lips half a mouth width apart, up in a shout and down in a smile."""
    line = bow * ARCH
    lips = torch.stack((line - UPPER_SHARE * 0.5 * ARCH, line + (1 - UPPER_SHARE) * 0.5 * ARCH))[None]
    met = meeting(lips)[0, 0]
    ends, middle = float(met[[0, -1]].mean()), float(met[N_LIP_POINTS // 2])
    assert (middle - ends - SAG) / (bow - SAG) == pytest.approx(0.2, abs=1e-5)  # float32; as bowed as shut lips, nearly
    assert abs(middle) < abs(bow) and ends * bow > 0, "corners go towards the middle, and not past it"


def test_lips_that_are_shut_stay_where_they_are() -> None:
    line = (0.1 * torch.sin(torch.linspace(0, 5, N_LIP_POINTS)))[None, None].expand(1, 2, -1)
    torch.testing.assert_close(meeting(line), line)


def lip_line(faces: Faces) -> Tensor:
    """Colour (3,) of the darkest between shut lips, in their middle half, over that of the skin: the mean of faces."""
    u = torch.linspace(-0.5, 0.5, 15).expand(len(faces.crops), 9, -1)
    heights = edges_at(faces.lips, u)[0] + torch.linspace(-0.1, 0.1, 9)[:, None]
    colours = sample(faces.crops, in_pixels(faces, u, heights))
    darkest = colours.mean(dim=1, keepdim=True).argmin(dim=2, keepdim=True).expand(-1, 3, -1, -1)
    return (colours.gather(2, darkest).mean(dim=(2, 3)) / skin_colour(faces)[..., 0, 0]).mean(dim=0)


@pytest.mark.parametrize("clip", ["rizkiarm_lrwp9a", "rizkiarm_sbwe5n", "s1_bgia4p", "s34_lbwh5n"])
def test_between_lips_that_met_it_is_as_red_and_as_dark_as_the_same_speaker_has_it(media: Path, clip: str) -> None:
    faces = filmed(media / "more" / f"grid_{clip}.mpg")
    gap = gaps(faces)
    shut_ones, wide = gap < 0.06, gap > 0.2
    assert shut_ones.sum() >= 4 and wide.sum() >= 4
    own, drawn = lip_line(faces[shut_ones]), lip_line(shut(faces[wide]))
    # One line for all: speakers' own differ by a tenth in red and green, in blue, of yellow light, by a fifth.
    torch.testing.assert_close(drawn[:2], own[:2], atol=0.08, rtol=0)
    torch.testing.assert_close(drawn[2], own[2], atol=0.16, rtol=0)
    assert float(drawn[0] / drawn[1]) == pytest.approx(float(own[0] / own[1]), abs=0.1)


@pytest.mark.parametrize("clip", ["rizkiarm_lrwp9a", "rizkiarm_sbwe5n", "s1_bgia4p"])
def test_wide_mouths_shut_as_bowed_as_the_same_speaker_shuts(media: Path, clip: str) -> None:
    faces = filmed(media / "more" / f"grid_{clip}.mpg")
    gap = gaps(faces)
    shut_ones, wide = gap < 0.06, gap > 0.2
    assert shut_ones.sum() >= 4 and wide.sum() >= 4
    own, as_it_is, closed = (
        float((lips * ARCH).sum(dim=1).mean() / ARCH.square().sum())
        for lips in (
            torch.lerp(faces.lips[shut_ones, 0], faces.lips[shut_ones, 1], UPPER_SHARE),
            torch.lerp(faces.lips[wide, 0], faces.lips[wide, 1], UPPER_SHARE),
            shut(faces[wide]).lips[:, 0],
        )
    )
    assert closed == pytest.approx(own, abs=0.03), "half a pixel of the crop"
    assert abs(closed - own) < abs(as_it_is - own)

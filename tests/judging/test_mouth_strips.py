"""The picture of mouths over time: what stands above what, and how high."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gpu_lipsync.judging.mouth_strips import COLOURS, CURVE_PX, LABEL_PX, draw_strips

TILE_PX, TILE_ROWS = 96, 48


def numbered(n: int) -> Tensor:
    """Faces whose colour is their number: (n, 3, 96, 96)."""
    levels = torch.tensor([[i // 256, i % 256, 0] for i in range(n)]) / 255
    return levels[:, :, None, None].expand(n, 3, 96, 96)


def drawn(path: Path, faces: Tensor, openings: dict[str, Tensor]) -> np.ndarray:
    """The picture, (rows, columns, 3) uint8, without the labels."""
    draw_strips(path, {"mouths": faces}, envelope=torch.zeros(len(faces)), openings=openings)
    with Image.open(path) as picture:
        return np.asarray(picture)[:, LABEL_PX:]


def rows_of(curve: int, picture: np.ndarray) -> list[np.ndarray]:
    """For each column the rows in which a curve is seen."""
    return [np.flatnonzero(column) for column in (picture == COLOURS[curve]).all(2).T]


@pytest.mark.parametrize("n", [7, 23, 24, 25, 47, 48, 100, 501])
def test_a_mouth_stands_above_its_own_moment(n: int, tmp_path: Path) -> None:
    """Where the curve of an opening at one frame alone rises, that frame is the one shown."""
    n_tiles = min(24, n)
    picture = drawn(tmp_path / "a.png", numbered(n), {})
    for tile in {0, 1, n_tiles // 2, n_tiles - 1} & set(range(n_tiles)):
        middle = TILE_PX * tile + TILE_PX // 2
        high, low, _ = picture[0, middle].tolist()
        opening = torch.zeros(n)
        opening[256 * high + low] = 1
        rows = rows_of(0, drawn(tmp_path / "b.png", numbered(n), {"opening": opening}))
        top = min(r.min() for r in rows if len(r))
        peak = np.mean([x for x, r in enumerate(rows) if len(r) and r.min() == top])
        # Half a frame is as near as frames lie to a middle; 1.5: the line is two pixels wide, at whole ones.
        assert abs(peak - middle) <= TILE_PX * n_tiles / n / 2 + 1.5


@pytest.mark.parametrize("n", [1, 7, 24])
def test_every_frame_of_a_short_clip_is_shown(n: int, tmp_path: Path) -> None:
    picture = drawn(tmp_path / "a.png", numbered(n), {})
    assert picture[0, TILE_PX // 2 :: TILE_PX, 1].tolist() == list(range(n))


def test_openings_are_drawn_to_one_scale(tmp_path: Path) -> None:
    """A mouth at rest trembles by a twentieth of what one that speaks opens: so is it drawn."""
    speech = torch.linspace(0, 6 * torch.pi, 200).sin() * 2 + 5
    rest = 4 - speech / 20
    picture = drawn(tmp_path / "a.png", numbered(200), {"speech": speech, "rest": rest})
    height = CURVE_PX - 12  # of the whole scale
    for curve, series in enumerate((speech, rest)):
        rows = np.concatenate(rows_of(curve, picture))
        expected = (len(picture) - 4) - (series - speech.min()) / (speech.max() - speech.min()) * height
        # The line is two pixels wide, at whole ones.
        assert rows.min() == pytest.approx(expected.min(), abs=2) and rows.max() == pytest.approx(expected.max(), abs=2)


def test_loudness_keeps_a_scale_of_its_own(tmp_path: Path) -> None:
    """It is some hundredths where openings are pixels."""
    loudness, opening = torch.linspace(0, 0.05, 100), torch.linspace(0, 9, 100)
    faces = {"mouths": numbered(100)}
    draw_strips(tmp_path / "a.png", faces, envelope=loudness, openings={"opening": opening})
    with Image.open(tmp_path / "a.png") as picture:
        column = np.asarray(picture)[TILE_ROWS:, -30]
    grey = np.flatnonzero((column == (215, 215, 215)).all(1))
    assert grey.min() == pytest.approx(CURVE_PX - 4 - 0.99 * (CURVE_PX - 12), abs=2)  # as above

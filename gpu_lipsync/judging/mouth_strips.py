"""A picture of mouths over time: one row per way of speaking, the sound and the openings drawn below."""

from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gpu_lipsync.judging.mouth_measures import LOWER_HALF

N_COLUMNS = 24
LABEL_PX, CURVE_PX = 70, 90
COLOURS = ((200, 60, 40), (40, 90, 200), (30, 140, 70))


def draw_strips(path: Path, faces: dict[str, Tensor], *, envelope: Tensor, openings: dict[str, Tensor]) -> None:
    """Write a PNG.

    Args:
        path: of the picture.
        faces: by label, (N, 3, 96, 96) RGB in [0, 1]; their lower halves are shown at evenly spaced moments, each above
            the curves' values of its moment.
        envelope: (N,) loudness, drawn as a grey area to its own scale.
        openings: by label, (N,), drawn as lines, all to one scale: a mouth at rest is to look like one.
    """
    n, n_columns = len(envelope), min(N_COLUMNS, len(envelope))
    shown = torch.tensor([(2 * column + 1) * n // (2 * n_columns) for column in range(n_columns)])  # under its middle
    height = LOWER_HALF.stop - LOWER_HALF.start
    width = LABEL_PX + 96 * len(shown)
    picture = Image.new("RGB", (width, height * len(faces) + CURVE_PX), "white")
    draw = ImageDraw.Draw(picture)
    for row, (label, clip) in enumerate(faces.items()):
        strip = torch.cat(tuple(clip[shown.to(clip.device)][:, :, LOWER_HALF].cpu()), dim=2)
        pixels = (strip * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        picture.paste(Image.fromarray(pixels), (LABEL_PX, row * height))
        draw.text((4, row * height + height // 2 - 5), label, fill="black")
    bottom = height * len(faces) + CURVE_PX - 4
    area = _points(envelope, _extremes([envelope]), width, bottom)
    draw.polygon([(LABEL_PX, bottom), *area, (width, bottom)], fill=(215, 215, 215))
    extremes = _extremes(openings.values())
    for index, (label, opening) in enumerate(openings.items()):
        colour = COLOURS[index % len(COLOURS)]
        draw.line(_points(opening, extremes, width, bottom), fill=colour, width=2)
        draw.text((4, bottom - CURVE_PX + 14 + 14 * index), label, fill=colour)
    picture.save(path)


def _extremes(several: Iterable[Tensor]) -> tuple[float, float]:
    values = [float(value) for series in several for value in series.aminmax()]
    return min(values, default=0.0), max(values, default=0.0)


def _points(series: Tensor, extremes: tuple[float, float], width: int, bottom: int) -> list[tuple[float, float]]:
    low, high = extremes
    heights = (series - low) / max(high - low, 1e-9) * (CURVE_PX - 12)
    step = (width - LABEL_PX) / max(len(series), 1)
    return [(LABEL_PX + (i + 0.5) * step, bottom - h) for i, h in enumerate(heights.tolist())]

"""Clips whose detections are written down, and what is asked of the boxes that come of them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.tracking.face_tracker import FaceTracker

SIDE = 480  # of the scripted clips
NO_PADS = (0, 0, 0, 0)
Array = NDArray[np.float64]
Face = tuple[float, ...]  # centre x, centre y, width, height; and degrees, if it is tilted
PLACE = [150, 155, 250, 285]  # the box of one at (200, 220, 100, 130), without pads

# Eyes, nose and the mouth's corners, in parts of the box's sides from its middle.
LANDMARKS = ((-0.2, -0.15), (0.2, -0.15), (0.0, 0.02), (-0.15, 0.2), (0.15, 0.2))


class ScriptedDetector:
    """Says for frame i what `script[i]` lists; the frame's number is written in its first two pixels."""

    long_side_px = 640

    def __init__(self, script: Sequence[Sequence[Face]], *, scores: dict[int, float] | None = None) -> None:
        self.script, self.scores, self.seen = script, scores or {}, list[int]()

    def candidates(self, frames: Tensor, *, long_side_px: int | None = None) -> Tensor:
        found = torch.zeros(len(frames), 4, 15)
        for row, frame in enumerate((frames[:, 0, 0, 0].long() + 256 * frames[:, 0, 0, 1].long()).tolist()):
            self.seen.append(frame)
            for i, (x, y, width, height, *tilt) in enumerate(self.script[frame]):
                # As the network sees it: voting moves the top 3 % of the height up and the bottom 1 % down.
                tall = height / 1.04
                top = y - height / 2 + 0.03 * tall
                score = self.scores.get(frame, 0.9) - 0.01 * i
                found[row, i, :5] = torch.tensor([x - width / 2, top, x + width / 2, top + tall, score])
                angle = np.radians(sum(tilt))
                axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
                places = np.array([x, y]) + (np.array(LANDMARKS) * (width, height)) @ axes
                found[row, i, 5:] = torch.from_numpy(places).flatten()
        return found


def scripted_frames(n_frames: int, *, cuts: Sequence[int] = (), flashes: Sequence[int] = ()) -> Tensor:
    """(n, 3, SIDE, SIDE): each scene of its own grey; a flash is one bright frame."""
    frames = torch.empty((n_frames, 3, SIDE, SIDE), dtype=torch.uint8)
    for i in range(n_frames):
        frames[i] = 250 if i in flashes else 60 + 50 * (sum(cut <= i for cut in cuts) % 3)
        frames[i, :, 0, 0], frames[i, :, 0, 1] = i % 256, i // 256
    return frames


def batches(frames: Tensor, size: int = 8) -> Iterator[Tensor]:
    return iter(frames.split(size))


def track(
    script: Sequence[Sequence[Face]], *, cuts: Sequence[int] = (), push: int = 8, config: FaceConfig | None = None,
    flashes: Sequence[int] = (), scores: dict[int, float] | None = None,
) -> tuple[Array, FaceTracker]:  # fmt: skip
    """Boxes (n, 4) without pads, and the tracker."""
    tracker = FaceTracker(ScriptedDetector(script, scores=scores), config or FaceConfig(pads=NO_PADS))
    for batch in batches(scripted_frames(len(script), cuts=cuts, flashes=flashes), push):
        tracker.push(batch)
    tracker.finish()
    assert tracker.n_ready == len(script)
    return tracker.heads(0, len(script)).boxes.numpy().astype(float), tracker


def centres(boxes: Array) -> Array:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def sizes(boxes: Array) -> set[tuple[float, ...]]:
    return {tuple(size) for size in (boxes[:, 2:] - boxes[:, :2]).tolist()}


def best_lag(found: Array, truth: Array, reach: int = 12) -> int:
    """Frames by which `found` runs behind `truth` (negative: ahead), by least squares."""
    inside = slice(reach, len(truth) - reach)
    shifts = range(-reach, reach + 1)
    errors = [((np.roll(found, -shift, axis=0) - truth)[inside] ** 2).sum() for shift in shifts]
    return shifts[int(np.argmin(errors))]


def swinging(n_frames: int, *, period: float = 40.0, noise_px: float = 1.0) -> list[list[Face]]:
    noise = np.random.default_rng(0).normal(0, noise_px, (n_frames, 4))
    phase = 2 * np.pi * np.arange(n_frames) / period
    x, y = 240 + 40 * np.sin(phase), 240 + 12 * np.cos(phase)
    return [[(x[i] + noise[i, 0], y[i] + noise[i, 1], 100 + noise[i, 2], 130 + noise[i, 3])] for i in range(n_frames)]

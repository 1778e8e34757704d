"""Figures about generated 96×96 faces: how close to the truth, and how well one series follows another."""

import torch
from torch import Tensor

LOWER_HALF = slice(48, 96)  # rows that the generator makes
MOUTH_ROWS, MOUTH_COLUMNS = slice(58, 90), slice(28, 68)  # the mouth and its surroundings


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's correlation of two series (n,); 0 where one of them does not move."""
    a, b = first.double() - first.double().mean(), second.double() - second.double().mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 1e-9 else 0.0


def shifted_correlation(first: Tensor, second: Tensor, at: Tensor, shift: int) -> float | None:
    """The larger correlation of `first` with `second` moved by `shift` one way or the other, over what overlaps.

    Args:
        first: (n,).
        second: (m,), a value for each frame.
        at: (n,) int64, the frame of each value of `first`.
        shift: frames.

    Returns:
        None where fewer than 3 values overlap.
    """
    moved = [at + shift, at - shift]
    overlaps = [(frames >= 0) & (frames < len(second)) for frames in moved]
    pairs = ((first[some], second[frames[some]]) for frames, some in zip(moved, overlaps, strict=True))
    return max((correlation(*pair) for pair in pairs if len(pair[0]) > 2), default=None)


def jitter(series: Tensor, at: Tensor) -> float:
    """How much a series (n,) trembles from frame to frame: its mean absolute second difference, over frames `at` (n,)
    that follow each other; 0 where no three do.
    """
    following = (at.diff()[1:] == 1) & (at.diff()[:-1] == 1)
    differences = series.diff(n=2).abs()[following] if len(series) > 2 else series[:0]
    return float(differences.mean()) if len(differences) else 0.0


def psnr(result: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio, dB, of pictures in [0, 1]; 99 where they are equal."""
    error = float((result - truth).square().mean())
    return min(99.0, -10 * torch.tensor(max(error, 1e-12)).log10().item())


def colour_drift(result: Tensor, truth: Tensor) -> float:
    """Difference of the lower half's mean colour, grey levels, the mean of the three channels."""
    means = [faces[:, :, LOWER_HALF].mean(dim=(0, 2, 3)) for faces in (result, truth)]
    return float((means[0] - means[1]).abs().mean()) * 255


def likeness(result: Tensor, truth: Tensor) -> float:
    """Whether it is still the same person: correlation of the mean lower faces, the mouth left out; 1 is the same."""
    rest = torch.ones(96, 96, dtype=torch.bool)
    rest[: LOWER_HALF.start], rest[MOUTH_ROWS, MOUTH_COLUMNS] = False, False
    means = [faces.mean(dim=0)[:, rest.to(faces.device)].flatten() for faces in (result, truth)]
    return correlation(means[0], means[1])

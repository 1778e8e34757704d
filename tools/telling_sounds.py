"""Sounds that say where the lips must be, m, b, p and open vowels, and where the lips are on them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gpu_lipsync.tools.speech_tables import LIPS_CLOSED, VISEMES

OPEN_VOWEL = 0.6  # of a viseme's opening: from here up it counts
KINDS = ("lips_together", "open_vowels")


class Sound(NamedTuple):
    """When a phoneme lasts, in seconds, and which of KINDS it is."""

    start: float
    end: float
    kind: str


def telling_sounds(phonemes: Sequence[tuple[float, str]], end: float) -> list[Sound]:
    """Those of `align`'s phonemes that say where the lips must be; the last of all ends at `end` seconds."""
    stops = [start for start, _ in phonemes[1:]] + [end]
    sounds = []
    for (start, ipa), stop in zip(phonemes, stops, strict=True):
        if ipa and ipa[0] in LIPS_CLOSED:
            sounds.append(Sound(start, stop, "lips_together"))
        elif ipa and VISEMES[ipa[0]][0] >= OPEN_VOWEL:
            sounds.append(Sound(start, stop, "open_vowels"))
    return sounds


def openings_at(sounds: Sequence[Sound], opening: Tensor, frames: Sequence[int], fps: float) -> dict[str, list[float]]:
    """The least opening of every closure, the widest of every vowel, by kind.

    Args:
        sounds: of one clip.
        opening: (N,) how far the lips are apart.
        frames: when each is on screen, counted in output frames: from i / fps to (i + 1) / fps seconds.
        fps: frames a second.
    """
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    starts = torch.tensor(frames) / fps
    for sound in sounds:
        seen = opening[(starts < sound.end) & (starts + 1 / fps > sound.start)]
        if len(seen):
            found[sound.kind].append(float(seen.min() if sound.kind == "lips_together" else seen.max()))
    return found

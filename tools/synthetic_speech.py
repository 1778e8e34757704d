"""Sound whose mouth is known: a synthesiser speaks, and each phoneme says how the lips stood at that moment.

A mouth is four numbers over time, each in [0, 1]: how far it is open, spread and rounded, and how much the upper teeth
show.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.functional import resample

from gpu_lipsync.audio import SAMPLE_RATE_HZ
from gpu_lipsync.tools.espeak import Espeak
from gpu_lipsync.tools.flite import Flite
from gpu_lipsync.tools.speech import Speech
from gpu_lipsync.tools.speech_tables import LANGUAGES, LIPS_CLOSED, UNKNOWN, VARIANTS, VISEMES, WORDS

TRACK_HZ = 200
N_PARAMETERS = 4  # open, spread, round, teeth
LIPS_S = 0.035  # standard deviation of the smoothing that stands for co-articulation
FLITE_PACES = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15)  # also slower and deeper, faster and higher


@dataclass(frozen=True, kw_only=True)
class Talk:
    """16 kHz sound (n,) in [-1, 1] and the mouth that makes it, (N_PARAMETERS, m) at TRACK_HZ."""

    waveform: Tensor
    mouth: Tensor


def random_text(rng: random.Random) -> str:
    """Some words in phrases, with pauses between; meaning is of no use to a mouth."""
    phrases = [" ".join(rng.choices(WORDS.split(), k=rng.randint(2, 8))) for _ in range(rng.randint(2, 4))]
    return rng.choice((", ", ". ", "; ")).join(phrases) + "."


def random_talk(engine: Espeak, rng: random.Random) -> Talk:
    """A random text in a random voice, at a random rate and pitch."""
    voice = f"{rng.choice(LANGUAGES)}+{rng.choice(VARIANTS.split())}"
    speech = engine.speak(
        random_text(rng),
        voice,
        rate_wpm=rng.randint(115, 215),
        pitch=rng.randint(15, 85),
        pitch_range=rng.randint(30, 80),
    )
    return _as_talk(speech, rng)


def random_flite_talk(engine: Flite, voice: str, rng: random.Random) -> Talk:
    """A random text in this voice, at a random rate and pace."""
    speech = engine.speak(random_text(rng), voice, stretch=rng.uniform(0.8, 1.25))
    return _as_talk(speech, rng, pace=rng.choice(FLITE_PACES))


def _as_talk(speech: Speech, rng: random.Random, pace: float = 1.0) -> Talk:
    """At 16 kHz, `pace` times as fast, at a random level."""
    sound = torch.from_numpy(speech.samples.astype(np.float32) / 32768)
    waveform = resample(sound, round(speech.sample_rate_hz * pace), SAMPLE_RATE_HZ)
    loudest = float(waveform.abs().max().clamp(min=1e-3))
    phonemes = [(start / pace, ipa) for start, ipa in speech.phonemes]
    paced = Speech(samples=(waveform * 32767).short().numpy(), sample_rate_hz=SAMPLE_RATE_HZ, phonemes=phonemes)
    mouth = torch.from_numpy(mouth_track(paced))
    return Talk(waveform=waveform * (rng.uniform(0.25, 0.95) / loudest), mouth=mouth)


def mouth_track(speech: Speech) -> NDArray[np.float32]:
    """Lips over time from phonemes: targets, smoothed into each other, shut on m, b and p, wider where it is loud."""
    n = int(len(speech.samples) / speech.sample_rate_hz * TRACK_HZ) + 1
    targets = np.zeros((N_PARAMETERS, n), np.float32)
    closure = np.zeros(n, np.float32)
    ends = [start for start, _ in speech.phonemes[1:]] + [n / TRACK_HZ]
    for (start, ipa), end in zip(speech.phonemes, ends, strict=True):
        first, last = int(start * TRACK_HZ), max(int(end * TRACK_HZ), int(start * TRACK_HZ) + 1)
        letters = [letter for letter in ipa if letter in VISEMES]
        if letters:
            half = first + int((last - first) * 0.6) if len(letters) > 1 else last
            targets[:, first:half] = np.array(VISEMES[letters[0]])[:, None]
            targets[:, half:last] = np.array(VISEMES[letters[-1]])[:, None]
        elif ipa.strip("ˈˌː_:,. "):
            targets[:, first:last] = np.array(UNKNOWN)[:, None]
        if letters and letters[0] in LIPS_CLOSED:
            closure[first : max(last - 2, first + 4)] = 1
    smooth = np.stack([_smoothed(row, LIPS_S) for row in targets])
    smooth[0] *= 0.5 + 0.5 * _loudness(speech, n)
    shut = np.clip(_smoothed(closure, 0.014) * 1.35, 0, 1)
    smooth[[0, 3]] *= 1 - shut
    return smooth.astype(np.float32)


def _smoothed(row: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
    sigma = seconds * TRACK_HZ
    taps = np.exp(-0.5 * (np.arange(-int(4 * sigma), int(4 * sigma) + 1) / sigma) ** 2)
    return np.convolve(row, taps / taps.sum(), mode="full")[int(4 * sigma) :][: len(row)].astype(np.float32)


def _loudness(speech: Speech, n: int) -> NDArray[np.float32]:
    """Square root of the sound's level against its loud parts, (n,) in [0, 1]."""
    step = speech.sample_rate_hz / TRACK_HZ
    power = np.add.reduceat(speech.samples.astype(np.float64) ** 2, (np.arange(n - 1) * step).astype(int)) / step
    level = np.sqrt(_smoothed(np.append(power, 0).astype(np.float32), 0.025).clip(0))
    return np.sqrt(np.clip(level / (np.quantile(level, 0.95) + 1), 0, 1)).astype(np.float32)

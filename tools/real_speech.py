"""Real speech whose mouth is known: its phonemes found by forced alignment, and the lips seen where the speaker is.

pocketsphinx brings its acoustic model, dictionary and language model in its wheel.
"""

import re
from collections.abc import Mapping

import numpy as np
import torch
from pocketsphinx import Decoder
from torch import Tensor

from gpu_lipsync.audio import SAMPLE_RATE_HZ
from gpu_lipsync.tools.face_landmarks import UPPER_INNER
from gpu_lipsync.tools.speech import Speech
from gpu_lipsync.tools.speech_tables import ARPABET, GRID_WORDS
from gpu_lipsync.tools.synthetic_speech import TRACK_HZ
from gpu_lipsync.tools.talks import lips_ahead
from gpu_lipsync.tracking.mouth_landmarks import LEFT_EYE, LOWER_LIP, RIGHT_EYE, UPPER_LIP

LOUD_OPENING = 0.75  # of the widest: a person's clearly open mouth
LEAST_RANGE = 0.15  # half mouth widths: who opens less than this all the time is not magnified
LIPS_PARTED = 0.03
SPREAD, ROUNDED = 0.10, 0.14  # wider and narrower than usual, as part of the width, that count as 1
SPOKEN_SHARE = 0.6  # of a filmed speaker's mouth, the rest as seen: who mumbles, and when, no sound tells
SHUT_BELOW = 0.06  # the phonemes' opening below which the lips are shut, whatever 25 frames a second caught of it


def grid_sentence(name: str) -> str:
    """What is said in a GRID clip, by its file's name: verb, colour, preposition, letter, digit, adverb."""
    code = re.split(r"[_.]", name)[-1]
    tables = [GRID_WORDS[i] for i in range(3)] + [{}] + [GRID_WORDS[i] for i in range(3, 5)]
    words = [table.get(sign, f"{sign}.") for table, sign in zip(tables, code, strict=True)]
    return " ".join({"a.": "a", "i.": "i", "o.": "o"}.get(word, word) for word in words)


def align(waveform: Tensor, text: str | None, words: Mapping[str, str] | None = None) -> list[tuple[float, str]]:
    """Phonemes of a recording: start in seconds and IPA, "" for a pause.

    Args:
        waveform: (n,) at 16 kHz in [-1, 1].
        text: what is said, lower case; None recognises it first.
        words: those of the text that pocketsphinx does not know, and their phones.

    Raises:
        ValueError: the text does not fit the sound, or none was given and no words are recognised.
    """
    decoder = Decoder(samprate=SAMPLE_RATE_HZ, bestpath=False, loglevel="FATAL")
    for word, phones in (words or {}).items():
        decoder.add_word(word, phones, update=True)
    sound = (waveform.clamp(-1, 1) * 32767).to(torch.int16).cpu().numpy().tobytes()

    def listen() -> None:
        decoder.start_utt()
        decoder.process_raw(sound, full_utt=True)
        decoder.end_utt()

    if text is None:
        listen()
        heard = decoder.hyp()
        if heard is None:
            raise ValueError("no words are recognised")
        text = re.sub(r"<.*?>|\[.*?\]|\(\d\)", "", heard.hypstr)
    decoder.set_align_text(text)
    listen()
    if decoder.hyp() is None:
        raise ValueError(f"{text!r} is not what is said")
    decoder.set_alignment()  # the second pass finds phonemes within the words
    listen()
    return [(phone.start / 100, ARPABET.get(phone.name, "")) for word in decoder.get_alignment() for phone in word]


def at_pace(waveform: Tensor, phonemes: list[tuple[float, str]], pace: float) -> Speech:
    """The recording, already resampled to be `pace` times as fast, with its phonemes."""
    samples = (waveform.clamp(-1, 1) * 32767).numpy().astype(np.int16)
    times = [(start / pace, ipa) for start, ipa in phonemes]
    return Speech(samples=samples, sample_rate_hz=SAMPLE_RATE_HZ, phonemes=times)


def filmed_mouth(landmarks: Tensor, person: Tensor, fps: float, spoken: Tensor) -> Tensor:
    """Mouth (4, n) at TRACK_HZ of a filmed speaker, between the one seen and, lips ahead, the one of the phonemes.

    Arguments as for `seen_mouth`.
    """
    ahead = lips_ahead(spoken)
    return torch.lerp(seen_mouth(landmarks, person, fps, spoken)[:, : ahead.shape[1]], ahead, SPOKEN_SHARE)


def seen_mouth(landmarks: Tensor, person: Tensor, fps: float, spoken: Tensor) -> Tensor:
    """Mouth (4, m) at TRACK_HZ of a filmed speaker: open, spread and round as seen, teeth and closures as spoken.

    Args:
        landmarks: (N, 468, 3) of the clip's frames.
        person: (M, 468, 3) of everything there is of the speaker: people open their mouths more and less, which no
            sound tells.
        fps: frames a second.
        spoken: (4, m), the mouth of the clip's phonemes.
    """
    gap, width = _gap_and_width(landmarks)
    usual_gap, usual_width = _gap_and_width(person)
    shut, wide = usual_gap.quantile(0.05), usual_gap.quantile(0.95)
    scale = LOUD_OPENING / (wide - shut - LIPS_PARTED).clamp(min=LEAST_RANGE)
    change = width / usual_width.median() - 1
    seen = torch.stack(((gap - shut - LIPS_PARTED) * scale, change / SPREAD, -change / ROUNDED)).clamp(0, 1)
    # Frame i is on screen from i / fps on; its middle is what it shows.
    at = ((torch.arange(spoken.shape[1]) / TRACK_HZ) * fps - 0.5).clamp(0, len(landmarks) - 1)
    left = at.long().clamp(max=len(landmarks) - 2)
    mouth = torch.lerp(seen[:, left], seen[:, left + 1], at - left)
    mouth[0] *= (spoken[0] / SHUT_BELOW).clamp(0, 1)
    return torch.cat((mouth, spoken[3:] * (mouth[:1] / 0.15).clamp(0, 1)))


def _gap_and_width(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Between the lips, in half mouth widths, and the mouth's width over the eyes' distance; each (N,)."""

    def apart(first: int, second: int) -> Tensor:
        return (landmarks[:, first] - landmarks[:, second])[:, :2].norm(dim=1)

    width = apart(UPPER_INNER[0], UPPER_INNER[-1])
    return 2 * apart(UPPER_LIP, LOWER_LIP) / width, width / apart(LEFT_EYE, RIGHT_EYE)

"""Real speech whose mouth is known: its phonemes, found by forced alignment.

pocketsphinx brings its acoustic model, dictionary and language model in its wheel.
"""

import re
from collections.abc import Mapping

import numpy as np
import torch
from pocketsphinx import Decoder
from torch import Tensor

from gpu_lipsync.audio import SAMPLE_RATE_HZ
from gpu_lipsync.tools.speech import Speech
from gpu_lipsync.tools.speech_tables import ARPABET, GRID_WORDS


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

"""flite through its command: text to sound together with the moment each phoneme begins.

Its voices were made of recordings (CMU ARCTIC and others of Carnegie Mellon's, free for any use), which espeak-ng's
were not: another kind of sound for the same mouths. Debian's package is `flite`.
"""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from gpu_lipsync.audio import load_audio
from gpu_lipsync.tools.speech import Speech
from gpu_lipsync.tools.speech_tables import ARPABET

VOICES = ("slt", "rms", "awb", "kal16")
SAMPLE_RATE_HZ = 16000


class Flite:
    """Raises RuntimeError where there is no flite."""

    def __init__(self) -> None:
        found = shutil.which("flite")
        if found is None:
            raise RuntimeError("the command flite is not there: apt-get install flite")
        self._command = found

    def speak(self, text: str, voice: str = "slt", *, stretch: float = 1.0) -> Speech:
        """Speak `text`; `stretch` above 1 is slower.

        Raises:
            subprocess.CalledProcessError: flite failed.
            ValueError: it has no such voice (flite itself would take another without a word).
        """
        if voice not in VOICES:
            raise ValueError(f"voice must be one of {VOICES}, got {voice!r}")
        with TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            options = ["-voice", voice, "--setf", f"duration_stretch={stretch}", "-psdur"]
            done = subprocess.run(
                [self._command, *options, "-t", text, "-o", str(path)], check=True, capture_output=True, text=True
            )
            samples = (load_audio(path) * 32767).short().numpy()
        return Speech(samples=samples, sample_rate_hz=SAMPLE_RATE_HZ, phonemes=phonemes_of(done.stdout))


def phonemes_of(durations: str) -> list[tuple[float, str]]:
    """Start in seconds and IPA of flite's phonemes, which it prints as `name:end`, "" for a pause."""
    phonemes, begin = [], 0.0
    for part in durations.split():
        name, end = part.rsplit(":", 1)
        phonemes.append((begin, ARPABET.get(name.upper(), "")))
        begin = float(end)
    return [*phonemes, (begin, "")]

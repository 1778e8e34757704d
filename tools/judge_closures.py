"""Judge a generator's lips by what is said: together on m, b and p, apart on open vowels, as the speakers' own are.

    python -m gpu_lipsync.tools.judge_closures --checkpoint_path W CLIP [CLIP ...] [--out JSON]

Clips whose sound is their own. Of GRID's the sentence is in the file's name, of others it is recognised, in English.
Phonemes are found in time by forced alignment (pocketsphinx), openings by landmarks, as `gpu_lipsync.evaluate` does.
"""

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import torch

from gpu_lipsync.audio import SAMPLE_RATE_HZ
from gpu_lipsync.config import DecoderName
from gpu_lipsync.errors import LipSyncError
from gpu_lipsync.judging.resync import OpeningMeter, resync
from gpu_lipsync.judging.talking_clip import Clip, read_clip
from gpu_lipsync.models import load_wav2lip
from gpu_lipsync.tools.real_speech import align, grid_sentence
from gpu_lipsync.tools.telling_sounds import KINDS, openings_at, telling_sounds


def judge(clip: Clip, generator: torch.nn.Module, text: str | None) -> dict[str, dict[str, list[float]]]:
    """Openings by kind of sound, of the generated faces and of the speaker's own (`truth`)."""
    sounds = telling_sounds(align(clip.waveform, text), len(clip.waveform) / SAMPLE_RATE_HZ)
    opening_of = OpeningMeter(clip)
    faces = {"generated": resync(clip, generator, clip.waveform), "truth": clip.faces.float() / 255}
    return {name: openings_at(sounds, opening_of(f), clip.frames, float(clip.fps)) for name, f in faces.items()}


def _means(openings: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float | None]]:
    """Mean openings and how many there are, by kind."""

    def mean(values: list[float]) -> float | None:
        return round(sum(values) / len(values), 4) if values else None

    return {
        kind: {"n": len(openings["truth"][kind])} | {name: mean(openings[name][kind]) for name in openings}
        for kind in KINDS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--checkpoint_path", required=True, help="any Wav2Lip generator")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--decoder", default="auto", choices=get_args(DecoderName))
    parser.add_argument("--max_seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, help="JSON file instead of stdout")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    generator = load_wav2lip(arguments.checkpoint_path, device)
    report: dict[str, Any] = {}
    every: dict[str, dict[str, list[float]]] = {n: {kind: [] for kind in KINDS} for n in ("generated", "truth")}
    for path in arguments.clips:
        is_grid = path.name.startswith("grid_")
        try:
            clip = read_clip(path, device, max_seconds=arguments.max_seconds, decoder=arguments.decoder)
            openings = judge(clip, generator, grid_sentence(path.stem) if is_grid else None)
        except (LipSyncError, ValueError) as error:  # no face, or what is said is not found out: the others count
            report[str(path)] = {"error": str(error)}
            continue
        report[str(path)] = _means(openings)
        for name, by_kind in openings.items():
            for kind, values in by_kind.items():
                every[name][kind] += values
    report["all"] = _means(every)
    text = json.dumps(report, indent=2) + "\n"
    if arguments.out is None:
        print(text, end="")
    else:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()

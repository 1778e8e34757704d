"""Judge a checkpoint on a talking clip whose truth is known.

    python -m gpu_lipsync.evaluate --checkpoint_path W --face CLIP [--audio SPEECH] [--out JSON] [--picture PNG]

The clip's own sound is given back to it, then shifted by ±0.2, ±0.5 and ±1 s, then silence. A generator that lip-syncs
comes close to the truth with the first, follows the sound away from it with the second and rests with the last. Where
the clip's sound is not what its mouth says, or no speech, --audio gives another; how near that comes to the true mouth
is left out then, what the source's mouth does by itself is not.
Figures are of the generated 96×96 faces, before blending; how far lips are apart is read off landmarks, of source and
generated faces alike. JSON goes to stdout or --out, mouths over time to --picture.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from gpu_lipsync import mouth_measures as measures
from gpu_lipsync.audio import SAMPLE_RATE_HZ, frame_loudness
from gpu_lipsync.commands import Parser, exit_code_of, require_seconds
from gpu_lipsync.config import DecoderName
from gpu_lipsync.device import resolve_device
from gpu_lipsync.errors import CheckpointError, ConfigError, EncodeError
from gpu_lipsync.lack_of_memory import lack_of_memory_named
from gpu_lipsync.output_paths import require_apart, require_writable
from gpu_lipsync.resync import OpeningMeter, resync
from gpu_lipsync.stopping import Stops
from gpu_lipsync.talking_clip import Clip, read_clip

SHIFTS_S = (-1.0, -0.5, -0.2, 0.2, 0.5, 1.0)
APART_S = 0.6  # an envelope moved by this much must fit clearly less


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure, what it should reach, and whether it does."""

    value: float
    bar: str
    met: bool


def evaluate(
    clip: Clip, generator: nn.Module, picture: Path | None = None, *, settle: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Every figure, and a picture if a path is given; `settle` is called before that is written.

    Returns:
        What is written as JSON: `own_sound` (`other_sound` where the clip's is not its own), `shifted`, `silence` and
        `bars`.

    Raises:
        CheckpointError: mouths with NaN or infinity.
    """
    source = clip.faces.float() / 255
    said = resync(clip, generator, clip.waveform)
    still = resync(clip, generator, torch.zeros_like(clip.waveform))
    if not bool((said.isfinite() & still.isfinite()).all()):
        raise CheckpointError("the mouths made are not numbers (NaN or infinite): the checkpoint is damaged")
    opening_of = OpeningMeter(clip)
    opening, true_opening, rest = opening_of(said), opening_of(source), opening_of(still)
    loudness, at = _envelope(clip, clip.waveform), torch.tensor(clip.frames, device=opening.device)
    envelope = loudness[at]
    speech = {
        "opening_with_envelope": measures.correlation(opening, envelope),
        "opening_with_envelope_moved": measures.shifted_correlation(opening, loudness, at, round(APART_S * clip.fps)),
        "opening_jitter": measures.jitter(opening, at),
        "true_opening_jitter": measures.jitter(true_opening, at),
        "colour_drift_levels": measures.colour_drift(said, source),
        "likeness": measures.likeness(said, source),
    }
    if clip.own_sound:
        lower = (said[:, :, measures.LOWER_HALF], source[:, :, measures.LOWER_HALF])
        speech |= {
            "lower_half_l1_levels": float((lower[0] - lower[1]).abs().mean()) * 255,
            "lower_half_psnr_db": measures.psnr(*lower),
            "opening_with_true_opening": measures.correlation(opening, true_opening),
            # What the sound adds to what shows in silence: a source's own mouth that shines through adds nothing.
            "sound_with_true_opening": measures.correlation(opening - rest, true_opening),
            "true_opening_with_envelope": measures.correlation(true_opening, envelope),
        }
    silence = {
        "motion": float(rest.std()),
        "motion_in_speech": float(opening.std()),
        "true_motion": float(true_opening.std()),
        "opening": float(rest.mean()),
        "opening_in_speech": float(opening.mean()),
        "opening_with_true_opening": measures.correlation(rest, true_opening),
    }
    name = "own_sound" if clip.own_sound else "other_sound"
    report = {
        "n_frames": len(source),
        name: speech,
        "shifted": {
            f"{shift:+.1f} s": _shifted(clip, generator, shift, opening_of, true_opening) for shift in SHIFTS_S
        },
        "silence": silence,
        "bars": {name: asdict(bar) for name, bar in _bars(speech, silence).items()},
    }
    settle()
    if picture is not None:
        from gpu_lipsync.mouth_strips import draw_strips

        label = name.replace("_", " ")
        mouths = {"source": source, label: said, "silence": still}
        openings = {"source": true_opening, label: opening, "silence": rest}
        with _written("picture", picture):
            draw_strips(picture, mouths, envelope=envelope, openings=openings)
    return _rounded(report)


def _shifted(
    clip: Clip, generator: nn.Module, seconds: float, opening_of: OpeningMeter, true_opening: Tensor
) -> dict[str, float]:
    """What sound at another time does: the opening should follow it, and leave the truth behind."""
    waveform = _moved(clip.waveform, round(seconds * SAMPLE_RATE_HZ))
    opening = opening_of(resync(clip, generator, waveform))
    follows = {"opening_with_envelope": measures.correlation(opening, _envelope(clip, waveform)[clip.frames])}
    truth = {"opening_with_true_opening": measures.correlation(opening, true_opening)} if clip.own_sound else {}
    return follows | truth


def _moved(waveform: Tensor, samples: int) -> Tensor:
    """Later by `samples`, or earlier if negative; silence where nothing is left."""
    silence = waveform.new_zeros(min(abs(samples), len(waveform)))
    if samples >= 0:
        return torch.cat((silence, waveform))[: len(waveform)]
    return torch.cat((waveform[len(silence) :], silence))


def _envelope(clip: Clip, waveform: Tensor) -> Tensor:
    """Root mean square of the sound at each output frame up to the clip's last, averaged with its neighbours."""
    loudness = frame_loudness(waveform, clip.frames[-1] + 1, clip.fps)
    return nn.functional.avg_pool1d(loudness[None, None], 3, 1, padding=1, count_include_pad=False)[0, 0]


def _bars(speech: dict[str, float], silence: dict[str, float]) -> dict[str, Bar]:
    follows, moved = speech["opening_with_envelope"], speech["opening_with_envelope_moved"]
    rest = silence["motion"] / max(silence["motion_in_speech"], 1e-9)
    bars = {
        "opening_with_envelope": Bar(value=follows, bar=">= 0.4", met=follows >= 0.4),
        "lead_over_moved_envelope": Bar(value=follows - moved, bar=">= 0.2", met=follows - moved >= 0.2),
        "silence_to_speech_motion": Bar(value=rest, bar="<= 0.333", met=rest <= 1 / 3),
    }
    if "opening_with_true_opening" in speech:
        true, clear = speech["opening_with_true_opening"], speech["lower_half_psnr_db"]
        bars |= {
            "lower_half_psnr_db": Bar(value=clear, bar=">= 22", met=clear >= 22),
            "opening_with_true_opening": Bar(value=true, bar=">= 0.25", met=true >= 0.25),
        }
    return bars


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of `exit_code_of`."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_path", required=True, help="any Wav2Lip generator")
    parser.add_argument(
        "--face", required=True, help="a clip of one person talking; with its sound, unless --audio gives one"
    )
    parser.add_argument("--audio", help="another sound, which the mouth of the clip does not say: wav, mp3, a video")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--decoder", default="auto", choices=get_args(DecoderName))
    parser.add_argument("--max_seconds", type=float, default=20.0, help="judge no more than the clip's beginning")
    parser.add_argument("--out", type=Path, help="JSON file instead of stdout")
    parser.add_argument("--picture", type=Path, help="PNG: mouths over time above the sound")
    arguments = parser.parse_args(argv)
    with Stops() as stops:
        return exit_code_of(lambda: _run(arguments, stops))


def _run(arguments: argparse.Namespace, stops: Stops) -> None:
    _require_usable(arguments)
    from gpu_lipsync.models import load_wav2lip

    device = resolve_device(arguments.device)
    report = {"checkpoint": str(arguments.checkpoint_path), "clip": str(arguments.face)}
    report |= {} if arguments.audio is None else {"audio": str(arguments.audio)}
    with lack_of_memory_named(device, less="a smaller --max_seconds"):
        generator = load_wav2lip(arguments.checkpoint_path, device)
        seconds, decoder = arguments.max_seconds, arguments.decoder
        clip = read_clip(arguments.face, device, audio=arguments.audio, max_seconds=seconds, decoder=decoder)
        report |= evaluate(clip, generator, arguments.picture, settle=stops.ignore)
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        with _written("out", arguments.out):
            arguments.out.write_text(text)


def _require_usable(arguments: argparse.Namespace) -> None:
    """Refuse before the work what would fail after it."""
    require_seconds(arguments.max_seconds)
    if arguments.picture is not None and arguments.picture.suffix.lower() != ".png":
        raise ConfigError(f"picture must end in .png, got {str(arguments.picture)!r}")
    given = ("checkpoint_path", "face", "audio")
    others = {role: Path(getattr(arguments, role)) for role in given if getattr(arguments, role) is not None}
    for name in ("out", "picture"):
        path = getattr(arguments, name)
        if path is not None:
            require_apart(name, path, others)
            require_writable(name, path)
            others[name] = path


@contextmanager
def _written(name: str, path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise EncodeError(f"{name} {path} cannot be written ({error.strerror}); choose another --{name}") from error


if __name__ == "__main__":
    sys.exit(main())

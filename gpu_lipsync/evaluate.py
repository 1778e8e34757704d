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
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from gpu_lipsync.config import DecoderName
from gpu_lipsync.errors import ConfigError
from gpu_lipsync.process.commands import Parser, exit_code_of, require_seconds
from gpu_lipsync.process.output_paths import require_apart, require_writable, write_stdout, write_text, written
from gpu_lipsync.process.own_process import flush, leave_folder_that_is_gone, threads_that_sleep
from gpu_lipsync.process.stopping import Stops


def main(argv: Sequence[str] | None = None, *, own_process: bool = False) -> int:
    """Run the command; the exit code is that of `exit_code_of`. `own_process`: it is all that the process does."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_path", required=True, help="any Wav2Lip generator")
    parser.add_argument(
        "--face", required=True, help="a clip of one person talking; with its sound, unless --audio gives one"
    )
    parser.add_argument("--audio", help="another sound, which the mouth of the clip does not say: wav, mp3, a video")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N; auto")
    parser.add_argument("--decoder", default="auto", choices=get_args(DecoderName), help="what decodes the clip; auto")
    parser.add_argument("--max_seconds", type=float, default=20.0, help="of the clip's beginning; 20")
    parser.add_argument("--out", type=Path, help="JSON file instead of stdout")
    parser.add_argument("--picture", type=Path, help="PNG: mouths over time above the sound")
    arguments = parser.parse_args(argv)
    with Stops() as stops:
        return exit_code_of(lambda: _run(arguments, stops, own_process=own_process))


def _run(arguments: argparse.Namespace, stops: Stops, *, own_process: bool) -> None:
    _require_usable(arguments, own_process=own_process)
    # Here: --help, and the line that says a package is missing, need none of torch. An import that a signal ends
    # leaves half a NumPy.
    with stops.held(), threads_that_sleep():
        from gpu_lipsync.judging.evaluation import evaluate
        from gpu_lipsync.judging.talking_clip import read_clip
        from gpu_lipsync.models import load_wav2lip
        from gpu_lipsync.process.device import resolve_device
        from gpu_lipsync.process.lack_of_memory import lack_of_memory_named

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
        write_stdout(text)
    else:
        with written("out", arguments.out):
            write_text(arguments.out, text)


def _require_usable(arguments: argparse.Namespace, *, own_process: bool) -> None:
    """Refuse before the work what would fail after it."""
    require_seconds(arguments.max_seconds)
    if arguments.picture is not None and arguments.picture.suffix.lower() != ".png":
        raise ConfigError(f"picture must end in .png, got {str(arguments.picture)!r}")
    given = ("checkpoint_path", "face", "audio")
    inputs = {role: Path(getattr(arguments, role)) for role in given if getattr(arguments, role) is not None}
    others = dict(inputs)
    for name in ("out", "picture"):
        path = getattr(arguments, name)
        if path is not None:
            require_apart(name, path, others)
            require_writable(name, path)
            others[name] = path
    if own_process:
        leave_folder_that_is_gone({"out": arguments.out, "picture": arguments.picture}, inputs)


if __name__ == "__main__":
    exit_code = main(own_process=True)
    flush()  # what could not be written would fail the interpreter's end
    sys.exit(exit_code)

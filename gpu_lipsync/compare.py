"""Show one clip in every blend mode, for people to choose by looking.

    python -m gpu_lipsync.compare --face CLIP --audio SPEECH --checkpoint_path W --outfile compare.html

The page holds everything it shows: stills around the face at full size, two of them under a slider, their difference
to the source, how much of an edge the blend leaves, how much detail, and the time it takes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gpu_lipsync.cli import add_mask_flags
from gpu_lipsync.config import FrameConfig, blend_config
from gpu_lipsync.errors import ConfigError
from gpu_lipsync.process.commands import Parser, exit_code_of, require_seconds
from gpu_lipsync.process.input_files import require_file
from gpu_lipsync.process.output_paths import require_apart, require_writable, written
from gpu_lipsync.process.own_process import leave_folder_that_is_gone, threads_that_sleep
from gpu_lipsync.process.stopping import Stops


def main(argv: Sequence[str] | None = None, *, own_process: bool = False) -> int:
    """Run the command; the exit code is that of `exit_code_of`. `own_process`: it is all that the process does."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_path", required=True, help="any Wav2Lip generator")
    parser.add_argument("--face", required=True, help="a video or picture")
    parser.add_argument("--audio", required=True, help="speech")
    parser.add_argument("--outfile", type=Path, default=Path("compare.html"), help="page to write; compare.html")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N; auto")
    parser.add_argument("--moments", type=int, default=4, help="stills to show, 1 to 12; 4")
    parser.add_argument("--max_seconds", type=float, default=10.0, help="of the clip's beginning; 10")
    add_mask_flags(parser.add_argument_group("blending"))
    arguments = parser.parse_args(argv)
    with Stops() as stops:
        return exit_code_of(lambda: _run(arguments, stops, own_process=own_process))


def _run(arguments: argparse.Namespace, stops: Stops, *, own_process: bool) -> None:
    if not 1 <= arguments.moments <= 12:
        raise ConfigError(f"moments must be 1 to 12, got {arguments.moments}")
    require_seconds(arguments.max_seconds)
    settings = blend_config(arguments)
    require_file(arguments.face, "face")
    require_file(arguments.audio, "audio")
    inputs = {role: Path(getattr(arguments, role)) for role in ("checkpoint_path", "face", "audio")}
    require_apart("outfile", arguments.outfile, inputs)
    require_writable("outfile", arguments.outfile)
    if own_process:
        leave_folder_that_is_gone({"outfile": arguments.outfile}, inputs)
    # Here: --help, and the line that says a package is missing, need none of torch. An import that a signal ends
    # leaves half a NumPy.
    with stops.held(), threads_that_sleep():
        import torch

        from gpu_lipsync.audio import SAMPLE_RATE_HZ, load_audio, mel_windows
        from gpu_lipsync.judging.compare_page import page
        from gpu_lipsync.judging.comparison import compare
        from gpu_lipsync.models import load_face_detector, load_wav2lip
        from gpu_lipsync.process.device import resolve_device
        from gpu_lipsync.process.lack_of_memory import lack_of_memory_named
        from gpu_lipsync.video import open_video

    device = resolve_device(arguments.device)
    with (
        torch.inference_mode(),
        lack_of_memory_named(device, less="a smaller --max_seconds"),
        open_video(arguments.face, FrameConfig(), device) as video,
    ):
        generator = load_wav2lip(arguments.checkpoint_path, device)
        speech = load_audio(arguments.audio, device)[: round((arguments.max_seconds + 1) * SAMPLE_RATE_HZ)]
        mel = mel_windows(speech, video.fps)
        shown = compare(
            video,
            mel,
            load_face_detector(device),
            generator,
            moments=arguments.moments,
            max_seconds=arguments.max_seconds,
            settings=settings,
        )
    title = f"{Path(arguments.face).name} with {Path(arguments.audio).name}"
    how = f"mouth region {settings.mouth_region_size:g}, feather {settings.blur_intensity} px"
    if settings.sharpen_mouth:
        how += f", sharpened by {settings.sharpen_amount:g}"
    if not settings.keep_detail:
        how += ", no detail of the face kept"
    text = page(title, f"{Path(arguments.checkpoint_path).name}, {device}; {how}", shown)
    stops.ignore()  # too late to say that nothing was written
    with written("outfile", arguments.outfile):
        # File names may hold bytes that are no UTF-8.
        arguments.outfile.write_bytes(text.encode("utf-8", errors="backslashreplace"))


if __name__ == "__main__":
    sys.exit(main(own_process=True))

"""argv to LipSyncConfig, and the command that runs it."""

from __future__ import annotations

import argparse
import gc
import sys
import time
import warnings
from collections.abc import Sequence
from functools import partial
from typing import get_args

from gpu_lipsync import PROGRAM_START, __version__
from gpu_lipsync.blend_kernels.config import BlendMethod
from gpu_lipsync.config import PRESETS, DecoderName, EncoderName, LipSyncConfig, SmoothMode
from gpu_lipsync.process.commands import Parser, exit_code_of
from gpu_lipsync.process.early_context import begin_context
from gpu_lipsync.process.input_files import require_inputs
from gpu_lipsync.process.lean_torch import import_torch
from gpu_lipsync.process.own_process import (
    fill_closed_descriptors,
    flush,
    leave_folder_that_is_gone,
    threads_that_sleep,
)
from gpu_lipsync.process.stopping import Stops
from gpu_lipsync.progress import Console, Observer, Silent, TolerantStream


def main(argv: Sequence[str] | None = None, *, own_process: bool = False) -> int:
    """Run the command.

    Args:
        argv: the flags; by default those of this process.
        own_process: this run is all that the process does: torch may be imported in part (`lean_torch`), and
            process-wide state such as signal handlers need not be restored.

    Returns:
        The exit code: 0, or that of the LipSyncError's kind, or 128 and the number of the signal that ended the run.
    """
    fill_closed_descriptors()
    try:
        arguments = vars(build_parser().parse_args(argv))
        with Stops(for_good=own_process) as stops:
            return exit_code_of(lambda: _run(LipSyncConfig(**arguments), stops, own_process=own_process))
    finally:
        flush()


def _run(config: LipSyncConfig, stops: Stops, *, own_process: bool) -> None:
    started = PROGRAM_START if own_process else time.perf_counter()
    require_inputs(config)  # as `run` does, but before torch is imported
    if own_process:
        leave_folder_that_is_gone({"outfile": config.outfile, "report": config.report})
        gc.disable()  # to look through a million objects that all stay takes a tenth of a second
        warnings.simplefilter("ignore")  # libraries' own; what a user should know is said in a line of ours
        begin_context(config.device)
    # An import that an exception ends leaves half a NumPy: torch goes on with it, and crashes later.
    with stops.held(), threads_that_sleep():
        if own_process:
            import_torch()
        from gpu_lipsync.pipeline import run
    if own_process:
        gc.freeze()
        gc.enable()
    observer: Observer = _Settling(Silent() if config.quiet else Console(), stops)
    try:
        outcome = run(config, observer, started=started)
    finally:
        observer.end()
    if not config.quiet:
        summary = f"{outcome.summary()}\nTotal processing time: {outcome.total_seconds:.2f}s\n"
        TolerantStream(sys.stdout).write(summary)


class _Settling:
    """An observer; once the output is there nothing stops the run: too late to say that nothing was written."""

    def __init__(self, observer: Observer, stops: Stops) -> None:
        self.note, self.begin, self.advance, self.end = observer.note, observer.begin, observer.advance, observer.end
        self.settle = stops.ignore


def build_parser() -> argparse.ArgumentParser:
    """The command line: every flag of the predecessor with its name, type and default, and a few new ones."""
    parser = Parser(
        description="Make the mouth in a video or picture follow speech, with a Wav2Lip checkpoint.",
        formatter_class=_DefaultsAsTyped,
    )
    version = f"gpu-lipsync {__version__}"
    parser.add_argument("--version", action="version", version=version, help="say which version this is, and exit")
    _add_files(parser)
    _add_faces(parser)
    _add_blending(parser)
    _add_machine(parser)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files and frames")
    add, add_four, default = group.add_argument, partial(_add_four, group), LipSyncConfig
    add("--checkpoint_path", required=True, default=argparse.SUPPRESS, help="Wav2Lip weights: .pth, .pt, .safetensors")
    add("--face", required=True, default=argparse.SUPPRESS, help="video or picture with a face")
    add("--audio", required=True, default=argparse.SUPPRESS, help="sound file, or a video whose sound to use")
    add("--outfile", default=default.outfile, help="video to write: .mp4, .m4v, .mov, .mkv or .avi")
    add(
        "--static",
        nargs="?",
        const=True,
        default=default.static,
        type=_truth,
        metavar="True|False",
        help="use only the first frame of the video",
    )
    add(
        "--fps",
        type=float,
        default=default.fps,
        help="frame rate of a picture, or of a video slower than 10; 0.01 to 240",
    )
    add("--resize_factor", type=int, default=default.resize_factor, help="divide the frame's sides by this, 1 or more")
    add("--rotate", action="store_true", help="turn the video 90 degrees clockwise")
    add_four(
        "--crop", "keep only this part of the frame, after resizing and rotating; -1: up to the edge", default.crop
    )


def _add_faces(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("face")
    add, add_four, default = group.add_argument, partial(_add_four, group), LipSyncConfig
    add_four("--pads", "pixels added to the detected face; the chin must be inside", default.pads)
    add_four(
        "--box",
        "one face box, forehead to chin, for all frames instead of detection; 16x16 or more, in pixels after resizing, "
        "rotating and cropping",
        default.box,
    )
    add(
        "--face_det_stride",
        type=int,
        default=default.face_det_stride,
        help="look for the face every so many frames, 1 or more; more often below 25 frames a second",
    )
    add("--face_det_batch_size", type=int, default=default.face_det_batch_size, help="frames per detection, at most")
    add("--nosmooth", action="store_true", help="do not smooth the face box over time (ignored with --temporal_smooth)")
    add("--temporal_smooth", action="store_true", help="experimental, not recommended: smooth the box more strongly")
    add("--smooth_window", type=int, default=default.smooth_window, help="with --temporal_smooth: frames, 1 to 31")
    add(
        "--smooth_mode",
        choices=get_args(SmoothMode),
        default=default.smooth_mode,
        help="with --temporal_smooth: how strongly",
    )


def _add_blending(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("blending")
    add, default = group.add_argument, LipSyncConfig
    add(
        "--blend_method",
        choices=get_args(BlendMethod),
        default=default.blend_method,
        help="how the mouth is blended in",
    )
    add_mask_flags(group)


def add_mask_flags(group: argparse._ActionsContainer) -> None:
    """The flags of the mask and the sharpening, which every blend mode shares."""
    add, default = group.add_argument, LipSyncConfig
    add(
        "--mouth_region_size",
        type=float,
        default=default.mouth_region_size,
        help="size of the mask, 0.1 to 1.0; 0.4 leaves most of a moustache alone",
    )
    add("--blur_intensity", type=int, default=default.blur_intensity, help="feather of the mask, pixels, 1 to 201")
    add("--sharpen_mouth", action="store_true", help="sharpen the generated mouth")
    add("--sharpen_amount", type=float, default=default.sharpen_amount, help="of --sharpen_mouth, 0 to 5")
    add(
        "--keep_detail",
        nargs="?",
        const=True,
        default=default.keep_detail,
        type=_truth,
        metavar="True|False",
        help="lay the face's own fine detail, moved with its lips, over the generated mouth",
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speed and machine")
    add, default = group.add_argument, LipSyncConfig
    add("--wav2lip_batch_size", type=int, default=default.wav2lip_batch_size, help="frames per batch, at most")
    add("--fp16", action="store_true", help="half-precision networks on CUDA; no effect on a CPU")
    add("--silence_gating", action="store_true", help="spend less work on frames in which nobody speaks")
    add("--silence_threshold", type=float, default=default.silence_threshold, help="of --silence_gating: RMS, 0 to 1")
    add("--device", default=default.device, help="auto, cpu, cuda or cuda:N")
    add(
        "--decoder",
        choices=get_args(DecoderName),
        default=default.decoder,
        help="what decodes the video; pyav is NVDEC where it can be",
    )
    add("--encoder", choices=get_args(EncoderName), default=default.encoder, help="what encodes the result")
    add("--crf", type=int, default=default.crf, help="quality of the result: 0 (lossless) to 51")
    add("--preset", choices=PRESETS, default=default.preset, help="libx264's trade of speed for size")
    add("--report", metavar="FILE", default=argparse.SUPPRESS, help="write what was done and how long it took, as JSON")
    add("--quiet", action="store_true", help="print only errors")


_SIDES = ("TOP", "BOTTOM", "LEFT", "RIGHT")


class _DefaultsAsTyped(argparse.ArgumentDefaultsHelpFormatter):
    """Says the default of each flag; four numbers as they are given, not as Python writes a tuple."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = super()._get_help_string(action)
        if text is None or not isinstance(action.default, tuple):
            return text
        return text.replace("%(default)s", " ".join(map(str, action.default)))


def _add_four(group: argparse._ActionsContainer, flag: str, what: str, default: tuple[int, int, int, int]) -> None:
    group.add_argument(flag, type=int, nargs=4, action=_Four, default=default, metavar=_SIDES, help=what)


class _Four(argparse.Action):
    """Four numbers as a tuple: configurations are immutable."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, *_: object
    ) -> None:
        setattr(namespace, self.dest, tuple(values))  # type: ignore[arg-type]


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word in ("true", "1", "yes"):
        return True
    if word in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"expected True, False, yes, no, 1 or 0, got {text!r}")

"""The whole sample on a GPU for `make gpu-check`: against a CPU's file, and in hardly any memory."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from gpu_lipsync import run
from gpu_lipsync.config import FrameConfig, LipSyncConfig
from gpu_lipsync.errors import DeviceMemoryError
from gpu_lipsync.report import Report
from gpu_lipsync.video import open_video

ROOT = Path(__file__).parent.parent
FACE, SPEECH = ROOT / "samples" / "face.mp4", ROOT / "samples" / "speech.wav"
CHECKPOINT = ROOT / "checkpoints" / "demo.safetensors"
MEMORY_MIB, ENOUGH_MIB = (512, 256, 128, 32), 256  # for the sample; from so much on it has to do

Row = tuple[str, float | None, str]  # what it is called, seconds a frame or None, a note
FAILED = "FAILED: "  # what a failed stage's note starts with


def whole_sample(device: torch.device) -> Iterator[Row]:
    """The whole pipeline on the sample: on the CPU, on the device, and on the device with hardly any memory."""
    _, expected = _sample("cpu")
    report, pictures = _sample(str(device))
    how = f"{report.decoder}; {report.encoder}"
    yield "the whole sample", report.total_seconds / report.n_frames, _apart(pictures, expected, how)
    name = "the whole sample in little memory"
    if device.type != "cuda":
        yield name, None, f"only CUDA devices have a limit to set, not {device}"
        return
    for limit in MEMORY_MIB:
        with _at_most(limit, device):
            try:
                report, pictures = _sample(str(device))
            except DeviceMemoryError as error:
                verdict = "" if limit < ENOUGH_MIB else FAILED
                yield f"{name}, {limit} MiB", None, f"{verdict}exit code {error.exit_code}: {error}"
                continue
        went = ", ".join(note for note in report.notes if "memory" in note) or "enough of it"
        note = _apart(pictures, expected, f"{went}; batches of {report.batch_size}")
        yield f"{name}, {limit} MiB", report.total_seconds / report.n_frames, note


def _sample(device: str) -> tuple[Report, Tensor]:
    """What a run on the sample reports, and its pictures."""
    with tempfile.TemporaryDirectory() as folder:
        outfile = str(Path(folder) / "out.mp4")
        report = run(
            LipSyncConfig(
                checkpoint_path=str(CHECKPOINT), face=str(FACE), audio=str(SPEECH), outfile=outfile, device=device
            )
        )
        with open_video(outfile, FrameConfig(decoder="pyav"), "cpu") as video:
            return report, torch.cat([frames for _, frames in video.batches(range(video.n_frames), 32)])


def _apart(pictures: Tensor, expected: Tensor, how: str) -> str:
    apart = float((pictures.float() - expected.float()).abs().mean())
    return f"{'' if apart < 2 else FAILED}{how}; {apart:.2f} levels from the CPU's file"


@contextmanager
def _at_most(mebibytes: int, device: torch.device) -> Iterator[None]:
    """PyTorch refuses more memory than this, on top of what it holds."""
    gc.collect()  # an error's circle of frames would be held now, and free memory later
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved(device) + (mebibytes << 20)
    there = torch.cuda.get_device_properties(device).total_memory
    index = torch.cuda.current_device()  # a device without its number is not taken here
    torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / there), index)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, index)

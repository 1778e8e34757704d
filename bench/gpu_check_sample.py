"""The whole sample on a GPU for `make gpu-check`: against a CPU's file, and in hardly any memory."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpu_lipsync import run
from gpu_lipsync.config import FrameConfig, LipSyncConfig
from gpu_lipsync.errors import ResourceError
from gpu_lipsync.report import Report
from gpu_lipsync.video import open_video

ROOT = Path(__file__).parent.parent
FACE, SPEECH = ROOT / "samples" / "face.mp4", ROOT / "samples" / "speech.wav"
CHECKPOINT = ROOT / "checkpoints" / "demo.safetensors"
# What the sample is rendered with; defaults are float32, `ellipse`, and every mouth generated.
SETTINGS: dict[str, dict[str, Any]] = {
    "the whole sample": {},
    "the whole sample in half precision, hd, pauses gated": {
        "fp16": True,
        "blend_method": "hd",
        "silence_gating": True,
    },
}
MEMORY_MIB, ENOUGH_MIB = (512, 256, 128, 32), 256  # for the sample; from so much on it has to do

Row = tuple[str, float | None, str]  # what it is called, seconds a frame or None, a note
FAILED = "FAILED: "  # what a failed stage's note starts with


def whole_sample(device: torch.device) -> Iterator[Row]:
    """The whole pipeline on the sample: on the CPU, on the device, there by the command, and with hardly any memory."""
    on_cpu = {name: _sample("cpu", **settings)[1] for name, settings in SETTINGS.items()}
    for name, settings in SETTINGS.items():
        report, pictures = _sample(str(device), **settings)
        how = f"{report.precision}; {report.decoder}; {report.encoder}"
        yield name, report.total_seconds / report.n_frames, _apart(pictures, on_cpu[name], how)
    expected = on_cpu["the whole sample"]
    yield _by_command(str(device), expected)
    name = "the whole sample in little memory"
    if device.type != "cuda":
        yield name, None, f"only CUDA devices have a limit to set, not {device}"
        return
    for limit in MEMORY_MIB:
        with _at_most(limit, device):
            try:
                report, pictures = _sample(str(device))
            except ResourceError as error:
                verdict = "" if limit < ENOUGH_MIB else FAILED
                yield f"{name}, {limit} MiB", None, f"{verdict}exit code {error.exit_code}: {error}"
                continue
        went = ", ".join(note for note in report.notes if "memory" in note) or "enough of it"
        note = _apart(pictures, expected, f"{went}; batches of {report.batch_size}")
        yield f"{name}, {limit} MiB", report.total_seconds / report.n_frames, note


def _sample(device: str, **settings: Any) -> tuple[Report, Tensor]:
    """What a run on the sample reports, and its pictures."""
    with tempfile.TemporaryDirectory() as folder:
        outfile = str(Path(folder) / "out.mp4")
        files = {"checkpoint_path": str(CHECKPOINT), "face": str(FACE), "audio": str(SPEECH), "outfile": outfile}
        report = run(LipSyncConfig(**files, device=device, **settings))
        return report, _pictures(outfile)


def _by_command(device: str, expected: Tensor) -> Row:
    """As production has it: a process of its own, a lean PyTorch, CUDA begun before that is there."""
    name = "the whole sample by inference_fast.py"
    with tempfile.TemporaryDirectory() as folder:
        outfile, report = Path(folder) / "out.mp4", Path(folder) / "report.json"
        files = {"checkpoint_path": CHECKPOINT, "face": FACE, "audio": SPEECH, "outfile": outfile, "report": report}
        flags = [word for flag, path in files.items() for word in (f"--{flag}", str(path))]
        line = [sys.executable, str(ROOT / "inference_fast.py"), *flags, "--device", device, "--quiet"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300)
        if done.returncode:
            last = (done.stderr.strip() or "nothing on stderr").splitlines()[-1]
            return name, None, f"{FAILED}exit code {done.returncode}: {last}"
        said = json.loads(report.read_text())
        how = f"start-up {said['seconds']['start-up']:.2f} s; {said['decoder']}; {said['encoder']}"
        return name, said["total_seconds"] / said["n_frames"], _apart(_pictures(str(outfile)), expected, how)


def _pictures(outfile: str) -> Tensor:
    with open_video(outfile, FrameConfig(decoder="pyav"), "cpu") as video:
        return torch.cat([frames for _, frames in video.batches(range(video.n_frames), 32)])


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

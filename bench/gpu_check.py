"""`make gpu-check`: every stage on this machine's GPU, timed with CUDA events, as one table to paste into a report."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from gpu_lipsync.audio import log_mel, waveform_of
from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.config import EncodeConfig, FrameConfig
from gpu_lipsync.encode import StreamShape, open_writer
from gpu_lipsync.errors import LipSyncError
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.models import load_face_detector, load_wav2lip
from gpu_lipsync.ops.yuv import rgb_to_yuv420
from gpu_lipsync.report import installed_versions
from gpu_lipsync.sound_file import read_sound
from gpu_lipsync.video import open_video

ROOT = Path(__file__).parent.parent
FACE, SPEECH = ROOT / "samples" / "face.mp4", ROOT / "samples" / "speech.wav"
CHECKPOINT = ROOT / "checkpoints" / "demo.safetensors"
BATCH, HEIGHT, WIDTH = 32, 1080, 1920
BOX = [760, 240, 1160, 740]  # a face of 400 x 500 in a 1080p frame
ROUNDS = 10


def main() -> int:
    """Print the table; 1 where there is no CUDA device."""
    if not torch.cuda.is_available():
        print("gpu-check needs a CUDA device, and torch sees none here", file=sys.stderr)
        return 1
    device = torch.device("cuda")
    properties = torch.cuda.get_device_properties(device)
    print(f"{properties.name}, {properties.total_memory >> 20} MiB, CUDA {torch.version.cuda}")
    print(", ".join(f"{name} {version}" for name, version in installed_versions().items()))
    print(f"\n{'stage':44} {'ms/frame':>9}  note")
    for name, seconds_per_frame, note in every_stage(device):
        shown = f"{seconds_per_frame * 1000:9.3f}" if seconds_per_frame is not None else f"{'-':>9}"
        print(f"{name:44} {shown}  {note}")
    return 0


Row = tuple[str, float | None, str]


def every_stage(device: torch.device) -> list[Row]:
    """What each stage is called, its seconds a frame (None where it cannot run here), and what it ran with or why."""
    return [*_network(device), *_decode(device), *_encode(device)]


def _network(device: torch.device) -> list[Row]:
    frames = torch.randint(0, 255, (BATCH, 3, HEIGHT, WIDTH), dtype=torch.uint8, device=device)
    frames = frames.contiguous(memory_format=torch.channels_last)
    boxes = torch.tensor([BOX] * BATCH)
    mel = torch.zeros(BATCH, 1, 80, 16, device=device)
    mouths = torch.rand(BATCH, 3, 96, 96, device=device)
    waveform = waveform_of(read_sound(SPEECH), device)
    detector = load_face_detector(device)
    rows: list[Row] = [
        (f"detector, {len(frames)} x {WIDTH}x{HEIGHT}", _events(lambda: detector.candidates(frames)), ""),
        ("mel, a whole clip (not per frame)", _events(lambda: log_mel(waveform)) * BATCH, ""),
    ]
    for dtype in (torch.float32, torch.float16):
        generator = load_wav2lip(CHECKPOINT, device, dtype)
        faces = crop_faces(frames, boxes)
        rows.append((f"generator (demo), {dtype}", _events(lambda g=generator, f=faces: g(mel, f)), ""))  # type: ignore[misc]
    rows.append(("crop", _events(lambda: crop_faces(frames, boxes)), ""))
    for method in BLENDS:
        config = BlendConfig(method=method)
        rows.append((f"blend {method}", _events(lambda c=config: paste_faces(frames, mouths, boxes, c)), ""))  # type: ignore[misc]
    rows.append(("RGB to 4:2:0", _events(lambda: rgb_to_yuv420(frames)), ""))
    return rows


def _events(work: Callable[[], Tensor]) -> float:
    """Median seconds a frame by CUDA events, after a warm-up."""
    times = []
    with torch.inference_mode():
        for _ in range(3):
            work()
        for _ in range(ROUNDS):
            start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            work()
            stop.record()
            stop.synchronize()
            times.append(start.elapsed_time(stop) / 1000)
    return statistics.median(times) / BATCH


def _decode(device: torch.device) -> list[Row]:
    rows: list[Row] = []
    for decoder in ("decord", "torchcodec", "pyav"):
        try:
            with open_video(FACE, FrameConfig(decoder=decoder), device) as video:
                start = time.perf_counter()
                for _ in video.batches(range(video.n_frames), BATCH):
                    pass
                torch.cuda.synchronize()
                spent = (time.perf_counter() - start) / video.n_frames
                note = "; ".join([video.decoder, *video.notes])
                rows.append((f"decode to the device, {decoder}, {video.size[1]}x{video.size[0]}", spent, note))
        except LipSyncError as error:
            rows.append((f"decode to the device, {decoder}", None, str(error)))
    return rows


def _encode(device: torch.device) -> list[Row]:
    frames = torch.randint(0, 255, (BATCH, 3, HEIGHT, WIDTH), dtype=torch.uint8, device=device)
    shape = StreamShape(
        height=HEIGHT,
        width=WIDTH,
        fps=Fraction(25),
        n_frames=2 * BATCH,
        pixel_aspect=Fraction(1),
        sound=read_sound(SPEECH),
    )
    rows: list[Row] = []
    for encoder in ("h264_nvenc", "libx264"):
        with tempfile.TemporaryDirectory() as folder:
            try:
                start = time.perf_counter()
                config = EncodeConfig(encoder=encoder)
                with open_writer(Path(folder) / "out.mp4", shape, config, device=device) as out:
                    out.write(frames)
                    out.write(frames)
                    out.finish()
                spent = (time.perf_counter() - start) / shape.n_frames
                rows.append((f"encode from the device, {WIDTH}x{HEIGHT}", spent, out.encoder))
            except LipSyncError as error:
                rows.append((f"encode from the device, {encoder}", None, str(error)))
    return rows


if __name__ == "__main__":
    sys.exit(main())

"""`make gpu-check`: every stage on this machine's GPU, timed with CUDA events, as one table to paste into a report."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.gpu_check_sample import CHECKPOINT, FACE, FAILED, SPEECH, Row, whole_sample
from gpu_lipsync.audio import mel_windows, waveform_of
from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.config import EncodeConfig, EncoderName, FaceConfig, FrameConfig
from gpu_lipsync.encoding.streams import StreamShape
from gpu_lipsync.encoding.writer import open_writer
from gpu_lipsync.errors import LipSyncError
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.models import load_face_detector, load_face_mesh, load_wav2lip
from gpu_lipsync.ops.yuv import rgb_to_yuv420
from gpu_lipsync.pasting.lip_motion import find_lip_motion
from gpu_lipsync.process.device import staged, taken_over
from gpu_lipsync.report import installed_versions
from gpu_lipsync.tracking.tracked_frames import track_faces
from gpu_lipsync.video import Video, open_video

BATCH, HEIGHT, WIDTH = 32, 1080, 1920
BOX = [760, 240, 1160, 740]  # a face of 400 x 500 in a 1080p frame
ROUNDS = 10


def main() -> int:
    """Print the table, line by line; 1 where there is no CUDA device or where a stage failed."""
    if not torch.cuda.is_available():
        print("gpu-check needs a CUDA device, and torch sees none here", file=sys.stderr)
        return 1
    device = torch.device("cuda")
    properties = torch.cuda.get_device_properties(device)
    print(f"{properties.name}, {properties.total_memory >> 20} MiB, CUDA {torch.version.cuda}")
    print(", ".join(f"{name} {version}" for name, version in installed_versions().items()))
    print(f"\n{'stage':44} {'ms/frame':>9}  note")
    failed = 0
    for name, seconds_per_frame, note in every_stage(device):
        shown = f"{seconds_per_frame * 1000:9.3f}" if seconds_per_frame is not None else f"{'-':>9}"
        print(f"{name:44} {shown}  {note}", flush=True)
        failed += note.startswith(FAILED)
    return 1 if failed else 0


def every_stage(device: torch.device) -> Iterator[Row]:
    """What each stage is called, its seconds a frame (None where it cannot run here), and what it ran with or why."""
    for stages in (_network, _precision, _decode, _encode, whole_sample):
        try:
            yield from stages(device)
        except Exception as error:  # noqa: BLE001 - the table is for finding out what fails; the rest is worth having
            yield stages.__name__.strip("_"), None, f"{FAILED}{type(error).__name__}: {str(error).strip()[:300]}"


def _frames(device: torch.device) -> Tensor:
    """The sample's first frames at the checked size, (BATCH, 3, HEIGHT, WIDTH): encoders choke on noise."""
    with open_video(FACE, FrameConfig(decoder="pyav"), "cpu") as video:
        _, first = next(video.batches(range(BATCH), BATCH))
    larger = functional.interpolate(first, (HEIGHT, WIDTH), mode="bilinear")
    return larger.contiguous(memory_format=torch.channels_last).to(device)


def _network(device: torch.device) -> Iterator[Row]:
    frames = _frames(device)
    boxes = torch.tensor([BOX] * BATCH)
    mel = torch.zeros(BATCH, 1, 80, 16, device=device)
    mouths = torch.rand(BATCH, 3, 96, 96, device=device)
    detector = load_face_detector(device)
    yield f"detector, {len(frames)} x {WIDTH}x{HEIGHT}", _events(lambda: detector.candidates(frames)), ""
    faces = crop_faces(frames, boxes)
    for dtype in (torch.float32, torch.float16):
        generator = load_wav2lip(CHECKPOINT, device, dtype)
        yield f"generator (demo), {dtype}", _events(lambda g=generator: g(mel, faces)), ""  # type: ignore[misc]
    yield "crop", _events(lambda: crop_faces(frames, boxes)), ""
    mesh = load_face_mesh(device)
    yield "lip motion", _events(lambda: find_lip_motion(mouths, faces, mesh)), ""
    kept: dict[str, Any] = {"sources": faces, "motion": find_lip_motion(mouths, faces, mesh)}
    for method in BLENDS:
        paste = partial(paste_faces, frames, mouths, boxes, BlendConfig(method=method, keep_detail=True), **kept)
        yield f"blend {method}", _events(paste), ""
    yield "RGB to 4:2:0", _events(lambda: rgb_to_yuv420(frames)), ""


def _precision(device: torch.device) -> Iterator[Row]:
    """What half precision changes, and what the device does: mouths against those of a CPU in float32."""
    with torch.inference_mode(), open_video(FACE, FrameConfig(decoder="pyav"), "cpu") as video:
        _, frames = next(video.batches(range(8), 8))
        faces = crop_faces(frames, track_faces([frames], load_face_detector(), FaceConfig()).boxes)
        mel = mel_windows(waveform_of(read_sound(SPEECH), torch.device("cpu")), video.fps)[20:28]
        exact = load_wav2lip(CHECKPOINT)(mel, faces)
        for dtype in (torch.float32, torch.float16):
            found = load_wav2lip(CHECKPOINT, device, dtype)(mel.to(device), faces.to(device)).cpu().float()
            apart = float((found - exact).abs().mean()) * 255
            verdict = "" if apart < 1 else FAILED
            yield f"mouths in {dtype}", None, f"{verdict}{apart:.3f} levels from the CPU's in float32, in the mean"


def _events(work: Callable[[], object], *, n_frames: int = 0, rounds: int = ROUNDS) -> float:
    """Median seconds a frame by CUDA events, after a warm-up; of BATCH frames unless stated."""
    times = []
    with torch.inference_mode():
        for _ in range(min(3, rounds)):
            work()
        for _ in range(rounds):
            start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            work()
            stop.record()
            stop.synchronize()
            times.append(start.elapsed_time(stop) / 1000)
    return statistics.median(times) / (n_frames or BATCH)


def _decode(device: torch.device) -> Iterator[Row]:
    """Through the stream of its own that decoding has in a run, against PyAV's frames."""
    with open_video(FACE, FrameConfig(decoder="pyav"), "cpu") as video:
        expected = torch.cat([frames for _, frames in video.batches(range(video.n_frames), BATCH)])
    for decoder in ("decord", "torchcodec", "pyav"):
        name = f"decode to the device, {decoder}"
        try:
            with open_video(FACE, FrameConfig(decoder=decoder), device) as video:
                got: list[Tensor] = []

                def decode(video: Video = video, got: list[Tensor] = got) -> None:
                    made = staged(video.batches(range(video.n_frames), BATCH), video.device)
                    got[:] = [frames for _, frames in taken_over(made)]

                spent = _events(decode, n_frames=video.n_frames, rounds=3)
                apart = float((torch.cat(got).cpu().float() - expected.float()).abs().mean())
                # PyAV's FFmpeg needs the driver alone; what others need besides may not be there.
                on_device = device.type in video.decoder or decoder != "pyav"
                verdict = "" if apart < 3 and on_device else FAILED
                note = "; ".join([f"{verdict}{video.decoder}, {apart:.2f} levels from PyAV", *video.notes])
                yield f"{name}, {video.size[1]}x{video.size[0]}", spent, note
        except LipSyncError as error:
            yield name, None, str(error)


def _encode(device: torch.device) -> Iterator[Row]:
    """What the encoder wrote is decoded again and compared with what it was given."""
    frames = _frames(device)
    shape = StreamShape(
        height=HEIGHT,
        width=WIDTH,
        fps=Fraction(25),
        n_frames=2 * BATCH,
        pixel_aspect=Fraction(1),
        sound=read_sound(SPEECH),
    )
    for encoder in ("h264_nvenc", "libx264"):
        name = f"encode from the device, {encoder}"
        with tempfile.TemporaryDirectory() as folder:
            path, used = Path(folder) / "out.mp4", [""]

            def encode(path: Path = path, encoder: EncoderName = encoder, used: list[str] = used) -> None:  # type: ignore[assignment]
                with open_writer(path, shape, EncodeConfig(encoder=encoder), device=device) as out:
                    out.write(frames)
                    out.write(frames)
                    out.finish()
                    used[:] = [out.encoder]

            try:
                spent = _events(encode, n_frames=shape.n_frames, rounds=1)
                with open_video(path, FrameConfig(decoder="pyav"), "cpu") as video:
                    _, back = next(video.batches(range(video.n_frames), BATCH))
                apart = float((back.float() - frames.cpu().float()).abs().mean())
                verdict = "" if apart < 3 and video.n_frames == shape.n_frames else FAILED
                yield name, spent, f"{verdict}{used[0]}, {apart:.2f} levels from what it was given"
            except LipSyncError as error:
                missed = encoder == "h264_nvenc" and _has_nvenc()
                yield name, None, f"{FAILED if missed else ''}{error}"


def _has_nvenc() -> bool:
    """Whether NVENC encodes a picture that lies on the host, as any program would hand it over."""
    import av

    try:
        context: Any = av.CodecContext.create("h264_nvenc", "w")
        context.width, context.height, context.pix_fmt, context.time_base = WIDTH, HEIGHT, "nv12", Fraction(1, 25)
        picture = av.VideoFrame(WIDTH, HEIGHT, "nv12")
        picture.pts = 0
        context.encode(picture)
        context.encode(None)
    except (av.FFmpegError, ValueError):  # no encoder, no driver
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())

"""The stages outside the blend: sound, generator, decode, encode; and the whole command on the samples."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import librosa
import numpy as np
import pytest
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from bench.measure import DEVICES, PRECISIONS, batch_size, measure
from bench.memory import make_clip, make_speech
from gpu_lipsync.audio import load_audio, log_mel
from gpu_lipsync.blend_kernels import BlendConfig
from gpu_lipsync.config import EncodeConfig, FrameConfig
from gpu_lipsync.decoding.frame_layout import Yuv420Frames
from gpu_lipsync.encoding.streams import StreamShape
from gpu_lipsync.encoding.writer import open_writer
from gpu_lipsync.media.hdr import SdrConversion
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.models.weights import load_wav2lip
from gpu_lipsync.pasting.mouth_window import mouth_window
from gpu_lipsync.video import open_video

ROOT = Path(__file__).parent.parent
FACE, SPEECH = ROOT / "samples" / "face.mp4", ROOT / "samples" / "speech.wav"
DEMO = ROOT / "checkpoints" / "demo.safetensors"
BATCH = {"cpu": batch_size(16), "cuda": 128}


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("device", DEVICES)
def test_mel(benchmark: Any, device: str) -> None:
    waveform = load_audio(SPEECH, device)
    n_frames = round(len(waveform) / 16000 * 25)
    measure(benchmark, lambda: log_mel(waveform), frames=n_frames, group="log-mel", device=device)


def test_mel_by_librosa(benchmark: Any) -> None:
    waveform = load_audio(SPEECH).numpy()
    basis = librosa.filters.mel(sr=16000, n_fft=800, n_mels=80, fmin=55, fmax=7600)

    def run() -> object:
        emphasised = np.append(waveform[0], waveform[1:] - 0.97 * waveform[:-1])
        spectrum = np.abs(librosa.stft(emphasised, n_fft=800, hop_length=200, win_length=800, pad_mode="reflect"))
        decibels = 20 * np.log10(np.maximum(1e-5, basis @ spectrum)) - 20
        return np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)

    n_frames = round(len(waveform) / 16000 * 25)
    measure(benchmark, run, frames=n_frames, group="log-mel", reference=True)


def _inputs(device: str) -> tuple[Tensor, Tensor]:
    n = BATCH[device]
    return torch.zeros(n, 1, 80, 16, device=device), torch.rand(n, 3, 96, 96, device=device)


@pytest.mark.parametrize(("device", "dtype"), PRECISIONS)
def test_generator_full_size(benchmark: Any, device: str, dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "full.pth"
    torch.save(Wav2Lip(1.0).state_dict(), path)
    generator, inputs = load_wav2lip(path, device, dtype), _inputs(device)
    measure(
        benchmark,
        lambda: generator(*inputs),
        frames=len(inputs[0]),
        group="generator, 36.3 M parameters",
        device=device,
        rounds=3,
        warm_ups=1,
    )


@pytest.mark.parametrize("part", ["face", "mouth"])
@pytest.mark.parametrize(("device", "dtype"), PRECISIONS)
def test_generator_part(benchmark: Any, device: str, dtype: torch.dtype, part: str) -> None:
    """The mouth is what a run makes at --mouth_region_size 0.4: what blending will show, and no more."""
    generator, inputs = load_wav2lip(DEMO, device, dtype), _inputs(device)
    boxes = torch.tensor([[0, 0, 300, 360]] * len(inputs[0]))
    config = BlendConfig(mouth_region_size=0.4)
    window = mouth_window(boxes, config, torch.device(device)) if part == "mouth" else None
    group = f"generator, demo.safetensors, whole faces and mouths alone, {device}, {str(dtype).removeprefix('torch.')}"
    run = partial(generator, *inputs, window=window)
    measure(benchmark, run, frames=len(inputs[0]), group=group, device=device, reference=part == "face")


@pytest.mark.parametrize(("decoder", "kind"), [("decord", "rgb"), ("pyav", "rgb"), ("pyav", "as decoded")])
def test_decode(benchmark: Any, decoder: str, kind: str) -> None:
    """Opening it included, as OpenCV's is."""
    opened = partial(open_video, FACE, FrameConfig(decoder=decoder), as_decoded=kind == "as decoded")  # type: ignore[arg-type]

    def run() -> None:
        with opened() as video:
            for _ in video.batches(range(video.n_frames), 16):
                pass

    with opened() as video:
        n_frames, (height, width) = video.n_frames, video.size
    measure(benchmark, run, frames=n_frames, group=f"decode {width}x{height}")


def test_decode_by_opencv(benchmark: Any) -> None:
    capture = cv2.VideoCapture(str(FACE))
    n_frames, height, width = (
        int(capture.get(what))
        for what in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    )
    if not capture.isOpened() or n_frames <= 0:
        pytest.skip("this build of OpenCV has no video decoder")

    def run() -> None:
        reader = cv2.VideoCapture(str(FACE))
        while reader.read()[0]:
            pass

    measure(benchmark, run, frames=n_frames, group=f"decode {width}x{height}", reference=True)


def _hdr_frame() -> Any:
    frame = av.VideoFrame.from_ndarray(_pictures()[0].numpy(), format="yuv420p").reformat(1920, 1080, "yuv420p10le")
    frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = 18, 9, 9, 1
    return frame


def test_hdr_to_sdr(benchmark: Any) -> None:
    frame, convert = _hdr_frame(), SdrConversion("HLG")
    run = partial(convert, frame, "yuv420p", width=1920, height=1080)
    measure(benchmark, run, frames=1, group="HLG to SDR, 1920x1080")


def test_hdr_to_sdr_by_ffmpeg(benchmark: Any) -> None:
    """Its scaler's own colour management; the table, which takes it two seconds, is made in the warm-up."""
    size, bt709 = (1920, 1080), {"dst_colorspace": 1, "dst_color_trc": 1, "dst_color_primaries": 1}
    run = partial(VideoReformatter().reformat, _hdr_frame(), *size, "yuv420p", **bt709)  # type: ignore[arg-type]
    measure(benchmark, run, frames=1, group="HLG to SDR, 1920x1080", reference=True)


@pytest.mark.parametrize("size", [(300, 360), (512, 620)], ids=["300x360", "512x620"])
def test_part_of_420_to_rgb_and_back(benchmark: Any, size: tuple[int, int]) -> None:
    """What the faces cost where frames stay 4:2:0; all of the part is changed."""
    frames, layout, box = _pictures(), Yuv420Frames("bt709"), torch.tensor([[200, 40, 200 + size[0], 40 + size[1]]])

    def run() -> None:
        part = layout.part(frames, box)
        part.replaced(255 - part.rgb, box)

    measure(benchmark, run, frames=len(frames), group=f"4:2:0 to RGB and back, {size[0]} x {size[1]} of 720p")


@pytest.mark.parametrize("size", [(300, 360), (512, 620)], ids=["300x360", "512x620"])
def test_part_of_420_to_rgb_and_back_by_opencv(benchmark: Any, size: tuple[int, int]) -> None:
    frames = _pictures().numpy()

    def run() -> None:
        for frame in frames:
            chroma = frame[720:].reshape(2, 360, 640)[:, 20 : 20 + size[1] // 2, 100 : 100 + size[0] // 2]
            luma = frame[40 : 40 + size[1], 200 : 200 + size[0]]
            part = np.concatenate([luma.ravel(), chroma.ravel()]).reshape(size[1] * 3 // 2, size[0])
            rgb = 255 - cv2.cvtColor(part, cv2.COLOR_YUV2RGB_I420)
            back = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).ravel()
            luma[:], chroma[:] = back[: luma.size].reshape(luma.shape), back[luma.size :].reshape(chroma.shape)

    group = f"4:2:0 to RGB and back, {size[0]} x {size[1]} of 720p"
    measure(benchmark, run, frames=len(frames), group=group, reference=True)


def _pictures() -> Tensor:
    shape = (batch_size(16), 1080, 1280)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["rgb", "as decoded"])
@pytest.mark.parametrize("preset", ["ultrafast", "veryfast", "medium"])
def test_encode(benchmark: Any, preset: str, kind: str, tmp_path: Path) -> None:
    n_frames = batch_size(48)
    with open_video(FACE, FrameConfig(), as_decoded=kind == "as decoded") as video:
        batches = [frames for _, frames in video.batches(range(n_frames), 16)]
        height, width = video.size
    shape = StreamShape(
        height=height,
        width=width,
        fps=Fraction(25),
        n_frames=n_frames,
        pixel_aspect=Fraction(1),
        sound=read_sound(SPEECH),
    )

    def run() -> None:
        with open_writer(tmp_path / "out.mp4", shape, EncodeConfig(preset=preset)) as out:
            for frames in batches:
                out.write(frames)
            out.finish()

    measure(benchmark, run, frames=n_frames, group=f"encode {width}x{height}, libx264 crf 18 {preset}")


def test_whole_command_on_the_samples(benchmark: Any, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "inference_fast.py"), "--checkpoint_path", str(DEMO), "--face", str(FACE)]
    command += ["--audio", str(SPEECH), "--outfile", str(tmp_path / "out.mp4"), "--quiet"]
    n_frames = round(len(load_audio(SPEECH)) / 16000 * 25)
    measure(
        benchmark,
        lambda: subprocess.run(command, check=True),
        frames=n_frames,
        group="whole command on the samples, start-up included",
        rounds=3,
        warm_ups=1,
        quick_warm_ups=0,  # a process of its own warms nothing but the disk
    )


def test_whole_command_of_ten_seconds(benchmark: Any, tmp_path: Path) -> None:
    """What has to take no more than 15 s on two cores: 720p with the full-size network."""
    checkpoint, face, speech = (tmp_path / name for name in ("full.pth", "face.mp4", "speech.wav"))
    torch.save(Wav2Lip(1.0).state_dict(), checkpoint)
    make_clip(face, 10, (720, 1280))
    make_speech(speech, 10.2)
    command = [sys.executable, str(ROOT / "inference_fast.py"), "--checkpoint_path", str(checkpoint)]
    command += ["--face", str(face), "--audio", str(speech), "--outfile", str(tmp_path / "out.mp4"), "--quiet"]
    measure(
        benchmark,
        lambda: subprocess.run(command, check=True),
        frames=250,
        group="whole command, 10 s of 1280x720, 36.3 M parameters, start-up included",
        rounds=3,
        warm_ups=1,
        quick_warm_ups=0,  # a process of its own warms nothing but the disk
    )

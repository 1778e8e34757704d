"""What users of GPUs choose by flag, where there is none: which precision, encoder and batch a run asks for."""

import errno
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from torch import Tensor

from gpu_lipsync import LipSyncConfig, networks
from gpu_lipsync.blend_kernels import BlendConfig
from gpu_lipsync.config import EncodeConfig, EncoderName, FrameConfig
from gpu_lipsync.encoding import encoder_choice
from gpu_lipsync.encoding.encoders import X264Backend
from gpu_lipsync.generate import MouthRenderer, _in_eights
from gpu_lipsync.progress import Silent
from gpu_lipsync.report import Report
from gpu_lipsync.video import open_video
from tests.clips import write_clip
from tests.heads import held_still
from tests.places import FACE, SPEECH
from tests.residency import fake_cuda
from tests.stages import HeadsOnHost
from tests.writing import shape_of

CUDA = torch.device("cuda")


@pytest.mark.parametrize(("fp16", "dtype"), [(False, torch.float32), (True, torch.float16)])
def test_fp16_is_the_networks_precision(monkeypatch: pytest.MonkeyPatch, fp16: bool, dtype: torch.dtype) -> None:
    asked: list[torch.dtype] = []
    monkeypatch.setattr(networks, "load_wav2lip", lambda _path, _device, dtype: asked.append(dtype))
    monkeypatch.setattr(networks, "load_face_detector", lambda _device, *, dtype: asked.append(dtype))
    config = LipSyncConfig(checkpoint_path="w.pth", face=FACE, audio=SPEECH, outfile="o.mp4", fp16=fp16)
    networks.load_generator(config, CUDA)
    networks.load_detector(config, CUDA)
    assert asked == [dtype, dtype]


@pytest.mark.parametrize(
    ("encoder", "crf", "fails_with", "said"),
    [
        ("libx264", 18, None, ""),
        (
            "auto",
            18,
            av.ExternalError(-542398533, "no capable devices found"),
            "h264_nvenc does not open here (no capable",
        ),
        (
            "auto",
            18,
            av.FFmpegError(errno.ENOSYS, "Function not implemented"),
            "(this GPU has no NVENC, or not for such pictures, or its driver",
        ),
        ("auto", 0, None, "h264_nvenc may fail at crf 0; --encoder h264_nvenc tries it"),
    ],
)
def test_libx264_encodes_where_nvenc_does_not_or_is_not_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoder: EncoderName,
    crf: int,
    fails_with: av.FFmpegError | None,
    said: str,
) -> None:
    """And unless it was asked for by name a line says so."""

    def nvenc(*_: Any) -> Any:
        assert fails_with is not None, "not to be tried"
        raise fails_with

    monkeypatch.setattr(encoder_choice, "NvencBackend", nvenc)
    config, path, notes = EncodeConfig(encoder=encoder, crf=crf), tmp_path / "out.mp4", list[str]()
    backend = encoder_choice.open_backend(path, shape_of(64, 64), config, CUDA, notes, target=path)
    backend.abandon()
    assert isinstance(backend, X264Backend)
    about = [note for note in notes if "h264_nvenc" in note]
    assert len(about) == bool(said) and said in "".join(about)


@pytest.mark.parametrize(
    ("size", "on_gpu", "on_cpu"), [((720, 1280), 32, 16), ((1080, 1920), 16, 8), ((256, 256), 32, 16)]
)
def test_a_gpu_s_batches_are_twice_a_cpu_s(tmp_path: Path, size: tuple[int, int], on_gpu: int, on_cpu: int) -> None:
    """README's numbers, of `--wav2lip_batch_size`."""
    with open_video(write_clip(tmp_path / "a.mp4", n_frames=1, size=size), FrameConfig()) as video:
        assert video.batch_size(128) == on_cpu
        video.device = CUDA
        assert (video.batch_size(128), video.batch_size(5)) == (on_gpu, 5)


@pytest.mark.parametrize(("n_faces", "rows"), [(2, 8), (8, 8), (11, 16), (19, 20), (20, 20)])
def test_on_a_gpu_the_generator_is_given_few_numbers_of_faces(n_faces: int, rows: int) -> None:
    """Eights, or the whole batch: for each new one cuDNN plans its layers anew. What is made of the rest goes."""
    seen: list[tuple[int, int]] = []

    def generator(mel: Tensor, faces: Tensor, **_: Any) -> Tensor:
        seen.append((len(mel), len(faces)))
        return faces.new_zeros(len(faces), 3, 96, 96)

    boxes = torch.tensor([[20 + i, 20, 180 + i, 200] for i in range(20)])
    boxes[n_faces:] = 0
    facts = dict.fromkeys(("outfile", "device", "decoder", "encoder", "precision", "fps"), "")
    report = Report(**facts, width=320, height=240, batch_size=20)  # type: ignore[arg-type]
    heads = held_still(boxes, HeadsOnHost)
    with fake_cuda():
        frames = torch.zeros(20, 240, 320, 3, dtype=torch.uint8, device="cuda").permute(0, 3, 1, 2)
        mel = torch.zeros(20, 1, 80, 16, device="cuda")
        renderer = MouthRenderer(generator, BlendConfig(), report, Silent())
        assert renderer.render(frames, mel, heads).shape == frames.shape
    assert seen == [(rows, rows)] and report.n_generated == n_faces


@pytest.mark.parametrize(("n_rows", "most", "given"), [(16, 8, 16), (11, 8, 11), (11, 14, 14), (11, 32, 16), (8, 8, 8)])
def test_no_row_is_left_out_where_there_are_more_than_a_batch_has(n_rows: int, most: int, given: int) -> None:
    """As in fades over a moving head, which take two mouths a frame."""
    rows = torch.arange(float(n_rows))[:, None]
    last = rows[-1:].expand(given - n_rows, -1)
    assert torch.equal(_in_eights(rows, most=most), torch.cat((rows, last)))

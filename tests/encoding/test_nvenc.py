"""NVENC where there is none: what it would be given, which options, what is said."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.config import EncodeConfig, EncoderName, FrameConfig
from gpu_lipsync.encoding.encoder_choice import open_backend
from gpu_lipsync.encoding.encoders import X264Backend, pictures_of_planes
from gpu_lipsync.encoding.nvenc import SURFACES, NvencBackend
from gpu_lipsync.encoding.streams import StreamShape
from gpu_lipsync.encoding.writer import open_writer
from gpu_lipsync.errors import EncodeError, NvencLostError
from gpu_lipsync.ops.yuv import rgb_to_nv12, rgb_to_yuv420
from gpu_lipsync.video import open_video
from tests.clips import tone, write_sound
from tests.places import FACE
from tests.writing import pictures, shape_of


class PlanesOnTheHost(X264Backend):
    """A GPU's way into libx264: planes made by torch, taken as they lie."""

    def _pictures(self, frames: torch.Tensor) -> Iterator[object]:
        return pictures_of_planes(rgb_to_yuv420(frames).numpy())


@pytest.mark.parametrize("height", [72, 70])
def test_libx264_keeps_nothing_of_the_planes_it_is_lent(tmp_path: Path, height: int) -> None:
    """Their memory is another batch's by the time that it encodes them, which is dozens of frames later."""
    path, frames = tmp_path / "out.mp4", pictures(96, height, 102)
    backend = PlanesOnTheHost(path, shape_of(height, 102, n_frames=96), EncodeConfig(crf=8), torch.device("cuda"))
    for part in frames.split(4):
        backend.write(part)
    backend.finish()
    with open_video(path, FrameConfig(decoder="pyav")) as video:
        back = torch.cat([batch for _, batch in video.batches(range(96), 32)])
    assert (back.float() - frames.float()).abs().mean((1, 2, 3)).max() < 1.5  # crf 8, and chroma at half size


class NvencOnTheHost(NvencBackend):
    """NVENC's way, tensors handed over through DLPack, into an encoder that is here."""

    codec, pixel_format = "libx264", "nv12"

    def _options(self, crf: int) -> dict[str, str]:
        return {"crf": str(crf), "preset": "veryfast"}


def test_a_session_is_held_from_the_start_to_the_first_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else runs that begin together all find one of a consumer's card's few, and fail when they come to encode."""
    held: list[int] = []

    class Session:
        def __init__(self, context: object) -> None:
            self._context = context
            held.append(1)

        def __del__(self) -> None:
            held.pop()

    tried = NvencBackend._try
    monkeypatch.setattr(NvencBackend, "_try", lambda *arguments: Session(tried(*arguments)))
    shape, frames = shape_of(72, 102, n_frames=4), pictures(4, 72, 102)
    backend = NvencOnTheHost(tmp_path / "out.mp4", shape, EncodeConfig(), torch.device("cpu"))
    assert held
    at_the_first: list[bool] = []
    monkeypatch.setattr(backend, "_pictures", lambda _: iter([at_the_first.append(bool(held))][:0]))
    backend.write(frames)
    assert at_the_first == [False]
    backend.abandon()


@pytest.mark.parametrize("crf", [0, 18])
def test_what_nvenc_is_given_is_what_libx264_is_given(tmp_path: Path, crf: int) -> None:
    """The same pictures, tags, pixel aspect, sound and index, whichever encoder there is."""
    shape, frames = replace(shape_of(70, 102, n_frames=20), pixel_aspect=Fraction(4, 3)), pictures(20, 70, 102)
    config, seen = EncodeConfig(crf=crf), []
    with torch.inference_mode():
        for name in ("nvenc.mp4", "x264.mp4"):
            host = torch.device("cpu")
            path = tmp_path / name
            is_x264 = name == "x264.mp4"
            backend = X264Backend(path, shape, config, host) if is_x264 else NvencOnTheHost(path, shape, config, host)
            for part in frames.split(8):
                backend.write(part)
            backend.finish()
            with av.open(str(path)) as written:
                video, audio = written.streams.video[0], written.streams.audio[0]
                about = (video.codec_context.colorspace, video.codec_context.color_range, video.sample_aspect_ratio)
                about += (
                    video.frames,
                    video.average_rate,
                    audio.rate,
                    audio.duration,
                    b"moov" in path.read_bytes()[:64],
                )
                seen.append((np.stack([f.to_ndarray(format="yuv420p") for f in written.decode(video=0)]), about))
    assert seen[0][1] == seen[1][1]
    assert seen[0][1][2] == Fraction(4, 3) and seen[0][1][-1], "as asked for, and the index first"
    difference = np.abs(seen[0][0].astype(int) - seen[1][0])
    # The one is converted by torch, the other by swscale, and lossy encoding follows.
    assert difference.mean() < (0.3 if crf == 0 else 0.6) and difference.max() <= (3 if crf == 0 else 16)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device here: it may open")
def test_where_nvenc_does_not_open_libx264_takes_over_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg's NVENC itself, refused by this machine, which has no driver."""

    class Refused(NvencBackend):
        pixel_format = "nv12"

        def __init__(self, path: Path, shape: StreamShape, config: EncodeConfig, device: torch.device) -> None:
            assert device.type == "cuda"
            super().__init__(path, shape, config, torch.device("cpu"))

    monkeypatch.setattr("gpu_lipsync.encoding.encoder_choice.NvencBackend", Refused)
    cuda, notes, path = torch.device("cuda"), list[str](), tmp_path / "out.mp4"
    backend = open_backend(path, shape_of(64, 64), EncodeConfig(), cuda, notes, target=path)
    assert isinstance(backend, X264Backend) and len(notes) == 1
    assert notes[0].startswith("encoding with libx264: h264_nvenc does not open here (")
    backend.abandon()
    with pytest.raises(EncodeError, match="h264_nvenc does not open here .*; use --encoder libx264"):
        open_backend(path, shape_of(64, 64), EncodeConfig(encoder="h264_nvenc"), cuda, notes, target=path)


def test_where_nvenc_has_no_memory_libx264_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures' places are as large with smaller batches: to begin again with those would fail as often."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 348.00 MiB")

    monkeypatch.setattr(NvencBackend, "__init__", full)
    cuda, notes, path = torch.device("cuda"), list[str](), tmp_path / "out.mp4"
    backend = open_backend(path, shape_of(64, 64), EncodeConfig(), cuda, notes, target=path)
    assert isinstance(backend, X264Backend)
    assert notes == ["encoding with libx264: the device has no memory left for h264_nvenc"]
    backend.abandon()
    with pytest.raises(torch.OutOfMemoryError):
        open_backend(path, shape_of(64, 64), EncodeConfig(encoder="h264_nvenc"), cuda, notes, target=path)


def test_pictures_lie_in_places_that_stay_and_none_that_may_be_read_is_written(tmp_path: Path) -> None:
    """FFmpeg registers each address with the driver once, 64 of them, and NVENC holds as many as it has surfaces."""
    frames = pictures(90, 72, 102)
    backend = NvencOnTheHost(tmp_path / "out.mp4", shape_of(72, 102, n_frames=90), EncodeConfig(), torch.device("cpu"))
    places = backend._places
    expected = rgb_to_nv12(frames)
    seen: list[int] = []
    for part in frames.split([1, 16, 32, 3, 38]):
        for _ in backend._pictures(part):
            now = [*seen, len(seen)][-SURFACES:]
            for number in now if len(now) > 1 else []:  # all that the encoder may still read
                assert torch.equal(places[(number + 2) % len(places), :, :102], expected[number])
            seen.append(len(seen))
    assert len(seen) == 90 and backend._places.data_ptr() == places.data_ptr() and len(places) <= 64
    backend.abandon()


def test_a_failure_on_the_way_is_nvenc_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, target = shape_of(72, 102, n_frames=20), tmp_path / "out.mp4"
    backend = NvencOnTheHost(target, shape, EncodeConfig(), torch.device("cpu"))
    monkeypatch.setattr(backend, "_video", Failing(backend._video, after=5))
    with pytest.raises(NvencLostError, match="libx264 failed after 5 frames .Generic error.*; use --encoder libx264"):
        backend.write(pictures(20, 72, 102))
    backend.abandon()


class Failing:
    """A stream whose encoder gives up."""

    def __init__(self, stream: Any, *, after: int) -> None:
        self._stream, self._left = stream, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def encode(self, picture: Any) -> Any:
        if not self._left:
            raise av.ExternalError(-542398533, "Generic error in an external library")
        self._left -= 1
        return self._stream.encode(picture)


@pytest.mark.parametrize("asked_for", ["auto", "h264_nvenc"])
def test_a_run_whose_nvenc_fails_begins_again_with_libx264(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for: EncoderName
) -> None:
    """Unless it was asked for by name; nothing is left behind then."""
    speech, out = write_sound(tmp_path / "a.wav", tone(2.0)), tmp_path / "out" / "out.mp4"
    given: dict[str, Any] = {"checkpoint_path": checkpoint, "face": FACE, "audio": speech, "box": (50, 250, 50, 250)}
    given |= {"device": "cpu", "resize_factor": 2}  # which makes frames RGB
    config = LipSyncConfig(**given, outfile=out, encoder=asked_for)

    def opened(path: Path, shape: StreamShape, encode: EncodeConfig, device: torch.device, *_: Any, **__: Any) -> Any:
        if encode.encoder == "libx264":
            return X264Backend(path, shape, encode, device)
        backend = NvencOnTheHost(path, shape, encode, device)
        monkeypatch.setattr(backend, "_video", Failing(backend._video, after=20))
        return backend

    monkeypatch.setattr("gpu_lipsync.encoding.writer.open_backend", opened)
    if asked_for == "h264_nvenc":
        with pytest.raises(NvencLostError):
            run(config)
        assert not out.parent.exists()
        return
    report = run(config)
    with av.open(str(out)) as written:
        assert written.streams.video[0].frames == report.n_frames > 40
    assert report.encoder.startswith("libx264 veryfast")
    assert any("failed after 20 frames" in note and "again with libx264" in note for note in report.notes)


def test_lossless_is_libx264_s_unless_nvenc_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's NVENC is reported to crash at the finest quantisers."""
    opened: list[int] = []

    def nvenc(path: Path, shape: StreamShape, config: EncodeConfig, device: torch.device) -> X264Backend:
        opened.append(config.crf)
        return X264Backend(path, shape, config, device)

    monkeypatch.setattr("gpu_lipsync.encoding.encoder_choice.NvencBackend", nvenc)
    path, cuda = tmp_path / "out.mp4", torch.device("cuda")
    for config in (EncodeConfig(crf=0), EncodeConfig(crf=1), EncodeConfig(crf=0, encoder="h264_nvenc")):
        open_backend(path, shape_of(64, 64), config, cuda, [], target=path).abandon()
    assert opened == [1, 0]


def test_nvenc_without_cuda_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="h264_nvenc needs a CUDA device"):
        open_writer(tmp_path / "out.mp4", shape_of(64, 64), EncodeConfig(encoder="h264_nvenc"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("crf", [0, 18])
def test_nvenc_knows_the_options_it_is_given(crf: int) -> None:
    """As FFmpeg describes its encoder, driver or not."""
    options = av.CodecContext.create("h264_nvenc", "w").supported_options
    choices = {
        option.name: [choice.name for choice in option.choices] for option in (*options.generic, *options.private)
    }
    given = NvencBackend._options(NvencBackend.__new__(NvencBackend), crf)
    assert all(value in choices[name] or not choices[name] for name, value in given.items())
    assert given["surfaces"] == str(SURFACES), "or NVENC may hold more pictures than there are places for"
    assert NvencBackend.pixel_format in [form.name for form in av.codec.Codec("h264_nvenc", "w").video_formats or []]

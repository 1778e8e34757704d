"""Decoders that have a GPU to decode on are believed once they show what FFmpeg shows: stand-ins, on the CPU."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync.config import DecoderName
from gpu_lipsync.decoding import decoder_choice
from gpu_lipsync.decoding.decoders import Decoder, DecoderUnavailableError, require_same_picture
from gpu_lipsync.decoding.frame_layout import RGB
from gpu_lipsync.decoding.pyav_decoder import PyavDecoder
from gpu_lipsync.errors import ConfigError, LipSyncError, MediaError, ResourceError
from gpu_lipsync.media.video_info import VideoInfo, probe_video
from tests.clips import write_clip
from tests.places import FACE


class StandIn:
    """Frames of PyAV, changed."""

    name = "stand-in on cuda"
    layout = RGB

    def __init__(self, info: VideoInfo, change: Callable[[Tensor], Tensor]) -> None:
        self._frames, self._change, self.n_given = PyavDecoder(info), change, 0

    def batches(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        for frames in self._frames.batches(start, stop, size):
            self.n_given += len(frames)
            yield self._change(frames)


def other_matrix(frames: Tensor) -> Tensor:
    """RGB of BT.709 made by BT.601's matrix: ITU-R BT.709 from RGB, BT.601 back."""
    kr, kb = 0.2126, 0.0722
    red, green, blue = frames.float().unbind(1)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    kr, kb = 0.299, 0.114
    red, blue = luma + 2 * (1 - kr) * cr, luma + 2 * (1 - kb) * cb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return torch.stack((red, green, blue), 1).round().clamp(0, 255).to(torch.uint8)


FAITHFUL: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda frames: frames,
    "rounded otherwise": lambda frames: frames.clamp(max=253) + 2,
    "noisy": lambda frames: frames.clamp(4, 251) + (torch.arange(frames.shape[3]) % 2 * 8 - 4).to(torch.uint8),
}
UNFAITHFUL: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "turned": (lambda frames: frames.rot90(1, (2, 3)), "other colours|gives frames of"),
    "cut": (lambda frames: frames[:, :, 8:], r"gives frames of \(3, 504, 512\), not \(3, 512, 512\)"),
    "BGR": (lambda frames: frames.flip(1), "other colours"),
    "of another matrix": (other_matrix, "other colours than FFmpeg, by [5-9]|other colours than FFmpeg, by 1[0-9]"),
    "of another range": (lambda f: (f.float() * 219 / 255 + 16).to(torch.uint8), "other colours"),
    "another frame's": (lambda frames: torch.zeros_like(frames), "other colours"),
}


@pytest.mark.parametrize("change", FAITHFUL)
def test_ways_of_rounding_pass(change: str) -> None:
    info = probe_video(FACE)
    require_same_picture(StandIn(info, FAITHFUL[change]), info)


@pytest.mark.parametrize("change", ["turned", "BGR", "of another matrix"])
def test_nor_one_that_begins_black(tmp_path: Path, change: str) -> None:
    """The first pictures of a clip that fades in tell nothing: those within its first second do."""
    face = next(PyavDecoder(probe_video(FACE)).batches(0, 1, 1))[0].permute(1, 2, 0).numpy()
    path = write_clip(
        tmp_path / "a.mp4",
        n_frames=30,
        size=(512, 512),
        picture=lambda i, *_: (face * (i / 30)).astype(np.uint8) if i > 5 else np.zeros_like(face),
        options={"x264-params": "colormatrix=bt709"},
    )
    info = probe_video(path)
    require_same_picture(StandIn(info, FAITHFUL["as it is"]), info)
    with pytest.raises(DecoderUnavailableError, match="other colours than FFmpeg"):
        require_same_picture(StandIn(info, UNFAITHFUL[change][0]), info)


def test_one_that_stays_black_is_taken(tmp_path: Path) -> None:
    """And no more than a second of it is looked at, here of a clip of one and one of sixty frames."""
    for n_frames in (1, 60):
        dark = write_clip(
            tmp_path / "a.mp4", n_frames=n_frames, picture=lambda _, *size: np.zeros((*size, 3), np.uint8)
        )
        info = probe_video(dark)
        stand_in = StandIn(info, FAITHFUL["as it is"])
        require_same_picture(stand_in, info)
        assert stand_in.n_given == min(n_frames, 25)


@pytest.mark.parametrize("change", UNFAITHFUL)
def test_another_picture_does_not(change: str) -> None:
    info = probe_video(FACE)
    fault, message = UNFAITHFUL[change]
    with pytest.raises(DecoderUnavailableError, match=f"stand-in on cuda .*({message})"):
        require_same_picture(StandIn(info, fault), info)


def chosen(
    wanted: DecoderName, monkeypatch: pytest.MonkeyPatch, **makers: Callable[..., Decoder]
) -> tuple[str, list[str]]:
    """Which decoder is taken for a CUDA device, and what is said about it."""
    for name, maker in makers.items():
        monkeypatch.setattr(decoder_choice, name, maker)
    notes: list[str] = []
    info = probe_video(FACE)
    decoder = decoder_choice.choose_decoder(info, wanted, torch.device("cuda"), notes)
    return decoder.name, notes


def missing(info: VideoInfo, *, device: torch.device, **_: object) -> Decoder:
    raise DecoderUnavailableError(f"nothing for {device.type}")


def test_decord_s_own_gpu_build_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def decord(info: VideoInfo, *, device: torch.device, **_: object) -> Decoder:
        assert device.type == "cuda"
        return StandIn(info, FAITHFUL["as it is"])

    assert chosen("auto", monkeypatch, DecordDecoder=decord) == ("stand-in on cuda", [])


def test_then_pyav_s_nvdec(monkeypatch: pytest.MonkeyPatch) -> None:
    def nvdec(info: VideoInfo, device: torch.device, tell: object) -> Decoder:
        assert device.type == "cuda"
        return StandIn(info, FAITHFUL["as it is"])

    name, notes = chosen("auto", monkeypatch, DecordDecoder=missing, NvdecDecoder=nvdec)
    assert name == "stand-in on cuda" and notes == ["decoding with stand-in on cuda: nothing for cuda"]
    assert chosen("pyav", monkeypatch, NvdecDecoder=nvdec) == ("stand-in on cuda", [])


def test_that_the_wheel_of_decord_has_no_gpu_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    def nvdec(info: VideoInfo, device: torch.device, tell: object) -> Decoder:
        return StandIn(info, FAITHFUL["as it is"])

    assert chosen("auto", monkeypatch, NvdecDecoder=nvdec) == ("stand-in on cuda", [])


def test_then_torchcodec_if_it_decodes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def torchcodec(info: VideoInfo, *, device: torch.device, on_host: bool = True) -> Decoder:
        asked.append(on_host)
        return StandIn(info, FAITHFUL["rounded otherwise"])

    def no_nvdec(info: VideoInfo, device: torch.device, tell: object) -> Decoder:
        raise DecoderUnavailableError("no NVDEC")

    name, notes = chosen(
        "auto", monkeypatch, DecordDecoder=missing, NvdecDecoder=no_nvdec, TorchcodecDecoder=torchcodec
    )
    assert name == "stand-in on cuda"
    assert notes == ["decoding with stand-in on cuda: nothing for cuda; no NVDEC"]
    assert asked == [False], "what would be decoded on the CPU, decord decodes there"
    assert chosen("torchcodec", monkeypatch, TorchcodecDecoder=torchcodec)[0] == "stand-in on cuda"
    assert asked == [False, True]


def test_one_that_shows_other_colours_is_passed_over_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = decoder_choice.DecordDecoder

    def decord(info: VideoInfo, *, device: torch.device, **how: object) -> Decoder:
        if device.type == "cpu":
            return real(info, device=device, **how)  # type: ignore[arg-type]
        return StandIn(info, other_matrix)

    def nvdec(info: VideoInfo, device: torch.device, tell: object) -> Decoder:
        return StandIn(info, UNFAITHFUL["BGR"][0])

    name, notes = chosen("auto", monkeypatch, DecordDecoder=decord, NvdecDecoder=nvdec, TorchcodecDecoder=missing)
    assert name.startswith("decord") and name.endswith("on cpu")
    assert len(notes) == 1 and "stand-in on cuda shows other colours" in notes[0] and "nothing for cuda" in notes[0]


class Failing(StandIn):
    """Stops at a frame."""

    def __init__(self, info: VideoInfo, frame: int, error: Exception) -> None:
        super().__init__(info, FAITHFUL["as it is"])
        self._at, self._error = frame, error

    def batches(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        done = start
        for frames in super().batches(start, stop, size):
            if done + len(frames) > self._at:
                raise self._error
            yield frames
            done += len(frames)


@pytest.mark.parametrize("error", [MediaError("a"), ResourceError("b"), torch.OutOfMemoryError("c")])
def test_one_that_shows_nothing_is_passed_over(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """What NVDEC refuses decord and torchcodec find out as they decode; a full card says so then."""

    def decord(info: VideoInfo, *, device: torch.device, **_: object) -> Decoder:
        return Failing(info, 0, error)

    def nvdec(info: VideoInfo, device: torch.device, tell: object) -> Decoder:
        return StandIn(info, FAITHFUL["as it is"])

    name, notes = chosen("auto", monkeypatch, DecordDecoder=decord, NvdecDecoder=nvdec)
    assert notes == [f"decoding with {name}: stand-in on cuda: {error}"]


def test_what_fails_in_the_reference_is_no_fault_of_the_decoder_s(monkeypatch: pytest.MonkeyPatch) -> None:
    info = probe_video(FACE)
    stand_in, error = StandIn(info, FAITHFUL["as it is"]), MediaError("unreadable")
    monkeypatch.setattr("gpu_lipsync.decoding.decoders.PyavDecoder", lambda info: Failing(info, 0, error))
    with pytest.raises(LipSyncError, match="unreadable"):
        require_same_picture(stand_in, info)


@pytest.mark.parametrize("kind", ["DecordDecoder", "TorchcodecDecoder"])
def test_where_one_on_the_device_stops_at_damage_pyav_goes_on(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """As it does for decord on a CPU. Nothing is lost or shown twice; asked for by name it is an error."""
    info, notes = probe_video(FACE), list[str]()

    def unavailable(*_: object, **__: object) -> Decoder:
        raise DecoderUnavailableError("not there")

    for name in ("DecordDecoder", "NvdecDecoder", "TorchcodecDecoder"):
        monkeypatch.setattr(decoder_choice, name, unavailable)
    monkeypatch.setattr(decoder_choice, kind, lambda info, **_: Failing(info, 7, MediaError("damaged")))
    decoder = decoder_choice.choose_decoder(info, "auto", torch.device("cuda"), notes)
    told = len(notes)
    frames = torch.cat(list(decoder.batches(0, 12, 4)))
    assert torch.equal(frames, torch.cat(list(PyavDecoder(info).batches(0, 12, 4))))
    assert notes[told:] == ["face.mp4 is damaged: PyAV goes on where stand-in stopped"]
    monkeypatch.setattr(decoder, "_decoder", Failing(info, 0, MediaError("frames of another size than it says")))
    assert torch.equal(torch.cat(list(decoder.batches(0, 12, 4))), frames)
    assert notes[told + 1 :] == ["PyAV decodes what stand-in cannot"], "nothing is said to be damaged"
    by_name: DecoderName = "decord" if kind == "DecordDecoder" else "torchcodec"
    with pytest.raises(MediaError, match="damaged"):
        list(decoder_choice.choose_decoder(info, by_name, torch.device("cuda"), notes).batches(0, 12, 4))


def test_asked_for_by_name_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def torchcodec(info: VideoInfo, *, device: torch.device, on_host: bool = True) -> Decoder:
        return StandIn(info, UNFAITHFUL["turned"][0])

    with pytest.raises(ConfigError, match="--decoder torchcodec cannot read .*; use --decoder auto"):
        chosen("torchcodec", monkeypatch, TorchcodecDecoder=torchcodec)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avif"])
def test_decord_is_not_asked_for_av1(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Of which it knows nothing, and prints an error to stderr, where --quiet has promised silence."""
    path = write_clip(tmp_path / name, n_frames=3 if name != "a.avif" else 1, codec="libsvtav1")
    notes: list[str] = []
    decoder = decoder_choice.choose_decoder(probe_video(path), "auto", torch.device("cpu"), notes)
    assert notes == [f"decoding with {decoder.name}: decord has no decoder of AV1"]
    assert "decord" not in capfd.readouterr().err


@pytest.mark.parametrize("where", ["opening", "reading", "reading without memory"])
def test_what_decord_says_is_told_without_its_time_and_place(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are others in each run, and nothing to a user."""
    import decord

    said = "out of memory" if "memory" in where else "Check failed: st_nb >= 0"

    def failing(*_: object, **__: object) -> None:
        raise decord.DECORDError(f"[02:23:27] /github/workspace/src/video/video_reader.cc:151: {said}\nStack trace:")

    info = probe_video(FACE)
    notes: list[str] = []
    if where == "opening":
        monkeypatch.setattr(decord, "VideoReader", failing)
        decoder_choice.choose_decoder(info, "auto", torch.device("cpu"), notes)
        assert notes[0].endswith(f"decord on cpu: {said}")
        return
    monkeypatch.setattr(decord.VideoReader, "get_batch", failing)
    decoder = decoder_choice.choose_decoder(info, "decord", torch.device("cpu"), notes)
    kind, text = (torch.OutOfMemoryError, said) if "memory" in where else (MediaError, f"frame 0 on ({said});")
    with pytest.raises(kind) as raised:
        next(decoder.batches(0, 1, 1))
    assert text in str(raised.value) and "workspace" not in str(raised.value)


def test_on_this_machine_auto_says_why_no_gpu_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel of decord and torchcodec themselves, which have no GPU here."""
    if torch.cuda.is_available():
        pytest.skip("a CUDA device here")
    name, notes = chosen("auto", monkeypatch)
    assert name.startswith("decord") and len(notes) == 1
    assert all(name in notes[0] for name in ("decord on cuda", "NVDEC through PyAV on cuda", "torchcodec"))

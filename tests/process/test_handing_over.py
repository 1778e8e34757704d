"""The host waits until pictures have been copied before it hands them to an encoder, or lets go of a decoder's: seen by
stand-ins for CUDA, which is not here.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import av
import pytest
import torch

from gpu_lipsync.decoding import decord_decoder, nvdec
from gpu_lipsync.encoding import encoders, nvenc
from gpu_lipsync.media.video_info import probe_video
from tests.places import FACE
from tests.process.test_transfers import CUDA, Frames, Log, log

__all__ = ["log"]  # the fixture


class Memory:
    """Stands for a tensor of the device or pinned on the host; says what is done with it."""

    is_cuda, device, shape = True, CUDA, (2, 96, 64)

    def __init__(self, seen: Log, name: str) -> None:
        self._seen, self._name = seen, name

    def copy_(self, source: object, *, non_blocking: bool = False) -> "Memory":
        self._seen.append(f"{self._name} is copied to{', not waited for' if non_blocking else ''}")
        return self

    def numpy(self) -> "Memory":
        return self

    def clone(self) -> "Memory":
        self._seen.append(f"{self._name} is copied")
        return self

    def flatten(self, _: int) -> "Memory":
        return self

    def permute(self, *_: int) -> "Memory":
        return self

    def __getitem__(self, _: object) -> "Memory":
        return self


def test_libx264_is_handed_what_has_come_to_the_host(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(encoders, "rgb_to_yuv420", lambda _: Memory(log, "planes"))
    monkeypatch.setattr(torch, "empty", lambda *_, **__: Memory(log, "the host's memory"))
    monkeypatch.setattr(encoders, "pictures_of_planes", lambda _: log.append("handed over"))
    encoders._pictures_of_device(Frames(log))  # type: ignore[arg-type]
    assert log == ["the host's memory is copied to, not waited for", "the host waits for default", "handed over"]


def test_nvenc_is_handed_what_is_complete(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    class Places:
        def __len__(self) -> int:
            return nvenc.SURFACES + nvenc.AT_A_TIME

        def __getitem__(self, part: slice) -> Any:
            n = part.stop - part.start
            return SimpleNamespace(is_cuda=True, device=CUDA, unbind=lambda: torch.zeros(n, 96, 64).unbind())

    backend = nvenc.NvencBackend.__new__(nvenc.NvencBackend)
    backend._places, backend._next_place, backend._memory = Places(), 0, None  # type: ignore[assignment]
    monkeypatch.setattr(nvenc, "rgb_to_nv12", lambda frames, out: log.append(f"{len(frames)} converted"))
    monkeypatch.setattr(av.VideoFrame, "from_dlpack", lambda *_, **__: log.append("handed over"), raising=False)
    n = nvenc.AT_A_TIME
    for _ in backend._pictures(torch.zeros(n + 1, 3, 64, 64)):
        pass
    several = [f"{n} converted", "the host waits for default", *["handed over"] * n]
    assert log == [*several, "1 converted", "the host waits for default", "handed over"]


def test_nvdec_s_picture_is_let_go_once_it_is_copied(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    decoder = nvdec.NvdecDecoder.__new__(nvdec.NvdecDecoder)
    decoder._device, decoder._coded_width, decoder._coded_height = CUDA, 64, 64
    monkeypatch.setattr(torch, "empty", lambda *_, **__: Memory(log, "the copy"))
    monkeypatch.setattr(nvdec, "from_dlpack", lambda _: Memory(log, "the picture"))
    plane = SimpleNamespace(__dlpack__=lambda: None)
    decoder._kept(
        SimpleNamespace(
            sw_format=SimpleNamespace(name="nv12"),
            width=64,
            height=64,
            planes=(plane, plane),
            colorspace=1,
            color_range=1,
        )
    )
    copied = ["the copy is copied to"] * 2
    assert log == ["default waits for all of default", *copied, "the host waits for default"]


def test_decord_s_pictures_are_copied_when_they_are_there(
    log: Log,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It fills them on the default stream, and its memory is its own to use again."""
    decoder = decord_decoder.DecordDecoder(probe_video(FACE), device=torch.device("cpu"))
    monkeypatch.setattr(decord_decoder, "from_dlpack", lambda _: Memory(log, "decord's batch"))
    monkeypatch.setattr(decord_decoder, "brighten", lambda frames, _: frames)
    frames: Iterator[Any] = decoder.batches(0, 4, 4)
    next(frames)
    assert log == ["default waits for all of default", "decord's batch is copied"]

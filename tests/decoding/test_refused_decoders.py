"""Decoders that are passed over: whatever is wrong with their libraries, and without a trace."""

import gc
import os
import sys
import weakref
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

import pytest
import torch

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding import decoder_choice
from gpu_lipsync.decoding.decoder_choice import choose_decoder
from gpu_lipsync.decoding.decoders import DecoderUnavailableError
from gpu_lipsync.decoding.pyav_decoder import PyavDecoder
from gpu_lipsync.errors import ConfigError
from gpu_lipsync.media.video_info import probe_video
from gpu_lipsync.video import open_video
from tests.places import FACE


class Broken(MetaPathFinder):
    """Makes the import of decord fail, as its own search for libraries does."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "decord":
            raise self._error


@pytest.mark.parametrize(
    "error",
    [
        OSError("libnvcuvid.so.1: cannot open shared object file"),
        RuntimeError("Cannot find the files"),
        KeyError("PATH"),
    ],
)
def test_a_decord_whose_libraries_are_not_there_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "decord"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(error), *sys.meta_path])
    with pytest.raises(ConfigError, match=r"decord cannot be loaded .*--decoder auto"):
        open_video(FACE, FrameConfig(decoder="decord"))
    with open_video(FACE, FrameConfig(crop=(0, 100, 0, 100))) as video:  # which decord is asked for first
        assert video.decoder.startswith("PyAV") and "decord cannot be loaded" in " ".join(video.notes)


def test_a_torchcodec_without_ffmpeg_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is imported without, and lists all that it has tried when it is first used."""

    def reader(*_: object, **__: object) -> None:
        raise RuntimeError("Could not load libtorchcodec. Likely causes:\n 1. FFmpeg is not properly installed")

    decoders = ModuleType("torchcodec.decoders")
    decoders.VideoDecoder = reader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    with pytest.raises(ConfigError, match=r"torchcodec .*the system's FFmpeg libraries are not found"):
        open_video(FACE, FrameConfig(decoder="torchcodec"))


def test_without_a_path_in_the_environment_decord_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    with open_video(FACE, FrameConfig(decoder="decord")) as video:
        assert video.decoder.startswith("decord")
    assert os.environ["PATH"]


def test_what_is_said_of_a_refused_decoder_holds_no_other_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a service that goes on: a decoder's frames and threads go when the run ends, not when the collector comes."""

    def refused(*_: Any) -> Any:
        raise DecoderUnavailableError("not on this host") from OSError("no library")

    of = decoder_choice._Candidate
    candidates = [of("decord", refused), of("pyav", lambda: PyavDecoder(info))]
    monkeypatch.setattr(decoder_choice, "_candidates", lambda *_, **__: candidates)
    info, notes = probe_video(FACE), list[str]()
    gc.collect()
    gc.disable()
    try:
        decoder = weakref.ref(choose_decoder(info, "auto", torch.device("cpu"), notes))
        assert decoder() is None
    finally:
        gc.enable()
    assert notes == [f"decoding with {PyavDecoder(info).name}: not on this host"]


def test_frames_of_a_damaged_clip_go_on_without_the_decoder_that_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is told, and let go of, before the other begins: it holds the decoder's memory."""
    info, told = probe_video(FACE), list[str]()
    handled: list[BaseException | None] = []

    class Watched(PyavDecoder):
        def batches(self, start: int, stop: int, size: int) -> Any:
            handled.append(sys.exc_info()[1])  # what the generator that runs this one is handling
            yield from super().batches(start, stop, size)

    class Stops:
        name, layout = "decord on cpu", PyavDecoder.layout

        def batches(self, start: int, stop: int, size: int) -> Any:
            from gpu_lipsync.errors import MediaError

            yield from PyavDecoder(info).batches(start, 4, size)
            raise MediaError("damage")

    monkeypatch.setattr("gpu_lipsync.decoding.decoders.PyavDecoder", Watched)
    rescued = decoder_choice.Rescued(Stops(), info, told.append)
    assert sum(len(frames) for frames in rescued.batches(0, 12, 4)) == 12
    assert handled == [None] and told == ["face.mp4 is damaged: PyAV goes on where decord stopped"]

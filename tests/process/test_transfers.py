"""What goes to a GPU and comes back, and who waits for whom: seen by stand-ins for CUDA, which is not here."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync.audio import mel_windows
from gpu_lipsync.config import EncodeConfig
from gpu_lipsync.encoding import writer as encode
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.ops import upload
from gpu_lipsync.process.device import HostCopy, on_default_stream, side_stream, staged, taken_over
from gpu_lipsync.tracking import detection
from gpu_lipsync.tracking.face_tracker import FaceTracker
from tests.writing import shape_of

CUDA = torch.device("cuda", 0)
Log = list[str]


class Stream:
    def __init__(self, name: str, log: Log) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: "Stream") -> None:
        self.log.append(f"{self.name} waits for all of {other.name}")

    def wait_event(self, event: str) -> None:
        self.log.append(f"{self.name} waits for {event}")

    def record_event(self) -> str:
        self.log.append(f"event on {self.name}")
        return f"the event on {self.name}"

    def synchronize(self) -> None:
        self.log.append(f"the host waits for {self.name}")


class Frames:
    """Stands for a tensor on the device."""

    is_cuda, device, ndim = True, CUDA, 4

    def __init__(self, log: Log) -> None:
        self.log = log

    def split(self, _: int) -> list["Frames"]:
        return [self]

    def record_stream(self, stream: Stream) -> None:
        self.log.append(f"kept for {stream.name}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """What happens on streams, in order; `torch.cuda` as far as it is used."""
    seen: Log = []
    default, current = Stream("default", seen), [Stream("default", seen)]

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        current.append(stream)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: Stream("side", seen))
    monkeypatch.setattr(torch.cuda, "default_stream", lambda _device: default)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: current[-1])
    monkeypatch.setattr(torch.cuda, "stream", on)
    # Of real streams, and later none of these.
    monkeypatch.setattr("gpu_lipsync.process.device._idle_streams", defaultdict(list))
    return seen


def test_uploads_are_pinned_and_asynchronous(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    class Host:
        device = torch.device("cpu")

        def to(self, device: object, *, non_blocking: bool) -> str:
            calls.append((torch.device(device).type, non_blocking))  # type: ignore[call-overload]
            return "on the device"

    class Pinned(Host):
        def copy_(self, host: object) -> "Pinned":
            calls.append(("copied from", type(host)))
            return self

    def empty_like(_: object, *, pin_memory: bool) -> Pinned:
        calls.append(f"{pin_memory=}")
        return Pinned()

    monkeypatch.setattr(torch, "empty_like", empty_like)
    assert upload(Host(), "cuda") == "on the device"  # type: ignore[arg-type, comparison-overlap]
    assert calls == ["pin_memory=True", ("copied from", Host), ("cuda", True)]
    assert upload(Host(), "cpu") == "on the device"  # type: ignore[arg-type, comparison-overlap]
    assert calls[3:] == [("cpu", True)]


def test_no_more_is_pinned_than_what_is_uploaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch's windows of sound, which lie across all of the sound, and of frames, whose layout is to stay."""
    windows = mel_windows(torch.randn(16000 * 20, generator=torch.Generator().manual_seed(0)), 25)[100:116]
    frames = torch.arange(2 * 30 * 40 * 3).to(torch.uint8).view(2, 30, 40, 3).permute(0, 3, 1, 2)
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda host, *, pin_memory: empty_like(host))
    monkeypatch.setattr(torch.Tensor, "to", lambda pinned, *_, **__: pinned)
    for host in (windows, frames):
        pinned = upload(host, "cuda")
        assert pinned.untyped_storage().nbytes() == host.nbytes and torch.equal(pinned, host)
    assert pinned.stride() == frames.stride() and not windows.is_contiguous()


def test_decoded_batches_wait_for_the_weights_and_are_waited_for_by_the_network(log: Log) -> None:
    def decode() -> Iterator[tuple[range, Any]]:
        for i in range(2):
            log.append(f"batch {i} decoded")
            yield range(i, i + 1), Frames(log)

    for frames, _ in taken_over(staged(decode(), CUDA)):
        log.append(f"batch {frames.start} used")
    assert log == [
        "side waits for all of default",
        "batch 0 decoded",
        "event on side",
        "default waits for the event on side",
        "kept for default",
        "batch 0 used",
        "batch 1 decoded",
        "event on side",
        "default waits for the event on side",
        "kept for default",
        "batch 1 used",
    ]


def test_streams_are_taken_up_again_by_the_next_run_and_shared_by_nobody(log: Log) -> None:
    """For each that it has seen cuBLAS holds 32 MiB: new ones would make every run cost memory for good."""
    with side_stream(CUDA) as first, side_stream(CUDA) as second:
        assert first is not second
    for _ in range(3):
        with side_stream(CUDA) as one, side_stream(CUDA) as other:
            assert {id(one), id(other)} == {id(first), id(second)}
    with pytest.raises(RuntimeError), side_stream(CUDA):
        raise RuntimeError("a run that fails")
    assert log == []
    with side_stream(CUDA) as one, side_stream(torch.device("cuda")) as other:  # the current one: 0
        assert {id(one), id(other)} == {id(first), id(second)}
    with side_stream(torch.device("cuda", 1)) as elsewhere:  # a stream is one GPU's, and takes no work of another
        assert elsewhere not in (first, second)


def test_a_run_works_on_the_default_stream_whatever_its_caller_s(log: Log) -> None:
    """Those of its threads wait for that one alone."""
    caller_s: Any = Stream("the caller's", log)

    def current() -> str:
        stream: Any = torch.cuda.current_stream(CUDA)
        return stream.name

    with torch.cuda.stream(caller_s):
        with on_default_stream(CUDA):
            assert current() == "default"
        with on_default_stream(torch.device("cpu")):
            assert current() == "the caller's"


def test_encoding_waits_for_its_batch_and_for_nothing_after_it(
    log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    class Backend:
        name = "stand-in"

        def write(self, frames: Frames) -> None:
            stream: Any = torch.cuda.current_stream(CUDA)
            log.append(f"encoded on {stream.name}")

        def finish(self) -> None:
            return

        abandon = finish

    monkeypatch.setattr(encode, "open_backend", lambda *_, **__: Backend())
    monkeypatch.setattr(encode, "even_sided", lambda frames: frames)

    def prepare(_: torch.device) -> None:
        stream: Any = torch.cuda.current_stream(CUDA)
        log.append(f"constants on {stream.name}")

    monkeypatch.setattr(encode, "prepare_yuv", prepare)
    with encode.open_writer(tmp_path / "out.mp4", shape_of(64, 64), EncodeConfig(), device=CUDA) as out:
        out.write(Frames(log))  # type: ignore[arg-type]
        out.finish()
    # Another run's encoding may take the constants over, and waits for this run's default stream alone.
    assert log.pop(0) == "constants on default"
    assert log == ["event on default", "side waits for the event on default", "kept for side", "encoded on side"]


def test_detections_come_back_through_pinned_memory_and_are_waited_for_when_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: Log = []

    class Event:
        def record(self, stream: object) -> None:
            calls.append(f"recorded on {stream}")

        def query(self) -> bool:
            return False

        def synchronize(self) -> None:
            calls.append("waited")

    class OnHost:
        def copy_(self, values: object, *, non_blocking: bool) -> None:
            calls.append(f"copied {non_blocking=}")

    def empty(shape: object, *, dtype: object, pin_memory: bool) -> OnHost:
        calls.append(f"{pin_memory=}")
        return OnHost()

    class Candidates:
        is_cuda, shape, dtype, device = True, (4, 50, 15), torch.float32, CUDA

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: "the current stream")
    monkeypatch.setattr(detection.torch, "empty", empty)
    copy = HostCopy(Candidates())  # type: ignore[arg-type]
    assert not copy.is_there()
    assert calls == ["pin_memory=True", "copied non_blocking=True", "recorded on the current stream"]
    assert isinstance(copy.wait(), OnHost) and calls[3:] == ["waited"]


def test_a_detection_batch_comes_back_in_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        """The same face everywhere."""

        long_side_px = 640

        def candidates(self, frames: Tensor, *, long_side_px: int | None = None) -> Tensor:
            face = torch.tensor([20.0, 10, 60, 60, 0.9, *np.linspace(20, 60, 10)])
            return face.expand(len(frames), 3, 15).clone()

    copies: list[int] = []

    class Counted(HostCopy):
        def __init__(self, values: Tensor) -> None:
            copies.append(values.numel())
            super().__init__(values)

    monkeypatch.setattr(detection, "HostCopy", Counted)
    tracker = FaceTracker(Found(), FaceConfig(det_stride=5, det_batch_size=4), fps=25.0)
    for _ in range(6):
        tracker.push(torch.full((16, 3, 90, 90), 100, dtype=torch.uint8))
    tracker.finish()
    assert tracker.n_ready == 96 and tracker.frames_without_face == 0
    # Frames 0, 5, ... 95 in batches of four; the candidates and what is known of scene changes travel together.
    assert len(copies) == 5 and sum(copies) == 20 * 3 * 15 + 96

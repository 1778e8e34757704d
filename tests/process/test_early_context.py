"""The CUDA driver's head start: what is asked of it, and that its absence is nobody's business."""

import ctypes
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gpu_lipsync.process.early_context import begin_context


class Driver:
    """libcuda's three functions, and what they were asked."""

    def __init__(self, n_devices: int) -> None:
        self.calls: list[tuple[str, int]] = []
        self._n_devices = n_devices

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's names
        self.calls.append(("init", flags))
        return 0 if self._n_devices else 100  # CUDA_ERROR_NO_DEVICE

    def cuDeviceGet(self, handle: Any, index: int) -> int:  # noqa: N802
        self.calls.append(("get", index))
        handle._obj.value = 7 + index
        return 0 if index < self._n_devices else 101  # CUDA_ERROR_INVALID_DEVICE

    def cuDevicePrimaryCtxRetain(self, _context: Any, handle: Any) -> int:  # noqa: N802
        self.calls.append(("retain", handle.value))
        return 0


@pytest.fixture
def cuda_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_lipsync.process.early_context._pytorch_has_cuda", lambda: True)


@pytest.mark.usefixtures("cuda_build")
@pytest.mark.parametrize(
    ("device", "n_devices", "calls"),
    [
        ("auto", 1, [("init", 0), ("get", 0), ("retain", 7)]),
        ("cuda", 2, [("init", 0), ("get", 0), ("retain", 7)]),
        ("cuda:1", 2, [("init", 0), ("get", 1), ("retain", 8)]),
        ("cuda:1", 1, [("init", 0), ("get", 1)]),
        ("auto", 0, [("init", 0)]),
    ],
)
def test_the_context_of_the_device_asked_for_is_made(
    device: str, n_devices: int, calls: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(n_devices)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: driver)
    thread = begin_context(device)
    assert thread is not None
    thread.join()
    assert driver.calls == calls


def test_nothing_is_asked_where_the_cpu_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: pytest.fail("the driver was loaded"))
    assert begin_context("cpu") is None


def test_nothing_is_asked_for_a_pytorch_without_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").touch()
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(cuInit=lambda _flags: 1))
    spec = SimpleNamespace(origin=str(tmp_path / "torch" / "__init__.py"))
    monkeypatch.setattr("gpu_lipsync.process.early_context.find_spec", lambda _name: spec)
    assert begin_context("auto") is None
    (tmp_path / "torch" / "lib" / "libtorch_cuda.so").touch()
    thread = begin_context("auto")
    assert thread is not None
    thread.join()


@pytest.mark.usefixtures("cuda_build")
@pytest.mark.parametrize("error", [OSError("no libcuda.so.1"), AttributeError("no cuDevicePrimaryCtxRetain")])
def test_without_a_driver_it_says_nothing(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def missing(_name: str) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    thread = begin_context("auto")
    assert thread is not None
    thread.join()
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("cuda_build")
def test_without_a_thread_to_be_had_it_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    assert begin_context("auto") is None


def test_on_this_machine() -> None:
    thread = begin_context("auto")
    assert (thread is not None) == (torch.version.cuda is not None)
    if thread is not None:
        thread.join(timeout=300)
        assert not thread.is_alive()
    if torch.cuda.is_available():
        assert torch.zeros(1, device="cuda").item() == 0

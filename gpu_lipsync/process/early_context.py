"""CUDA starts while PyTorch is still being imported: a third of a second that nobody waits for."""

from __future__ import annotations

import ctypes
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path


def begin_context(device: str) -> threading.Thread | None:
    """Have the driver make the context that PyTorch will use, in a thread; for the command, before it imports torch.

    A head start and no more: whatever fails here fails again where PyTorch says what is wrong.

    Args:
        device: as `--device` takes it.

    Returns:
        The thread; None where no GPU is wanted, no thread to be had, or PyTorch was built without CUDA: hundreds of MB
        for nothing.

    Reference: CUDA driver API, cuDevicePrimaryCtxRetain. What is retained is let go at the process's end.
    """
    if device == "cpu" or not _pytorch_has_cuda():
        return None
    thread = threading.Thread(target=_retain, args=(device,), name="cuda", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # none to be had
        return None
    return thread


def _pytorch_has_cuda() -> bool:
    """By its files, since it is not imported yet."""
    spec = find_spec("torch")
    return spec is not None and spec.origin is not None and (Path(spec.origin).parent / "lib/libtorch_cuda.so").exists()


def _retain(device: str) -> None:
    number = int(device.partition(":")[2] or 0)
    with suppress(OSError, AttributeError):  # no driver, or a very old one
        driver = ctypes.CDLL("libcuda.so.1")
        handle, context = ctypes.c_int(), ctypes.c_void_p()
        if not driver.cuInit(0) and not driver.cuDeviceGet(ctypes.byref(handle), number):
            driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle)

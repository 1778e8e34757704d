"""How a lack of memory is told from other errors, on a device and on the host, and what it is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gpu_lipsync.errors import ResourceError, first_line, is_shortage, shortage

LACK_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "bad_alloc",
    "could not create a primitive",  # what oneDNN makes of a lack of it, under a limit of the process's
    "ALLOC_FAILED",  # cuBLAS's, and cuDNN 8's
    "ALLOCATION_FAILED",  # cuDNN 9's
    "CUBLAS_STATUS_NOT_INITIALIZED",  # a full card has no room for its handle
    "CUDNN_STATUS_NOT_INITIALIZED",
    "unable to find an engine",  # what PyTorch makes of it when each of cuDNN's has asked for workspace in vain
)
GPU_IS_TAKEN = "busy or unavailable"  # cudaErrorDevicesUnavailable, of a GPU whose compute mode is exclusive


@contextmanager
def lack_of_memory_named(device: torch.device, *, less: str = "") -> Iterator[None]:
    """Turn a lack of memory, of the device where no smaller batch has helped or of the host, into its error kind;
    likewise of threads and open files, and a GPU that another process has for itself.

    Args:
        device: where the work is done.
        less: the flag that makes it less; by default those of a run.

    Raises:
        ResourceError: instead of torch's or Python's error, which would look like a bug of this program.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_lack_of_memory(error):
            if device.type == "cuda" and GPU_IS_TAKEN in str(error):
                raise ResourceError(
                    f"{device} is taken: another process has it for itself (nvidia-smi shows its compute mode); "
                    "try again when that has ended, or pass --device cpu or another GPU's cuda:N"
                ) from error
            if is_shortage(error):
                raise shortage("the run cannot go on", error) from error
            raise
        if device.type == "cpu" or "DefaultCPUAllocator" in str(error) or isinstance(error, MemoryError):
            told = f" ({first_line(error)})" if "primitive" in str(error) else ""
            raise ResourceError(
                f"out of memory on the host{told}; "
                f"pass {less or '--resize_factor 2, a smaller --wav2lip_batch_size'} or a shorter sound, or free memory"
            ) from error
        told = "" if str(error).startswith("CUDA out of memory") else f" ({first_line(error)})"
        raise ResourceError(
            f"out of memory on {device}{told}, and a smaller batch would not help; "
            f"pass {less or '--resize_factor 2'} or --device cpu, or free memory on the device"
        ) from error


def is_lack_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out: by its type (PyTorch's CUDA allocator, Python), else by its words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in LACK_OF_MEMORY
    )

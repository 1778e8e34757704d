"""Which device a run uses, and how a thread beside the network's works on it, and what comes back from it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from gpu_lipsync.config import require_device_name
from gpu_lipsync.errors import ConfigError, first_line
from gpu_lipsync.process.lack_of_memory import lack_of_memory_named

_NVIDIA_DRIVER = Path("/dev/nvidiactl")


def resolve_device(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` stands for; a GPU with its number, which threads differ in.

    Raises:
        ConfigError: another name, CUDA is asked for by name and not there, PyTorch has no kernels for the GPU, or none
            can begin there. Never a silent fallback to the CPU.
        ResourceError: another process has the GPU for itself, or all of its memory.
    """
    require_device_name(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        n_devices = torch.cuda.device_count()
        if (device.index or 0) >= n_devices:
            why = f"CUDA devices found: {n_devices}" if n_devices else _unusable() or "CUDA devices found: 0"
            raise ConfigError(f"device {name} is not available ({why}); use auto or cpu")
        if reason := _unusable():
            raise ConfigError(f"device {name} cannot be used ({reason}); use cpu")
        device = torch.device("cuda", torch.cuda.current_device()) if device.index is None else device
        _require_kernels(torch.cuda.get_device_capability(device), torch.cuda.get_arch_list())
        _require_work(device, name)
    return device


def why_no_gpu() -> str:
    """Why `auto` takes the CPU though there is a GPU, such as a driver that is too old for PyTorch, or a PyTorch for
    CPUs; empty if it does not, or there is none, or none is to be seen.
    """
    # A number or a name; "", "-1" and words such as NoDevFiles hide all of them.
    hidden = not re.match(r"\d|GPU-|MIG-", os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
    # With such a driver PyTorch counts GPUs by NVML alone, which a container may lack.
    there = torch.cuda.device_count() or (_NVIDIA_DRIVER.exists() and not hidden)
    return _unusable() if there and not torch.cuda.is_available() else ""


def _unusable() -> str:
    """Why CUDA does not begin, in a line; empty if it does."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return first_line(error)
    return ""


def _require_work(device: torch.device, name: str) -> None:
    """Have a GPU begin a first thing, or raise: till then PyTorch has only asked what there is."""
    try:
        with lack_of_memory_named(device):
            torch.zeros(1, device=device)
    except RuntimeError as error:  # its memory's error correction has given up, say
        raise ConfigError(f"device {name} cannot be used ({first_line(error)}); use cpu") from error


def _require_kernels(capability: tuple[int, int], compiled: list[str]) -> None:
    """Raise ConfigError unless a GPU of this compute capability can run one of those that PyTorch was built for."""
    major, minor = capability
    names = [name for name in compiled if name.startswith(("sm_", "compute_"))]  # ROCm's are others
    for name in names:
        kind, _, number = name.rstrip("af").partition("_")
        built = int(number[:-1]), int(number[-1])
        same_major = built[0] == major and built[1] <= minor
        if same_major or (kind == "compute" and built <= capability):  # PTX is compiled there
            return
    if names:
        raise ConfigError(
            f"PyTorch has no kernels for a GPU of compute capability {major}.{minor} (but {' '.join(names)}); "
            "use --device cpu, or install a build that has"
        )


@contextmanager
def own_modes(device: torch.device) -> Iterator[None]:
    """Inference, and nothing of what a host program may have set for this thread: a default device, autocast."""
    with ExitStack() as modes:
        if torch.get_default_device().type != "cpu":  # else not entered: each operation would pass through it
            modes.enter_context(torch.device("cpu"))
        for kind in {"cpu", device.type}:
            modes.enter_context(torch.autocast(kind, enabled=False))
        modes.enter_context(torch.inference_mode())
        yield


@contextmanager
def on_default_stream(device: torch.device) -> Iterator[None]:
    """Work on the device's default stream, whatever the caller's: other threads' streams wait for that one."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.stream(torch.cuda.default_stream(device)):
        yield


def network_dtype(device: torch.device, *, fp16: bool) -> torch.dtype:
    """Precision of generator and detector: float16 on CUDA where asked for; bfloat16 on CPUs that are faster in it.

    AMX, and AMD's cores with AVX512_BF16, take half the time of float32 or less, for mouths that differ by 0.2 to 0.3
    levels and boxes by a thousandth of the face's height. Intel's cores have the instruction too but take longer for it
    than for float32 (95 against 61 ms a frame), and others emulate it.
    """
    if device.type == "cuda":
        return torch.float16 if fp16 else torch.float32
    matrix_unit, instruction = (
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )
    return torch.bfloat16 if matrix_unit or (instruction and not _is_intel()) else torch.float32


def _is_intel() -> bool:
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every PyTorch
    return str(capabilities.get("cpu_name", "")).startswith("Intel")


@contextmanager
def current_context(device: torch.device) -> Iterator[int]:
    """PyTorch's CUDA context, current on the calling thread, for FFmpeg to work in; gives the device's number.

    FFmpeg's other ways do not do: it refuses the primary context once PyTorch has initialised it, for its flags differ
    from what FFmpeg wants, and memory of a context of its own is not PyTorch's to read.
    """
    with torch.cuda.device(device):
        torch.zeros(1, device=device)  # a kernel: before one has run there may be no context on this thread
        yield torch.cuda.current_device()


_idle_streams: defaultdict[int, list[torch.cuda.Stream]] = defaultdict(list)


@contextmanager
def side_stream(device: torch.device) -> Iterator[torch.cuda.Stream]:
    """A CUDA stream beside the network's, for one thread at a time; the next run takes it up again.

    cuBLAS keeps a workspace (8 MiB, 32 on Hopper) for every stream that it has worked on: with new ones a process that
    runs all day would keep losing memory, half a gigabyte in ten runs on Hopper.
    """
    idle = _idle_streams[torch.cuda.current_device() if device.index is None else device.index]
    try:
        stream = idle.pop()
    except IndexError:
        stream = torch.cuda.Stream(device)
    try:
        yield stream
    finally:
        idle.append(stream)


Key = TypeVar("Key")  # whatever tells batches apart
Staged = tuple[Key, Tensor, torch.cuda.Event | None]


def staged(batches: Iterable[tuple[Key, Tensor]], device: torch.device) -> Iterator[Staged[Key]]:
    """Make batches on a CUDA stream of their own, beside the network's work (NVDEC's pictures wait for it); for the
    thread that decodes.

    Yields:
        Each batch with the event after which it may be used. On a CPU there is none.
    """
    if device.type != "cuda" or not torch.cuda.is_available():
        for frames, batch in batches:
            yield frames, batch, None
            del batch  # not kept while the next is made
        return
    with side_stream(device) as stream:
        stream.wait_stream(torch.cuda.default_stream(device))  # on which weights and constants were made
        iterator = iter(batches)
        while True:
            with torch.cuda.stream(stream):
                item = next(iterator, None)
                if item is None:
                    return
                made = stream.record_event()
            yield *item, made
            del item


def taken_over(items: Iterable[Staged[Key]]) -> Iterator[tuple[Key, Tensor]]:
    """Take batches made by `staged` over to the current stream; the host does not wait."""
    for frames, batch, made in items:
        if made is not None:
            current = torch.cuda.current_stream(batch.device)
            current.wait_event(made)
            batch.record_stream(current)  # its memory is not reused before this stream is done with it
        yield frames, batch
        del batch  # not kept while the next comes


class HostCopy:
    """A device tensor on its way to the host: through pinned memory with CUDA, where waiting for it can be put off."""

    def __init__(self, values: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._host = values
        if values.is_cuda:
            self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(values.device))

    def is_there(self) -> bool:
        """Whether `wait` would return at once."""
        return self._event is None or self._event.query()

    def wait(self) -> Tensor:
        """The values, on the host."""
        if self._event is not None:
            self._event.synchronize()
        return self._host

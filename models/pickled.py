"""What torch.save pickles, read without running or importing anything: containers, and where tensors lie."""

import pickle
from collections import OrderedDict
from typing import Any, BinaryIO, NamedTuple

import torch

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}

# A training checkpoint's list of tensors has some hundred kilobytes. What it says in a byte can take eighty in memory.
MOST_HEADER_BYTES = 4_000_000


_MOST_DIMENSIONS = 8  # of a tensor: a list that is named again and again is copied each time
_MOST_COPIED = 100_000  # likewise, pairs of ordered dicts made of lists, as Python 2 wrote them


class StorageRecord(NamedTuple):
    """A block of numbers in the file."""

    key: str
    dtype: torch.dtype


class TensorRecord(NamedTuple):
    """Where a tensor lies in its storage; offset and stride in elements."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Inert:
    """Stands for any class or function a pickle names: takes what it is given and does nothing."""

    state: Any = None  # here, since pickle makes most objects without calling __init__

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        return

    def __call__(self, *_args: Any, **_kwargs: Any) -> "Inert":
        return Inert()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, _key: Any, _value: Any) -> None:
        return

    def append(self, _value: Any) -> None:
        return

    def extend(self, _values: Any) -> None:
        return


def _tensor(storage: Any, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_rest: Any) -> Any:
    sizes = isinstance(shape, tuple) and isinstance(stride, tuple) and max(len(shape), len(stride)) <= _MOST_DIMENSIONS
    return TensorRecord(storage, offset, shape, stride) if sizes and isinstance(storage, StorageRecord) else Inert()


def _first(value: Any, *_rest: Any) -> Any:
    return value


class _Bounded:
    """A file of which a pickle may have a limited part.

    Raises:
        ValueError: it wants more.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._end = file, file.tell() + MOST_HEADER_BYTES

    def read(self, n: int) -> bytes:
        return self._seen(self._file.read(min(n, MOST_HEADER_BYTES + 1)))

    def readline(self) -> bytes:
        return self._seen(self._file.readline(MOST_HEADER_BYTES + 1))

    def _seen(self, data: bytes) -> bytes:
        if self._file.tell() > self._end:
            raise ValueError(f"a list of tensors of more than {MOST_HEADER_BYTES} bytes")
        return data


def _bytearray(unpickler: Any) -> None:
    """As pickle does it, but reading before it makes room."""
    length = int.from_bytes(unpickler.read(8), "little")
    data = unpickler.read(length)
    if len(data) < length:
        raise ValueError(f"an array of {length} bytes that are not there")
    unpickler.append(bytearray(data))


class RecordUnpickler(pickle._Unpickler):
    """Rebuilds containers and tensor records; everything else becomes `Inert`.

    By Python's own reader: that in C makes room for whatever number a pickle gives to what it remembers.

    Attributes:
        itemsizes: bytes of a number of each storage that was named, by its key.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(_Bounded(file))
        self.itemsizes: dict[str, int] = {}
        self._n_copied = 0

    KNOWN = {
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _first,
        ("torch.jit._pickle", "restore_type_tag"): _first,
    }

    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: _bytearray}

    def _ordered_dict(self, pairs: Any = ()) -> OrderedDict[Any, Any]:
        self._n_copied += len(pairs)
        if self._n_copied > _MOST_COPIED:
            raise ValueError(f"a pickle with more than {_MOST_COPIED} pairs of ordered dicts")
        return OrderedDict(pairs)

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return self._ordered_dict
        if module_name == "torch" and global_name in DTYPES:
            return DTYPES[global_name]
        return self.KNOWN.get((module_name, global_name), Inert)

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], torch.dtype):
            self.itemsizes[str(pid[2])] = pid[1].itemsize
            return StorageRecord(str(pid[2]), pid[1])
        # Before PyTorch 1.6 a module's class is named so, with its source beside it, and an instance is made of it.
        return Inert if isinstance(pid, tuple) and pid[:1] == ("module",) else Inert()

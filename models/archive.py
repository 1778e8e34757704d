"""Tensors out of weights files, by name, one at a time, without running anything that is pickled in them.

One reader for the formats of torch.save (zip since PyTorch 1.6, a pickle stream before), TorchScript archives and
safetensors. It looks up where a tensor's bytes lie and reads those only: of a 400 MB training checkpoint the optimiser
stays on the disk. Classes named in a pickle are never imported: all but the few known here become inert records.
"""

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from gpu_lipsync.models.pickled import MOST_HEADER_BYTES, Inert, RecordUnpickler, StorageRecord, TensorRecord

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a file that torch.save wrote before PyTorch 1.6
SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
# A training checkpoint with its optimiser has a few thousand entries, of short names.
_MOST_ENTRIES, _LONGEST_NAME = 100_000, 1000


class Archive(NamedTuple):
    """An open weights file: every tensor's shape by its dotted name, and `read` to fetch one."""

    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], Tensor]


def open_archive(path: Path) -> Archive:
    """Index the tensors in a weights file.

    Raises:
        ValueError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile or another Exception of the formats'
        readers: the file is damaged or no weights file.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":  # before the others: the length of its header may begin with any bytes, PK too
        return _open_safetensors(path)
    if head.startswith(b"PK"):
        return _open_zip(path)
    if head.startswith(b"\x80"):
        return _open_legacy(path)
    raise ValueError(f"no weights file (it begins with {head!r})")


def _open_safetensors(path: Path) -> Archive:
    # Not by its own package, whose tensors lie in the mapped file: where somebody copies another one over it meanwhile,
    # a run would go on with those weights, or be killed by the system.
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        if length > MOST_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(file.read(length))
    tree, starts = {}, {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, (start, stop) = (
            SAFETENSORS_DTYPES.get(entry["dtype"]),
            tuple(entry["shape"]),
            entry["data_offsets"],
        )
        if dtype is None:  # of something that no generator of ours is made of
            continue
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} has {stop - start} bytes for a shape of {shape}")
        stride = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        tree[name], starts[name] = TensorRecord(StorageRecord(name, dtype), 0, shape, stride), 8 + length + start
    return _archive(path, tree, lambda _file, key: starts[key])


def _open_zip(path: Path) -> Archive:
    if _directory_bytes(path) > MOST_HEADER_BYTES:
        raise ValueError(f"a zip file with a directory of more than {MOST_HEADER_BYTES} bytes")
    with zipfile.ZipFile(path) as file:
        entries = {entry.filename: entry for entry in file.infolist()}
        pickled = next((name for name in entries if name.endswith("data.pkl")), None)
        if pickled is None:
            raise ValueError("a zip file without PyTorch's data.pkl")
        folder = pickled.removesuffix("data.pkl")
        if any(
            entry.compress_type != zipfile.ZIP_STORED
            for name, entry in entries.items()
            if name == pickled or name.startswith(f"{folder}data/")
        ):
            raise ValueError("its tensors are compressed, as PyTorch does not write them; load and save it with torch")
        if entries[pickled].file_size > MOST_HEADER_BYTES:
            raise ValueError(f"a list of tensors of {entries[pickled].file_size} bytes")

    def begin(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
        # Read past zipfile: its CRC pass doubles the time, and PyTorch can write archives without CRCs.
        file.seek(entry.header_offset)
        header = file.read(30)
        return entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))

    with path.open("rb") as plain:
        plain.seek(begin(plain, entries[pickled]))
        tree = RecordUnpickler(io.BytesIO(plain.read(entries[pickled].file_size))).load()
    archive = _archive(path, tree, lambda file, key: begin(file, entries[f"{folder}data/{key}"]))
    if not archive.shapes and any(name.startswith(f"{folder}constants/") for name in entries):
        raise ValueError(
            "it is a frozen TorchScript, whose weights are nameless constants of its code; save the module before "
            "freezing it, or its state_dict"
        )
    return archive


def _directory_bytes(path: Path) -> int:
    """How long a zip file's directory is by the record at its end, which `zipfile` reads as a whole."""
    with path.open("rb") as file:
        begin = max(0, path.stat().st_size - 65_557 - 20)
        file.seek(begin)
        tail = file.read()
        last = len(tail) - 22
        ends = last >= 0 and tail.startswith(b"PK\5\6", last) and tail.endswith(b"\0\0")
        end = last if ends else tail.rfind(b"PK\5\6")  # with a comment behind it
        if end < 0 or end > last:
            return 0  # zipfile says what is wrong with it
        size: int = struct.unpack_from("<L", tail, end + 12)[0]
        if end >= 20 and tail.startswith(b"PK\6\7", end - 20):  # where the record of large files is, or just before
            for place in (struct.unpack_from("<Q", tail, end - 12)[0], begin + end - 76):
                file.seek(max(0, min(place, begin + end)))
                record = file.read(56)
                if record.startswith(b"PK\6\6") and len(record) == 56:
                    size = max(size if size != 0xFFFFFFFF else 0, struct.unpack_from("<Q", record, 40)[0])
    return size


def _open_legacy(path: Path) -> Archive:
    with path.open("rb") as file:
        if RecordUnpickler(file).load() != LEGACY_MAGIC:
            raise ValueError("a pickle, but none that torch.save wrote")
        RecordUnpickler(file).load()  # the version of the format
        RecordUnpickler(file).load()  # the system's byte order and sizes
        pickled = RecordUnpickler(file)
        tree, keys = pickled.load(), RecordUnpickler(file).load()
        offsets: dict[str, int] = {}
        for key in keys:
            count = struct.unpack("<q", file.read(8))[0]
            offsets[str(key)] = file.tell()
            file.seek(count * pickled.itemsizes[str(key)], io.SEEK_CUR)
    return _archive(path, tree, lambda _file, key: offsets[key])


def _archive(path: Path, tree: Any, find_storage: Callable[[BinaryIO, str], int]) -> Archive:
    records = dict(_walk(tree))

    def read(name: str) -> Tensor:
        (key, dtype), offset, shape, stride = records[name]
        extent = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if 0 not in shape else 0
        n_bytes = extent * dtype.itemsize
        with path.open("rb") as file:
            start = find_storage(file, key) + offset * dtype.itemsize
            if start + n_bytes > path.stat().st_size:  # before the memory for what is not there is asked for
                raise EOFError(f"the file ends inside tensor {name}")
            flat = torch.empty(extent, dtype=dtype, device="cpu")  # whatever a host program's default is
            file.seek(start)
            if file.readinto(flat.view(torch.uint8).numpy().data) != n_bytes:
                raise EOFError(f"the file ends inside tensor {name}")
        return flat.as_strided(shape, stride)

    return Archive({name: record.shape for name, record in records.items()}, read)


def _walk(tree: Any, prefix: str = "", left: list[int] | None = None) -> Iterator[tuple[str, TensorRecord]]:
    """Every tensor below a dict or an object, by its dotted name as `state_dict()` would call it.

    Raises:
        ValueError: there is no end to it, as where dicts hold each other many times over.
    """
    left = [_MOST_ENTRIES] if left is None else left
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"it has more than {_MOST_ENTRIES} entries")
    if len(prefix) > _LONGEST_NAME:
        raise ValueError(f"it has names of more than {_LONGEST_NAME} characters")
    if isinstance(tree, TensorRecord):
        yield prefix.removesuffix("."), tree
    elif isinstance(tree, Inert):
        yield from _walk(tree.state, prefix, left)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            inside_module = key in ("_modules", "_parameters", "_buffers")
            yield from _walk(value, prefix if inside_module else f"{prefix}{key}.", left)
    elif isinstance(tree, tuple) and not isinstance(tree, StorageRecord):
        for index, value in enumerate(tree):
            yield from _walk(value, f"{prefix}{index}.", left)

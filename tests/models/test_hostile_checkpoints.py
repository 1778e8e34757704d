"""Checkpoints made to take a host's memory, or to run: refused in a short line, at the cost of some hundred MB."""

import os
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch

from gpu_lipsync.errors import CheckpointError
from gpu_lipsync.models import load_wav2lip
from gpu_lipsync.models.archive import LEGACY_MAGIC
from gpu_lipsync.models.pickled import MOST_HEADER_BYTES
from tests.generators import trained_like

MANY_DICTS = b"\x80\x02" + b"}" * 12_000_000  # each a dict on the reader's stack


def zipped(pickled: bytes, how: int = 0) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with ZipFile(path, "w", how) as file:
            file.writestr("archive/data.pkl", pickled)

    return write


def long_names(path: Path) -> None:
    """Dicts within each other under one long name: all of it again for each level."""
    tree: dict[str, Any] = {"a": torch.ones(1)}
    name = "n" * 100_000
    for _ in range(200):
        tree = {name: tree}
    torch.save(tree, path)


# A list under the number 2, and `calls` calls of what is under 0 with what is under 3.
_CALLS = b"h\0h\3R" * 20_000
_LIST = b"]q\2(" + b"K\1" * 5_000 + b"e0"
MANY_SHAPES = (
    b"\x80\2ctorch._utils\n_rebuild_tensor_v2\nq\x000(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\1tQq\0010"
    + _LIST + b"(h\1K\0h\2h\2tq\0030" + _CALLS + b"."
)  # fmt: skip
MANY_ORDERED = (
    b"\x80\2ccollections\nOrderedDict\nq\x000]q\2("
    + b"".join(b"K" + bytes([i % 250]) + b"K\1\x86" for i in range(5_000))
    + b"e0(h\2tq\0030" + _CALLS + b"."
)  # fmt: skip


def long_directory(path: Path) -> None:
    """A hundredth of what is needed to fill a host's memory."""
    with ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\2}.")
        for i in range(5_000):
            file.writestr(f"archive/{i:0100d}", b"")


def long_directory_beside_its_mark(path: Path) -> None:
    """With the mark of a directory's end in its own counts of entries, which are not read."""
    long_directory(path)
    data = bytearray(path.read_bytes())
    data[-14:-10] = b"PK\5\6"
    path.write_bytes(data)


def long_directory_before_a_comment(path: Path) -> None:
    long_directory(path)
    with ZipFile(path, "a") as file:
        file.comment = b"said in up to 64 KiB behind the record of the directory"


def told_in_64_bits(path: Path, *, behind: bytes = b"", elsewhere: bool = False, told: int = 0) -> None:
    """Let a zip file say how long its directory is as those beyond 4 GiB do.

    Args:
        path: of the file, without a comment.
        behind: what lies between the record that says it and its locator.
        elsewhere: the locator names another place, and readers that look just before it find the record.
        told: what the ordinary record says in its place.
    """
    content = path.read_bytes()
    rest, end = content[:-22], content[-22:]
    count, size, begin = struct.unpack("<HLL", end[10:20])
    record = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, begin)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0 if elsewhere else len(rest), 1)
    path.write_bytes(rest + record + behind + locator + end[:12] + struct.pack("<L", told) + end[16:])


def long_directory_in_64_bits(path: Path) -> None:
    long_directory(path)
    told_in_64_bits(path)


def long_directory_in_64_bits_further_before(path: Path) -> None:
    long_directory(path)
    told_in_64_bits(path, behind=b"gap")


def long_directory_in_64_bits_elsewhere(path: Path) -> None:
    long_directory(path)
    told_in_64_bits(path, elsewhere=True)


@pytest.mark.parametrize(
    "write",
    [
        long_directory,
        long_directory_beside_its_mark,
        long_directory_before_a_comment,
        long_directory_in_64_bits,
        long_directory_in_64_bits_further_before,
        long_directory_in_64_bits_elsewhere,
    ],
)
def test_a_zip_file_s_directory_is_refused_before_it_is_read(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_lipsync.models.archive.MOST_HEADER_BYTES", MOST_HEADER_BYTES // 10)
    write(tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="a directory of more than 400000 bytes"):
        load_wav2lip(tmp_path / "weights.pth")


def test_a_zip_file_that_tells_all_in_64_bits_is_read(tmp_path: Path) -> None:
    """Its ordinary record says 4 GiB then, which no directory here has."""
    path, state = tmp_path / "weights.pth", trained_like().state_dict()
    torch.save(state, path)
    content = path.read_bytes()
    if content[-42:-38] == b"PK\6\7":  # PyTorch writes that record by itself, as long as it is
        path.write_bytes(content[:-10] + struct.pack("<L", 0xFFFFFFFF) + content[-6:])
    else:
        told_in_64_bits(path, told=0xFFFFFFFF)
    with ZipFile(path) as theirs:
        assert len(theirs.namelist()) > len(state)
    torch.save(state, tmp_path / "plain.pth")
    found, plain = (load_wav2lip(path).parameters() for path in (path, tmp_path / "plain.pth"))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, plain, strict=True))


HOSTILE: dict[str, Callable[[Path], Any]] = {
    # LONG_BINPUT: "remember this under the number 200 000 000". Python's reader in C makes a list so long.
    "a number of a memory": lambda path: path.write_bytes(b"\x80\x02Nr" + struct.pack("<I", 200_000_000) + b"."),
    "the same in a zip": zipped(b"\x80\x02Nr" + struct.pack("<I", 200_000_000) + b"."),
    "names": long_names,
    "many dicts": zipped(MANY_DICTS),
    "many dicts in some kilobytes": zipped(MANY_DICTS, ZIP_DEFLATED),
    "many dicts before PyTorch 1.6": lambda path: path.write_bytes(pickle.dumps(LEGACY_MAGIC, 2) + MANY_DICTS),
    "a long line": lambda path: path.write_bytes(b"\x80\x02I" + b"1" * 12_000_000),
    "a text of gigabytes": lambda path: path.write_bytes(b"\x80\x02X" + struct.pack("<I", 0xFFFFFFF0)),
    "an array of gigabytes": lambda path: path.write_bytes(b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"."),
    "tensors of one long shape": lambda path: path.write_bytes(MANY_SHAPES),
    "ordered dicts of one long list": lambda path: path.write_bytes(MANY_ORDERED),
    "a directory of many names": long_directory,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_would_take_the_memory_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of what is read is enough to see that there is an end to it, and takes this test a tenth of the time."""
    for module in ("pickled", "archive"):
        monkeypatch.setattr(f"gpu_lipsync.models.{module}.MOST_HEADER_BYTES", MOST_HEADER_BYTES // 10)
    path = tmp_path / "weights.pth"
    HOSTILE[kind](path)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            load_wav2lip(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40e6 and len(str(caught.value)) < 500


def test_the_class_of_a_module_before_pytorch_1_6_is_never_called(tmp_path: Path) -> None:
    class Named:
        pass

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Named, (str(tmp_path / "ran"),)

    class ByName(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return ("module", os.mkdir, "bomb.py", "import os") if thing is Named else None

    with (tmp_path / "bomb.pth").open("wb") as file:
        for part in (LEGACY_MAGIC, 1001, {}, Bomb(), []):
            ByName(file, 2).dump(part)
    with pytest.raises(CheckpointError, match="0 tensors"):
        load_wav2lip(tmp_path / "bomb.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_lies_beside_the_weights_may_be_of_any_kind(zipped: bool, tmp_path: Path) -> None:
    """Lists of tensors, a generator's states for instance, and numbers that no network of ours has."""
    beside = {"losses": [torch.ones(3), torch.ones(4)], "spectrum": torch.ones(5, dtype=torch.complex64)}
    generator, path = trained_like(), tmp_path / "weights.pth"
    torch.save({**beside, "state_dict": generator.state_dict()}, path, _use_new_zipfile_serialization=zipped)
    torch.save({"state_dict": generator.state_dict()}, tmp_path / "bare.pth")
    for ours, theirs in zip(
        load_wav2lip(path).parameters(), load_wav2lip(tmp_path / "bare.pth").parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_safetensors_may_hold_what_has_no_part_in_the_network(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = trained_like().state_dict()
    save_file({**state, "steps": torch.ones(3, dtype=torch.uint32)}, tmp_path / "a.safetensors")
    save_file(state, tmp_path / "b.safetensors")
    both = [load_wav2lip(tmp_path / name).parameters() for name in ("a.safetensors", "b.safetensors")]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*both, strict=True))

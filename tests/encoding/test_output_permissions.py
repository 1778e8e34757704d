"""Who may read the output: whoever could read the file that it replaces, and nobody more while it is made."""

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from gpu_lipsync.config import EncodeConfig
from gpu_lipsync.encoding.writer import open_writer
from tests.writing import encode, pictures, shape_of

OTHER_ID = 54321  # of a user or group that need not exist


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return S_IMODE(path.stat().st_mode)


def earlier(folder: Path, mode: int) -> Path:
    path = folder / "out.mp4"
    path.write_bytes(b"an earlier result")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o444])
@pytest.mark.parametrize("linked", [False, True])
def test_they_are_those_of_the_file_before(tmp_path: Path, mode: int, linked: bool) -> None:
    """`tempfile.NamedTemporaryFile` makes private ones. Whoever makes the new one may read and write it meanwhile."""
    target = earlier(tmp_path, mode)
    name = tmp_path / "link.mp4" if linked else target
    if linked:
        name.symlink_to(target)
    with open_writer(name, shape_of(64, 64), EncodeConfig()) as out:
        (partial,) = set(tmp_path.iterdir()) - {target, name}
        assert mode_of(partial) == mode | 0o600
        out.write(pictures(4, 64, 64))
        out.finish()
    assert mode_of(target) == mode and target.stat().st_size > 100


def test_no_moment_is_less_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the file where the file system has no permissions to give, as FAT: that is no reason to fail."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    target = earlier(tmp_path, 0o664)
    monkeypatch.setattr("gpu_lipsync.encoding.writer.os.chmod", refused)
    monkeypatch.setattr("gpu_lipsync.encoding.writer.os.chown", refused)
    assert mode_of(encode(target, shape_of(64, 64), pictures(4, 64, 64))) == 0o600


def test_what_is_new_is_as_the_umask_says(tmp_path: Path) -> None:
    for umask in (0o022, 0o077):
        os.umask(umask)
        path = encode(tmp_path / f"{umask}.mp4", shape_of(64, 64), pictures(4, 64, 64))
        assert mode_of(path) == 0o666 & ~umask


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_what_root_replaces_stays_its_owner_s(tmp_path: Path) -> None:
    target = earlier(tmp_path, 0o640)
    os.chown(target, OTHER_ID, OTHER_ID)
    found = encode(target, shape_of(64, 64), pictures(4, 64, 64)).stat()
    assert (found.st_uid, found.st_gid, S_IMODE(found.st_mode)) == (OTHER_ID, OTHER_ID, 0o640)


@pytest.mark.parametrize(("before", "after"), [(0o660, 0o600), (0o664, 0o644), (0o644, 0o644)])
def test_another_group_gets_what_all_others_have(
    tmp_path: Path, before: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this process is not of the group that the file before belonged to."""

    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("gpu_lipsync.encoding.writer.os.chown", refused)
    assert mode_of(encode(earlier(tmp_path, before), shape_of(64, 64), pictures(4, 64, 64))) == after

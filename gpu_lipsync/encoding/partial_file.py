"""The file that is written beside its target until it is complete, and how it takes the target's place."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from gpu_lipsync.encoding.encoders import cannot_write
from gpu_lipsync.errors import EncodeError

_STEM_CHARACTERS = 40
_READ_AND_WRITE = 0o600  # the owner's


def reserve(target: Path, suffix: str) -> tuple[Path, list[Path]]:
    """Make an empty file beside the target, and the folders that are missing: which these are is the second value.

    `suffix` says what kind of file: a link may be called otherwise than what it leads to.
    """
    missing: list[Path] = []
    try:
        if target.is_dir():
            raise EncodeError(f"outfile {target} is a folder; give the name of a file in it")
        if target.exists() and not target.is_file():  # a pipe, a device: renaming would put a file in its place
            raise EncodeError(f"outfile {target} is not a regular file; give the name of one")
        missing = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        before = None
        with suppress(FileNotFoundError):
            before = target.stat()  # a name that is too long is found out now, not when the work is done
        return _partial_file(target, suffix, before), missing
    except BaseException as error:
        remove_folders(missing)
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise EncodeError(
                f"{target} cannot be written (one of its folders is a file); choose another --outfile"
            ) from error
        if isinstance(error, OSError):
            raise cannot_write(target, error) from error
        raise


def require_on_disk(file: int) -> None:
    """Write a file out: FFmpeg does not say what fails as it closes one, which is where network disks lack room.

    `file` is its descriptor, opened before anything was written: what failed before that it would not be told.

    Raises:
        OSError: it is not complete.
    """
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # a file system that has none
            raise


def write_into(target: Path, complete: Path) -> None:
    """Replace what a file holds; where there is no room for it, nothing of it is lost."""
    size = complete.stat().st_size
    with complete.open("rb") as source, target.open("r+b") as file:
        before = file.seek(0, os.SEEK_END)
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError:
            file.truncate(before)
            raise
        file.seek(0)
        shutil.copyfileobj(source, file)
        file.truncate()


def remove_folders(folders: list[Path]) -> None:
    """Remove folders that were made for a file, as far as they are empty."""
    for folder in folders:  # the innermost first
        with suppress(OSError):  # it was never made, or somebody else put something there meanwhile
            folder.rmdir()


def _partial_file(target: Path, suffix: str, before: os.stat_result | None) -> Path:
    some = target.stem[:_STEM_CHARACTERS]  # the name may be as long as names can be
    while True:
        path = target.with_name(f".{some}.{secrets.token_hex(4)}{suffix}")
        try:
            # Not by mkstemp, which makes it private: the result is an ordinary file, or as private as the one before.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if before is None else _READ_AND_WRITE))
        except FileExistsError:
            continue
        try:
            if before is not None:
                permit_as(path, before, also=_READ_AND_WRITE)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path


def permit_as(path: Path, before: os.stat_result, *, also: int = 0) -> None:
    """Let those read and write a new file who might the one before; fewer, where it cannot be of the same group."""
    mode = before.st_mode & 0o777
    try:
        os.chown(path, -1, before.st_gid)
    except OSError:
        mode = mode & ~0o070 | (mode & 0o007) << 3  # its group is one of all the others
    with suppress(OSError):  # a file system that has none to give
        os.chmod(path, mode | also)

"""Whether a file can be written, asked before the work that it is to hold. Imports no torch."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gpu_lipsync.errors import ConfigError, EncodeError, first_line


def require_apart(name: str, path: Path, others: Mapping[str, Path]) -> None:
    """Refuse to write a file that has another role too.

    Raises:
        ConfigError: `path` is one of `others`.
        EncodeError: `path` cannot even be looked at.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # nothing to lose there yet
    except OSError as error:
        raise _unwritable(name, path, error.strerror or str(error)) from error
    for role, other in others.items():
        if _same_file(path, other):
            raise ConfigError(f"{name} {path} and {role} are the same file; give another --{name}")


def require_writable(name: str, path: Path) -> None:
    """Ask, before the work that it is to hold, whether a file can be written in place. Makes nothing.

    Raises:
        EncodeError: the file or its folder cannot be written, or it is a folder, or a pipe or socket with a name, which
            would keep the run waiting for a reader.
    """
    if path.is_dir():
        raise EncodeError(f"{name} {path} is a folder; give the name of a file in it")
    try:
        resolved = Path(os.path.realpath(path))  # of /dev/stdout that is no file's name where it is a pipe
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)  # of a relative one
        reason = "the folder that this runs in is gone" if gone else error.strerror or str(error)
        raise _unwritable(name, path, reason) from error
    if resolved.is_fifo() or resolved.is_socket():
        raise EncodeError(f"{name} {path} is a pipe or a socket; give the name of a file")
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if nearest != path and not nearest.is_dir():
        raise _unwritable(name, path, f"{nearest} is a file")
    if not os.access(nearest, os.W_OK if nearest == path else os.W_OK | os.X_OK):
        raise _unwritable(name, path, f"no permission to write {nearest}")


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8; what stdout or stderr goes to is gone on with, as /dev/stdout in a log that grows is.

    Raises:
        OSError: it cannot be written; where there is no room for it, a file that was there is as it was, and none is
            made.
    """
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        if _leads_to(path, number):
            if stream is not None and not stream.closed:
                stream.flush()
            break
    else:
        _write_all(path, text.encode("utf-8"))
        return
    with os.fdopen(os.dup(number), "w", encoding="utf-8") as going_on:
        going_on.write(text)


def _write_all(path: Path, content: bytes) -> None:
    """Into a file in place, which its other names and owners keep; the room is asked for before a byte is changed."""
    is_new = not path.exists()
    if not is_new and not path.is_file():  # a device
        path.write_bytes(content)
        return
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
        before = os.fstat(file.fileno()).st_size
        try:
            os.posix_fallocate(file.fileno(), 0, len(content))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENODEV, errno.EOPNOTSUPP):  # of a file system that has none
                file.truncate(before)
                if is_new:
                    path.unlink()
                raise
        file.write(content)
        file.truncate()


def write_stdout(text: str) -> None:
    """Write what the command was called for, unlike its messages.

    Raises:
        EncodeError: stdout is closed, full, or its reader has left.
    """
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        sys.stdout.write(text)
        getattr(sys.stdout, "flush", lambda: None)()  # a host program's own may have `write` alone
    except (OSError, ValueError) as error:  # the latter of one that its owner has closed
        raise EncodeError(f"stdout cannot be written ({first_line(error)}); give a file by --out") from error


def _leads_to(path: Path, number: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except OSError:
        return False


@contextmanager
def written(name: str, path: Path) -> Iterator[None]:
    """Make the folder of a file that is written within; for files that need not be whole or not at all.

    Raises:
        EncodeError: either failed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise _unwritable(name, path, error.strerror or str(error)) from error


def _unwritable(name: str, path: Path, reason: str) -> EncodeError:
    return EncodeError(f"{name} {path} cannot be written ({reason}); choose another --{name}")


def _same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:  # one is not there, yet or at all, or cannot be looked at: its reader or writer says so
        with suppress(OSError):  # nor the folder that they are relative to
            return os.path.realpath(first) == os.path.realpath(second)
        return False

"""What the commands have in common: an error is one line on stderr, with its exit code. Imports no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from gpu_lipsync.errors import ConfigError, LipSyncError, shortage
from gpu_lipsync.process.stopping import Stopped
from gpu_lipsync.progress import TolerantStream, one_line


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports errors in one line, as everything here does, and names itself as it was called."""

    def __init__(self, *, description: str | None, formatter_class: type[argparse.HelpFormatter]) -> None:
        module = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", "")
        super().__init__(
            prog=f"python -m {module}" if module.startswith("gpu_lipsync.") else None,  # else the file's own name
            description=description,
            formatter_class=formatter_class,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {one_line(message)}; --help lists the flags\n")


def require_seconds(max_seconds: float) -> None:
    """Raise ConfigError unless so much of a clip can be looked at."""
    if not 0 < max_seconds < 3600:
        raise ConfigError(f"max_seconds must be above 0 and below 3600, got {max_seconds:g}")


def exit_code_of(work: Callable[[], None]) -> int:
    """Do a command's work, which `stopping.Stops` may end.

    Returns:
        0, or the exit code of the LipSyncError's kind, or 128 and the number of the signal.
    """
    errors = TolerantStream(sys.stderr)
    try:
        try:
            with _lack_of_packages_named():
                work()
        except LipSyncError as error:
            errors.write(f"error: {one_line(error)}\n")
            return error.exit_code
    except Stopped as stopped:  # while that is told, too
        errors.write(f"{stopped}: nothing was written\n")
        return stopped.exit_code
    return 0


@contextmanager
def _lack_of_packages_named() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or "." in error.name:  # a module of ours, or a part of a package: a bug
            raise
        raise ConfigError(
            f"the package {error.name} is not installed for {sys.executable}; install this project there (pip install "
            "-c constraints.txt .), or use the .venv/bin/python that `make demo` makes"
        ) from error
    except ImportError as error:  # of the loader, which a limit of the process's leaves no room for a library
        if "failed to map segment" not in str(error) and "allocate memory" not in str(error):
            raise
        raise shortage("a library cannot be loaded", error) from error

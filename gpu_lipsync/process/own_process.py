"""What a process has to see to before and after a run of the command: descriptors, environment, folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from gpu_lipsync.errors import EncodeError
from gpu_lipsync.process.input_files import require_file

# Read as torch and NumPy load their libraries. Decoding and encoding run beside the network, and threads that spin at
# its barriers while those have their cores make a convolution several times slower. And what PyTorch would compile on a
# GPU when it first needs it wants a C compiler there, and seconds.
_AT_IMPORT = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1", "TORCH_DISABLE_NATIVE_JIT": "1"}


def fill_closed_descriptors() -> None:
    """Open what is closed of stdin, stdout and stderr."""
    # The next file opened would get the number that `2>&-` has set free, and what libraries print would go into it.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one


def flush() -> None:
    """Write out what waits for stdout and stderr."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError):  # closed, by the caller or a host program, or a host's that has no flush
            continue
        except OSError:  # its reader has left; the interpreter's own flush at the end would fail the program for that
            with suppress(OSError, AttributeError, ValueError):  # it is no file
                number = stream.fileno()
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)


@contextmanager
def threads_that_sleep() -> Iterator[None]:
    """Import torch and NumPy within; a host program's children are to find its environment as it was."""
    added = {name: value for name, value in _AT_IMPORT.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def leave_folder_that_is_gone(
    outputs: Mapping[str, str | Path | None], inputs: Mapping[str, str | Path] | None = None
) -> None:
    """Go elsewhere: oneMKL looks for its libraries from there, and a release may be taken away under its service.

    Args:
        outputs: what is to be written, by the names of the flags.
        inputs: what is to be read, likewise, unless that has been looked at.

    Raises:
        MediaError: something that is to be read is relative to it.
        EncodeError: something is to be written relative to it.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        for name, path in outputs.items():
            if path is not None and not Path(path).is_absolute():
                raise EncodeError(
                    f"{name} {path} cannot be written (the folder that this runs in is gone); give an absolute path"
                ) from error
        for name, path in (inputs or {}).items():
            require_file(path, name)  # else one of that name would be looked for elsewhere
        os.chdir("/")

"""Whether a file that is to be read can be, asked before any work. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gpu_lipsync.errors import CheckpointError, LipSyncError, MediaError, is_shortage, shortage

if TYPE_CHECKING:
    from gpu_lipsync.config import LipSyncConfig


def require_file(path: str | Path, role: str, *, error: type[LipSyncError] = MediaError) -> Path:
    """The path, if it is a file with something in it.

    Raises:
        MediaError: it is missing, a folder, a pipe, unreadable or empty; or another kind, as `error` says.
    """
    file = Path(path)
    try:
        if not file.exists():
            raise error(f"{role} file {file} does not exist; check the path")
        if not file.is_file():  # a pipe would have to be read three times over
            raise error(f"{role} {file} is not a regular file; give the path of one")
        with file.open("rb") as stream:
            if not stream.read(1):
                raise error(f"{role} file {file} is empty (0 bytes); export it again")
    except OSError as reason:
        if is_shortage(reason):
            raise shortage(f"{role} file {file} cannot be read", reason) from reason
        raise error(f"{role} file {file} cannot be read ({reason.strerror}); check its permissions") from reason
    return file


def require_inputs(config: LipSyncConfig) -> None:
    """Raise MediaError or CheckpointError unless face, sound and checkpoint are files with something in them."""
    require_file(config.face, "face")
    require_file(config.audio, "audio")
    require_file(config.checkpoint_path, "checkpoint", error=CheckpointError)

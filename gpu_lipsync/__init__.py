"""GPU-native lip-sync: a face, speech and a Wav2Lip checkpoint in, the same video with the mouth following the speech.

Importing this package costs nothing: the names below are loaded on first use, so that `--help`, a wrong flag or a
missing file are answered before torch is imported.
"""

import time

PROGRAM_START = time.perf_counter()  # from which the command counts: its caller waits for all imports too

# ruff: noqa: E402
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# `ops`, `models`, `blend_kernels` and `checkpoints` lie beside this folder in a checkout; an installed package has them
# inside it (pyproject.toml). With this line a bare checkout works as well.
if (Path(__file__).parent.parent / "pyproject.toml").is_file():
    __path__.append(str(Path(__file__).parent.parent))

if TYPE_CHECKING:
    from gpu_lipsync.config import LipSyncConfig
    from gpu_lipsync.pipeline import run
    from gpu_lipsync.report import Report

__version__ = "0.1.0"
__all__ = ["LipSyncConfig", "Report", "run"]

_HOMES = {"LipSyncConfig": "config", "Report": "report", "run": "pipeline"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

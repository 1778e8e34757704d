"""The command where nobody listens: closed streams, readers that have left, names that no encoding has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import tone, write_sound
from tests.places import DEMO, FACE, ROOT
from tests.probe import ffprobe


def command(folder: Path, out: str | bytes, *flags: str) -> list[str | bytes]:
    sound = write_sound(folder / "a.wav", tone(0.3))
    return [
        *(sys.executable, str(ROOT / "inference_fast.py"), "--checkpoint_path", str(DEMO)),
        *("--face", str(FACE), "--audio", str(sound), "--box", "100", "300", "100", "300"),
        *("--outfile", out, *flags),
    ]


def n_frames(path: Path) -> int:
    return int(ffprobe(path)["video"]["nb_read_frames"])


@pytest.mark.parametrize(("redirection", "flags"), [(">&- 2>&-", []), ("2>&-", ["--quiet"])])
def test_closed_streams(tmp_path: Path, redirection: str, flags: list[str]) -> None:
    out = tmp_path / "out.mp4"
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh"]
    assert subprocess.run([*shell, *command(tmp_path, str(out), *flags)], timeout=300).returncode == 0
    assert n_frames(out) == 5


def test_readers_that_have_left(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command(tmp_path, str(out)), stdout=writing, stderr=writing, timeout=300)
    finally:
        os.close(writing)
    assert done.returncode == 0
    assert n_frames(out) == 5


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    out = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command(tmp_path, out), capture_output=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert b"caf\\udce9.mp4: 5 frames" in done.stdout
    assert os.path.getsize(out) > 0


@pytest.mark.parametrize(("name", "code"), [("out.mp4", 0), ("../out.mp4", 6)])
def test_the_folder_that_it_runs_in_is_gone(tmp_path: Path, name: str, code: int) -> None:
    """A release that was taken away under a service; what is named absolutely does not need it."""
    out = str(tmp_path / name) if code == 0 else name
    (tmp_path / "release").mkdir()
    shell = ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(tmp_path / "release")]
    done = subprocess.run([*shell, *command(tmp_path, out)], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    if code == 0:
        assert n_frames(tmp_path / name) == 5
    else:
        assert done.stderr == f"error: outfile {name} cannot be written (the folder that this runs in is gone); give an absolute path\n"  # fmt: skip # noqa: E501


def test_a_file_does_not_get_the_number_of_a_closed_stream() -> None:
    # What a library prints to stderr would go into the file.
    script = """
import os, sys
from gpu_lipsync.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
os.write(1, str(os.open(os.devnull, os.O_RDONLY)).encode())
"""
    shell = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    done = subprocess.run([*shell, sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert int(done.stdout.splitlines()[-1].rsplit(" ", 1)[-1]) > 2

"""What the command sees to in its process: streams whose readers have left, and a folder that is gone."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gpu_lipsync import cli, compare, evaluate
from gpu_lipsync.errors import EncodeError, MediaError
from gpu_lipsync.process.own_process import flush, leave_folder_that_is_gone
from tests.places import DEMO, FACE, SPEECH


@pytest.mark.parametrize("name", ["outfile", "report"])
def test_nothing_can_be_written_relative_to_a_folder_that_is_gone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before the work; where all is named absolutely the run goes on from elsewhere."""
    folder = tmp_path / "release"
    folder.mkdir()
    monkeypatch.chdir(folder)
    absolute = {"outfile": tmp_path / "out.mp4", "report": None}
    folder.rmdir()
    told = rf"{name} a\.mp4 cannot be written \(the folder that this runs in is gone\); give an absolute path"
    with pytest.raises(EncodeError, match=told):
        leave_folder_that_is_gone(absolute | {name: "a.mp4"})
    leave_folder_that_is_gone(absolute)
    assert Path.cwd() == Path("/")


def test_nothing_is_read_relative_to_it_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another file of that name would be, from where the run goes on."""
    folder = tmp_path / "release"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    elsewhere = str(FACE).removeprefix("/")  # as it is found from there
    with pytest.raises(MediaError, match=f"face file {elsewhere} does not exist"):
        leave_folder_that_is_gone({}, {"face": elsewhere})


@pytest.mark.parametrize(
    ("command", "flag"),
    [(cli, "report"), (compare, "outfile"), (evaluate, "out"), (evaluate, "picture")],
    ids=lambda value: value if isinstance(value, str) else value.__name__.rpartition(".")[2],
)
def test_every_command_says_so_in_one_line(
    command: ModuleType,
    flag: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    inputs = {"checkpoint_path": DEMO, "face": FACE, "audio": SPEECH}
    line = [word for name, path in inputs.items() for word in (f"--{name}", str(path))]
    try:
        code = command.main([*line, f"--{flag}", "a.png", *(["--outfile", "/a.mp4"] if command is cli else [])])
    finally:
        os.chdir("/")
    said = f"error: {flag} a.png cannot be written (the folder that this runs in is gone); choose another --{flag}\n"
    assert (code, capsys.readouterr().err) == (6, said)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_whose_reader_has_left_fails_nobody_later(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the interpreter, which flushes it once more at its end."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        stream.write("for nobody")
        monkeypatch.setattr(sys, name, stream)
        flush()
        stream.flush()
        assert os.path.samestat(os.fstat(writing), os.stat(os.devnull))

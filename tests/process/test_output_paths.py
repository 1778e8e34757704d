"""Files to write: which are refused before the work, and how one is written that a stream of ours goes to as well."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_lipsync.errors import EncodeError
from gpu_lipsync.process.output_paths import require_writable, write_text
from tests.places import ROOT

WRITING_BETWEEN = """
import sys
from pathlib import Path
from gpu_lipsync.process.output_paths import write_text
sys.{stream}.write("before, ")
write_text(Path("/dev/{stream}"), "a report, ")
sys.{stream}.write("after")
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_log_goes_on_in_order_where_a_report_is_written_into_it(stream: str, tmp_path: Path) -> None:
    """Opened by the name of the stream it would be emptied; and what a stream still holds was said before."""
    log = tmp_path / "service.log"
    log.write_text("yesterday, ")
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # which holds nothing
    with log.open("a") as goes_to:
        program = [sys.executable, "-c", WRITING_BETWEEN.format(stream=stream)]
        subprocess.run(program, cwd=ROOT, env=usual, check=True, **{stream: goes_to})  # type: ignore[call-overload]
    assert log.read_text() == "yesterday, before, a report, after"


@pytest.mark.parametrize("there", [False, True])
def test_a_report_that_finds_no_room_loses_nothing_and_leaves_nothing(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    if there:
        path.write_text("the last run's")

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "this run's, which is longer")
    assert [file.read_text() for file in tmp_path.iterdir()] == (["the last run's"] if there else [])


@pytest.mark.parametrize("before", [None, "", "much longer than what comes", "x"])
def test_a_report_is_written_over_the_one_before(before: str | None, tmp_path: Path) -> None:
    """In place: its other names show the new one, too."""
    path, other = tmp_path / "report.json", tmp_path / "latest.json"
    if before is not None:
        path.write_text(before)
        os.link(path, other)
    write_text(path, "über")
    assert path.read_text(encoding="utf-8") == "über"
    assert before is None or other.read_text(encoding="utf-8") == "über"
    write_text(Path(os.devnull), "über")


def test_a_pipe_or_a_socket_with_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which a run would wait for at its end, till somebody reads it; one cannot be opened at all."""
    monkeypatch.chdir(tmp_path)  # a socket's name may have a hundred characters, which pytest's folders take up
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name in ("pipe", "socket"):
            with pytest.raises(EncodeError, match=rf"report {name} is a pipe or a socket; give the name of a file"):
                require_writable("report", Path(name))


def test_a_folder_that_may_be_written_but_not_entered_takes_no_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the system answers for mode 0200: as root, who enters any folder, it cannot be tried."""
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.X_OK)
    with pytest.raises(EncodeError, match=rf"no permission to write {tmp_path}\)"):
        require_writable("report", tmp_path / "new.json")
    (tmp_path / "old.json").touch()
    require_writable("report", tmp_path / "old.json")  # a file need not be one to run

"""Where words go: a host program's own streams, and a stdout that takes nothing."""

import json
import sys
from io import StringIO
from pathlib import Path

import pytest

from gpu_lipsync import evaluate
from gpu_lipsync.errors import EncodeError
from gpu_lipsync.process.output_paths import write_stdout
from gpu_lipsync.process.own_process import flush
from gpu_lipsync.progress import Console, TolerantStream

GIVEN = ["--checkpoint_path", "w.pth", "--face", "a.mp4"]


class Logger:
    """What many programs put in stderr's place: it has `write` alone."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


class Broken(Logger):
    """Takes nothing, and is no file."""

    def flush(self) -> None:
        raise OSError("its reader has left")


def test_a_stream_that_only_writes_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = Logger()
    monkeypatch.setattr(sys, "stderr", logger)
    console = Console()
    console.begin(5)
    console.advance(5)
    console.end()
    assert logger.text.startswith("lip-sync: 5/5 frames")


@pytest.mark.parametrize("stream", [None, Logger(), Broken()], ids=["none", "write alone", "no file"])
def test_what_cannot_be_flushed_is_left_alone(stream: Logger | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    flush()
    TolerantStream(stream).flush()  # type: ignore[arg-type]


def test_figures_that_stdout_does_not_take_are_not_lost_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are what the command is for, unlike its messages."""
    monkeypatch.setattr("gpu_lipsync.judging.evaluation.evaluate", lambda *_, **__: {"bars": {}})
    monkeypatch.setattr("gpu_lipsync.judging.talking_clip.read_clip", lambda *_, **__: None)
    monkeypatch.setattr("gpu_lipsync.models.load_wav2lip", lambda *_: None)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert evaluate.main(GIVEN) == EncodeError.exit_code
        flush()  # as the command does at its end: the interpreter's own would fail
        full.close()
    assert capsys.readouterr().err == (
        "error: stdout cannot be written (No space left on device); give a file by --out\n"
    )


def test_a_stdout_that_is_closed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(EncodeError, match="stdout cannot be written .*--out"):
        write_stdout("{}\n")


@pytest.mark.parametrize("closed", [False, True])
def test_a_host_s_stdout_needs_no_more_than_write(closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Logger()
    monkeypatch.setattr(sys, "stdout", stream)
    if closed:
        monkeypatch.setattr(sys, "stdout", StringIO())
        sys.stdout.close()
        with pytest.raises(EncodeError, match=r"stdout cannot be written \(I/O operation on closed file\)"):
            write_stdout("{}\n")
    else:
        write_stdout("{}\n")
        assert stream.text == "{}\n"


def test_what_stdout_takes_is_there_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out.json").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        write_stdout('{"bars": {}}\n')
        assert json.loads((tmp_path / "out.json").read_text()) == {"bars": {}}

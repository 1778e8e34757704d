"""What the commands that look and judge answer: one line, as inference_fast.py does (test_cli.py, test_stopping.py)."""

import json
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from gpu_lipsync import compare, evaluate

NEEDED = {
    compare: ["--checkpoint_path", "w.pth", "--face", "a.mp4", "--audio", "a.wav"],
    evaluate: ["--checkpoint_path", "w.pth", "--face", "a.mp4"],
}
COMMANDS = pytest.mark.parametrize("command", [compare, evaluate], ids=["compare", "evaluate"])


@COMMANDS
@pytest.mark.parametrize(
    "flags",
    [["--no_such_flag"], ["--device", "tpu"], *(["--max_seconds", value] for value in ("soon", "0", "3600", "inf"))],
    ids=" ".join,
)
def test_what_they_do_not_understand_is_answered_in_one_line(
    command: ModuleType, flags: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (compare, evaluate):  # the files are not what this is about
        for name in ("require_file", "require_apart", "require_writable"):
            monkeypatch.setattr(module, name, lambda *_: None, raising=False)
    try:
        code = command.main([*NEEDED[command], *flags])
    except SystemExit as end:  # argparse's way
        code = end.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert flags[-1] in err


@pytest.mark.usefixtures("usual_handlers")
@COMMANDS
@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_ends_them_in_one_line(
    command: ModuleType,
    number: signal.Signals,
    word: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr(command, "_run", lambda *_, **__: signal.raise_signal(number))
    assert command.main(NEEDED[command]) == 128 + number
    assert capsys.readouterr().err == f"{word}: nothing was written\n"
    assert signal.getsignal(number) is before


def about_to_write_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `evaluate` does before at no cost."""

    def judged(*_: object, settle: Callable[[], None]) -> dict[str, object]:
        settle()
        signal.raise_signal(signal.SIGTERM)
        return {"bars": {}}

    monkeypatch.setattr("gpu_lipsync.judging.evaluation.evaluate", judged)
    monkeypatch.setattr("gpu_lipsync.judging.talking_clip.read_clip", lambda *_, **__: None)


def about_to_write_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `compare` does before at no cost."""
    monkeypatch.setattr(compare, "require_file", lambda *_: None)
    monkeypatch.setattr("gpu_lipsync.video.open_video", lambda *_: nullcontext(SimpleNamespace(fps=25)))
    monkeypatch.setattr("gpu_lipsync.models.load_face_detector", lambda *_: None)
    monkeypatch.setattr("gpu_lipsync.audio.load_audio", lambda *_: [])
    monkeypatch.setattr("gpu_lipsync.audio.mel_windows", lambda *_: None)
    monkeypatch.setattr("gpu_lipsync.judging.comparison.compare", lambda *_, **__: None)
    monkeypatch.setattr("gpu_lipsync.judging.compare_page.page", lambda *_: '{"bars": {}}')


@pytest.mark.usefixtures("usual_handlers")
@pytest.mark.parametrize(
    ("command", "flag", "prepare"),
    [(compare, "--outfile", about_to_write_a_page), (evaluate, "--out", about_to_write_scores)],
    ids=["compare", "evaluate"],
)
def test_a_signal_comes_too_late_once_something_is_written(
    command: ModuleType,
    flag: str,
    prepare: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not even half of it, and nobody is told that there is nothing."""
    written = command.written

    def disturbed(name: str, path: Path) -> AbstractContextManager[None]:
        signal.raise_signal(signal.SIGTERM)
        return written(name, path)

    prepare(monkeypatch)
    monkeypatch.setattr(command, "written", disturbed)
    monkeypatch.setattr("gpu_lipsync.models.load_wav2lip", lambda *_: None)
    out = tmp_path / "out.json"
    assert command.main([*NEEDED[command], flag, str(out)]) == 0
    assert json.loads(out.read_text())["bars"] == {} and capsys.readouterr().err == ""
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("role", ["checkpoint_path", "face", "audio"])
def test_a_page_over_what_it_is_made_of_is_refused(
    role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / name for name in ("checkpoint_path", "face", "audio")}
    for path in files.values():
        path.write_bytes(b"precious")
    flags = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert compare.main([*flags, "--outfile", str(files[role])]) == 2
    assert f"outfile {files[role]} and {role} are the same file" in capsys.readouterr().err
    assert [path.read_bytes() for path in files.values()] == [b"precious"] * 3

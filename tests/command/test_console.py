"""What is said on stderr: in lines by a clock that is set, or in a bar on a terminal; and where it is closed."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_lipsync.progress import Console, TolerantStream, one_line


def test_it_tells_how_far_it_is_how_fast_and_how_long_it_will_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every five seconds, and at the end however soon that is."""
    clock = iter([0.0, 4.0, 6.0, 8.0])
    monkeypatch.setattr("gpu_lipsync.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    console = Console()
    console.begin(100)
    for n_frames in (20, 40, 40):
        console.advance(n_frames)
    assert capsys.readouterr() == (
        "",
        "lip-sync: 60/100 frames, 10.0 frames/s, 4 s left\nlip-sync: 100/100 frames, 12.5 frames/s, 0 s left\n",
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_run_that_begins_again_has_a_bar_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is closed, or the two would draw over each other."""
    bars: list[Any] = []

    class Bar:
        _lock = None

        def __init__(self, *, total: int, **_: object) -> None:
            self.total, self.closed = total, False
            bars.append(self)

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr("tqdm.tqdm", Bar)
    monkeypatch.setattr(sys, "stderr", Terminal())
    console = Console()
    for n_frames in (10, 12):
        console.begin(n_frames)
    assert [(bar.total, bar.closed) for bar in bars] == [(10, True), (12, False)]
    console.end()
    assert bars[1].closed


def test_nothing_is_said_to_a_stream_that_is_closed(tmp_path: Path) -> None:
    """By a host program, while its run goes on."""
    with (tmp_path / "log").open("w") as closed:
        stream = TolerantStream(closed)
    stream.write("for nobody\n")
    stream.flush()
    assert not stream.isatty()


def test_whatever_ends_a_line_somewhere_is_escaped() -> None:
    """All at which Python's own splitlines() does."""
    ends = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
    assert len(f"a{'a'.join(ends)}a".splitlines()) == len(ends) + 1
    assert one_line(f"café{ends}") == r"café\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"

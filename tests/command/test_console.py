"""What is said on stderr where that is no terminal, by a clock that is set."""

from types import SimpleNamespace

import pytest

from gpu_lipsync.progress import Console


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

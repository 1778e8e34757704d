"""The command with bad input: one line, its exit code, and nothing lost or left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.clips import tone, write_clip, write_sound
from tests.places import FACE, SPEECH

Breakage = Callable[[Path, Path], dict[str, object]]


def broken(name: str, content: bytes) -> Breakage:
    def make(folder: Path, _: Path) -> dict[str, object]:
        path = folder / name
        path.write_bytes(content)
        return {{"f": "face", "a": "audio", "c": "checkpoint_path"}[name[0]]: path}

    return make


def faceless(folder: Path, _: Path) -> dict[str, object]:
    return {"face": write_clip(folder / "grey.mp4")}


def other_network(folder: Path, _: Path) -> dict[str, object]:
    torch.save({"state_dict": torch.nn.Linear(3, 3).state_dict()}, folder / "linear.pth")
    return {"checkpoint_path": folder / "linear.pth"}


def truncated_checkpoint(folder: Path, checkpoint: Path) -> dict[str, object]:
    (folder / "cut.pth").write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    return {"checkpoint_path": folder / "cut.pth"}


def unwritable(folder: Path, _: Path) -> dict[str, object]:
    (folder / "plain").touch()
    return {"outfile": folder / "plain" / "out.mp4"}


def mute(folder: Path, _: Path) -> dict[str, object]:
    return {"audio": write_clip(folder / "mute.mp4")}


BAD: list[tuple[int, Breakage]] = [
    (3, lambda folder, _: {"face": folder / "missing.mp4"}),
    (3, lambda folder, _: {"audio": folder / "missing.wav"}),
    (5, lambda folder, _: {"checkpoint_path": folder / "missing.pth"}),
    (3, broken("f.mp4", b"")),
    (3, broken("f.mp4", b"no video at all\n" * 99)),
    (3, broken("a.wav", b"no sound at all\n" * 99)),
    (3, lambda folder, _: {"face": write_sound(folder / "sound.wav", tone(1.0))}),
    (3, mute),
    (4, faceless),
    (4, lambda *_: {"box": "4000 5000 4000 5000"}),
    (5, broken("c.pth", b"not a checkpoint" * 99)),
    (5, other_network),
    (5, truncated_checkpoint),
    (6, unwritable),
    (2, lambda *_: {"device": "cuda:77"}),
]


@pytest.mark.parametrize(("exit_code", "make"), BAD)
def test_bad_input_ends_with_one_line_and_its_code(
    checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], exit_code: int, make: Breakage
) -> None:
    # In this process: sixteen times torch's start would be a minute. The subprocess tests cover the way out.
    from gpu_lipsync.cli import main

    target = tmp_path / "out" / "out.mp4"
    target.parent.mkdir()
    target.write_bytes(b"an earlier result")
    inputs = tmp_path / "in"
    inputs.mkdir()
    settings: dict[str, object] = {"checkpoint_path": checkpoint, "face": FACE, "audio": SPEECH, "outfile": target}
    changed = make(inputs, checkpoint)
    flags = [word for k, v in (settings | changed).items() for word in (f"--{k}", *str(v).split(" "))]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(flags) == exit_code
    lines = capfd.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    value = next(iter(changed.values()))
    assert str(value) in errors[0] or Path(str(value)).name in errors[0] or str(value).split()[0] in errors[0]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_no_memory_for_detection_is_no_bug(
    checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu_lipsync.cli import main

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("gpu_lipsync.models.CenterFace.candidates", full)
    flags = ["--checkpoint_path", checkpoint, "--face", FACE, "--audio", SPEECH, "--outfile", tmp_path / "o.mp4"]
    assert main([str(flag) for flag in flags]) == 7
    assert "--resize_factor" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []

"""What a program that calls `run` does beside it: end its main thread, fork, look on, go elsewhere, replace a file."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gpu_lipsync import run
from gpu_lipsync.cli import main
from gpu_lipsync.config import LipSyncConfig
from gpu_lipsync.errors import ConfigError
from gpu_lipsync.models import load_wav2lip
from gpu_lipsync.progress import Silent
from tests.clips import tone, write_sound
from tests.generators import trained_like
from tests.places import FACE, ROOT

AFTER_THE_MAIN_THREAD = """
import threading, time, torch
from gpu_lipsync.process.cores import map_on_cores
torch.set_num_threads(2)
def work():
    threading.main_thread().join()
    print(map_on_cores(abs, [-1, -2, -3]))
threading.Thread(target=work).start()
"""
A_FORK_DURING_A_RUN = """
import os, signal, threading, torch
from gpu_lipsync.process.cores import _borrowing, cores_given_back, use_one_core
torch.set_num_threads(2)
begun, ended = threading.Event(), threading.Event()
def new_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
def other_run():
    with cores_given_back():
        new_thread(use_one_core)
        with _borrowing:
            begun.set()
            ended.wait()
threading.Thread(target=other_run).start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(200)  # told_by waits for longer, and hears of it
    with cores_given_back():
        pass
    new_thread(lambda: print(torch.get_num_threads(), flush=True))
    os._exit(0)
_, status = os.waitpid(child, 0)
ended.set()
raise SystemExit(status)
"""


@pytest.fixture
def config(tmp_path: Path) -> LipSyncConfig:
    sound = write_sound(tmp_path / "speech.wav", tone(0.4))
    checkpoint = ROOT / "checkpoints" / "demo.safetensors"
    return LipSyncConfig(face=FACE, audio=sound, checkpoint_path=checkpoint, outfile=tmp_path / "out.mp4")


def told_by(script: str) -> str:
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_work_goes_on_once_the_main_thread_has_ended() -> None:
    assert told_by(AFTER_THE_MAIN_THREAD) == "[1, 2, 3]"


def test_a_child_forked_during_a_run_has_nobody_s_cores_and_no_lock_of_its_parent() -> None:
    assert told_by(A_FORK_DURING_A_RUN) == "2"


class Failing(Silent):
    """Fails as its own connections do."""

    def __init__(self, error: Exception) -> None:
        self.error, self.calls = error, list[str]()

    def begin(self, n_frames: int) -> None:
        self.calls.append("begin")

    def advance(self, n_frames: int) -> None:
        raise self.error

    def end(self) -> None:
        self.calls.append("end")


@pytest.mark.parametrize(
    "error", [BlockingIOError(errno.EAGAIN, "pipe full"), RuntimeError("OOM: out of memory"), ConfigError("mine")]
)
def test_what_an_observer_raises_is_its_own(config: LipSyncConfig, error: Exception) -> None:
    """And no lack of memory, for which a run begins again; the observer is told of the end, and nothing is left."""
    observer = Failing(error)
    with pytest.raises(type(error)) as raised:
        run(config, observer)
    assert raised.value is error and observer.calls == ["begin", "end"]
    assert sorted(path.name for path in Path(config.outfile).parent.iterdir()) == ["speech.wav"]


class Settled(Silent):
    """Looks at the folder of the output when it is told that this is about to be put in its place."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, list[dict[str, bytes]]()

    def settle(self) -> None:
        self.seen.append({path.name: path.read_bytes() for path in self.folder.iterdir()})


def test_an_observer_is_told_once_that_the_output_is_complete(config: LipSyncConfig, tmp_path: Path) -> None:
    """While it can still be called off: what was there before is there, and what goes in its place beside it."""
    out = tmp_path / "results" / "out.mp4"
    out.parent.mkdir()
    out.write_bytes(b"an earlier result")
    observer = Settled(out.parent)
    run(replace(config, outfile=out), observer)
    (seen,) = observer.seen
    assert seen.pop("out.mp4") == b"an earlier result" and list(seen.values()) == [out.read_bytes()]


@pytest.mark.parametrize("name", ["face", "audio", "checkpoint_path", "outfile", "report"])
def test_no_path_has_a_nul_character(config: LipSyncConfig, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a path that files can have: no NUL, and valid Unicode, got"):
        replace(config, **{name: "a\0b.mp4"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("face", None),
        ("outfile", None),
        ("report", 0),
        ("checkpoint_path", 3.5),
        ("audio", b"a.wav"),
        ("audio", "\ud800.wav"),  # JSON may hold it, and no file's name can
        ("device", None),
        ("smooth_mode", ["mean"]),
        ("blend_method", 7),
    ],
)
def test_nothing_but_its_own_error_leaves_a_config(config: LipSyncConfig, name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be "):
        replace(config, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "accepted"),
    [
        ({"static": "False"}, "True or False, got 'False'"),
        ({"resize_factor": 1.5}, "a whole number, got 1.5"),
        ({"resize_factor": True}, "a whole number, got True"),
        ({"fps": "30"}, "a number, got '30'"),
        ({"crf": None}, "a whole number, got None"),
        ({"sharpen_amount": False}, "a number, got False"),
        ({"pads": (0, 10, 0)}, "four whole numbers, top bottom left right, got 0 10 0"),
        ({"crop": (0, 0.5, 0, -1)}, "four whole numbers, top bottom left right, got 0 0.5 0 -1"),
        ({"box": 16}, "four whole numbers, top bottom left right, got 16"),
    ],
)
def test_values_of_another_kind_are_refused(config: LipSyncConfig, wrong: dict[str, Any], accepted: str) -> None:
    """What a command line cannot give: "False" would be true."""
    (name,) = wrong
    with pytest.raises(ConfigError) as refused:
        replace(config, **wrong)
    assert str(refused.value) == f"{name} must be {accepted}"


def test_numbers_of_other_libraries_are_numbers(config: LipSyncConfig) -> None:
    other = replace(config, fps=np.float32(30), resize_factor=np.int64(2), crop=[0, -1, 0, np.int32(-1)])  # type: ignore[arg-type]
    assert (other.frames.fps, other.frames.resize_factor) == (30, 2)


class Elsewhere(Silent):
    """Changes the folder while a run goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, n_frames: int) -> None:
        os.chdir(self.folder)


def test_the_report_lies_where_it_was_asked_for(
    config: LipSyncConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    run(replace(config, report="report.json"), Elsewhere(tmp_path / "other"))
    assert json.loads((tmp_path / "report.json").read_text())["n_frames"] > 0


def test_a_command_in_a_host_s_process_counts_its_own_time(
    config: LipSyncConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_lipsync.cli.PROGRAM_START", -1e9)  # the import, however long ago
    arguments = [f"--{name}={getattr(config, name)}" for name in ("face", "audio", "checkpoint_path", "outfile")]
    report = tmp_path / "report.json"
    assert main([*arguments, f"--report={report}", "--quiet"]) == 0
    assert json.loads(report.read_text())["total_seconds"] < 1e9


def test_a_command_in_its_own_process_counts_from_the_program_s_start(config: LipSyncConfig, tmp_path: Path) -> None:
    arguments = [f"--{name}={getattr(config, name)}" for name in ("face", "audio", "checkpoint_path", "outfile")]
    arguments += [f"--report={tmp_path / 'report.json'}", "--quiet"]
    told_by(
        "import gpu_lipsync; gpu_lipsync.PROGRAM_START -= 1000; from gpu_lipsync.cli import main; "
        f"assert main({arguments!r}, own_process=True) == 0"
    )
    assert json.loads((tmp_path / "report.json").read_text())["total_seconds"] > 1000


def test_weights_are_their_own_once_they_are_read(tmp_path: Path) -> None:
    """Where the file stays mapped, whoever copies another one over it changes them, or ends the process."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not say what is mapped")
    path = tmp_path / "live.safetensors"
    save_file({name: tensor.float() for name, tensor in trained_like().state_dict().items()}, path)
    generator = load_wav2lip(path)
    before = [tensor.clone() for tensor in generator.parameters()]
    assert str(path) not in maps.read_text()
    path.write_bytes(b"\0" * path.stat().st_size)
    assert all(torch.equal(*pair) for pair in zip(generator.parameters(), before, strict=True))

"""A process that runs all day: what runs leave behind in it, and how they get along."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gpu_lipsync.encoding.writer
import gpu_lipsync.pipeline
from gpu_lipsync import run
from gpu_lipsync.cli import main
from gpu_lipsync.config import LipSyncConfig
from gpu_lipsync.errors import EncodeError, FaceNotFoundError, LipSyncError
from gpu_lipsync.process.cores import use_one_core
from gpu_lipsync.process.own_process import threads_that_sleep
from tests.clips import tone, write_clip, write_sound
from tests.places import FACE


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def settings(tmp_path: Path, checkpoint: Path, **others: object) -> dict[str, Any]:
    sound = write_sound(tmp_path / "speech.wav", tone(0.8))  # 17 frames: a batch of 16, and another
    given = {"face": FACE, "audio": sound, "checkpoint_path": checkpoint, "outfile": tmp_path / "out.mp4"}
    return {key: value if key.endswith("batch_size") else str(value) for key, value in (given | others).items()}


def in_thread(work: Callable[[], object]) -> Any:
    """What `work` returns in a thread that has never used PyTorch."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def no_face(tmp_path: Path) -> dict[str, object]:
    return {"face": write_clip(tmp_path / "empty.mp4", n_frames=30)}


@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize("error", [None, FaceNotFoundError, EncodeError, RuntimeError], ids=str)
def test_nothing_of_a_run_outlives_it(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None
) -> None:
    """Without Python's collector of circles, which looks through what is old once in dozens of runs."""
    made: list[weakref.ref[Any]] = []

    def noticed(build: Callable[..., Any]) -> Callable[..., Any]:
        def building(*args: Any, **kwargs: Any) -> Any:
            built = build(*args, **kwargs)
            made.append(weakref.ref(built))
            return built

        return building

    for module, name in (
        (gpu_lipsync.pipeline, "load_generator"),
        (gpu_lipsync.pipeline, "load_detector"),
        (gpu_lipsync.pipeline, "FaceTracker"),
        (gpu_lipsync.encoding.writer, "open_backend"),
    ):
        monkeypatch.setattr(module, name, noticed(getattr(module, name)))

    def failing(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device") if error is EncodeError else RuntimeError("a bug")

    if error is EncodeError:
        monkeypatch.setattr("gpu_lipsync.encoding.encoders.PyavBackend.write", failing)
    elif error is RuntimeError:
        monkeypatch.setattr("gpu_lipsync.models.CenterFace.candidates", failing)
    others = no_face(tmp_path) if error is FaceNotFoundError else {}
    config = LipSyncConfig(**settings(tmp_path, checkpoint, **others))
    caught = None
    try:
        run(config)
    except (LipSyncError, RuntimeError) as raised:
        caught = type(raised)
    assert caught is error
    assert len(made) == 4
    assert [reference() for reference in made] == [None] * 4


def test_threads_that_come_later_have_all_cores(checkpoint: Path, tmp_path: Path, three_threads: int) -> None:
    first, second = (in_thread(lambda: run(LipSyncConfig(**settings(tmp_path, checkpoint)))) for _ in range(2))
    assert first.device == second.device
    if first.device.startswith("cpu"):
        assert first.device == f"cpu ({three_threads} threads)"
    assert in_thread(torch.get_num_threads) == torch.get_num_threads() == three_threads


def test_one_core_stays_one_whatever_others_get(three_threads: int) -> None:
    """A thread that decodes its first frames while another run sets the process's number."""

    def kept() -> int:
        use_one_core()
        in_thread(lambda: torch.set_num_threads(three_threads))
        return torch.get_num_threads()

    assert in_thread(kept) == 1


def test_two_runs_at_once_do_as_they_do_alone(checkpoint: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.mp4"
    run(LipSyncConfig(**settings(tmp_path, checkpoint, outfile=alone), device="cpu"))  # whose sums have one order
    configs = [
        LipSyncConfig(**settings(tmp_path, checkpoint, outfile=tmp_path / f"{i}.mp4"), device="cpu") for i in range(2)
    ]
    threads = [threading.Thread(target=run, args=(config,)) for config in configs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for config in configs:
        assert Path(config.outfile).read_bytes() == alone.read_bytes()


def test_a_host_program_s_default_dtype_is_its_own_affair(checkpoint: Path, tmp_path: Path) -> None:
    """A model beside us that is loaded in bfloat16: the default is the process's, and constants are kept for good."""
    speech = np.concatenate([tone(0.4, 22050), 0 * tone(0.4, 22050)], axis=1)  # two batches, a pause to gate
    sound = write_sound(tmp_path / "speech.wav", speech, rate=22050)
    given = {"face": str(FACE), "audio": str(sound), "checkpoint_path": str(checkpoint), "device": "cpu"}
    ways: list[dict[str, Any]] = [{"blend_method": method} for method in ("ellipse", "multiscale", "guided", "hd")]
    ways.append({"silence_gating": True, "sharpen_mouth": True})
    # Each in a process of its own: how work is split among threads, which other tests may change, shows in last bits.
    for name, dtype in (("beside", torch.bfloat16), ("alone", torch.float32)):
        program = f"""
import torch
from gpu_lipsync import run
from gpu_lipsync.config import LipSyncConfig
torch.set_default_dtype({dtype})
for i, way in enumerate({ways!r}):
    run(LipSyncConfig(**{given!r}, **way, outfile=f"{tmp_path}/{name}_{{i}}.mp4"))
assert torch.get_default_dtype() == {dtype}
"""
        subprocess.run([sys.executable, "-c", program], check=True)
    for i, way in enumerate(ways):
        assert (tmp_path / f"beside_{i}.mp4").read_bytes() == (tmp_path / f"alone_{i}.mp4").read_bytes(), way


def test_a_host_program_s_modes_are_its_own_affair(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("alone", "beside"):
        config = LipSyncConfig(**settings(tmp_path, checkpoint, outfile=tmp_path / f"{name}.mp4", device="cpu"))
        if name == "alone":
            run(config)
        else:
            with torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
                run(config)
    assert (tmp_path / "beside.mp4").read_bytes() == (tmp_path / "alone.mp4").read_bytes()


def test_the_command_runs_in_any_thread_and_leaves_the_process_as_it_was(checkpoint: Path, tmp_path: Path) -> None:
    flags = [word for key, value in settings(tmp_path, checkpoint).items() for word in (f"--{key}", str(value))]
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    frozen, collecting = gc.get_freeze_count(), gc.isenabled()
    assert in_thread(lambda: main([*flags, "--quiet"])) == main([*flags, "--quiet"]) == 0
    assert [signal.getsignal(number) for number in numbers] == before
    assert (gc.get_freeze_count(), gc.isenabled()) == (frozen, collecting)


def test_the_report_is_written_for_a_program_too(checkpoint: Path, tmp_path: Path) -> None:
    report = run(LipSyncConfig(**settings(tmp_path, checkpoint, report=tmp_path / "facts" / "r.json")))
    written = json.loads((tmp_path / "facts" / "r.json").read_text())
    assert written["n_frames"] == report.n_frames and written["total_seconds"] == report.total_seconds


def test_a_forked_child_has_threads_of_its_own() -> None:
    """As a server's that ran once before it forked its workers."""
    program = """
import os, signal, torch
from gpu_lipsync.process.cores import map_on_cores
torch.set_num_threads(2)
assert map_on_cores(abs, [-1, -2, -3]) == [1, 2, 3]
child = os.fork()
if child == 0:
    signal.alarm(300)
    os._exit(0 if map_on_cores(abs, [-4, -5]) == [4, 5] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_a_child_forked_after_a_run_runs_too(checkpoint: Path, tmp_path: Path) -> None:
    """OpenMP's threads stay behind in the parent; the child would wait for them for ever."""
    given = settings(tmp_path, checkpoint)
    program = f"""
import os, signal, torch
from gpu_lipsync import run
from gpu_lipsync.config import LipSyncConfig
torch.set_num_threads(2)
n_frames = run(LipSyncConfig(**{given!r})).n_frames
child = os.fork()
if child == 0:
    signal.alarm(300)
    os._exit(0 if run(LipSyncConfig(**{given!r})).n_frames == n_frames else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # which no fork survives, whatever we do
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "0"


def test_the_command_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    before = dict(os.environ)
    with threads_that_sleep():
        assert os.environ["OPENBLAS_NUM_THREADS"] == "1" and os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert dict(os.environ) == before

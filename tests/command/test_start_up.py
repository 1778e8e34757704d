"""How the command imports PyTorch: with threads that sleep, all of it or nothing, without what only compilers need."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_lipsync.entry import command
from tests.clips import tone, write_sound
from tests.places import DEMO, FACE, ROOT

AT_IMPORT = ("OMP_WAIT_POLICY", "TORCH_DISABLE_NATIVE_JIT")
# Runs the command; `at_import` as it comes to import torch, `at_end` once it is through.
PROGRAM = """
import gc, os, signal, sys

class AtImport:
    def find_spec(self, name, *_):
        if name == "torch":
            sys.meta_path.remove(self)
            {at_import}

def leave(code):
    {at_end}
    sys.stdout.flush()
    leave_at_once(code)

leave_at_once, os._exit = os._exit, leave
sys.meta_path.insert(0, AtImport())
sys.argv = {argv!r}
from gpu_lipsync.entry import command
command()
"""


def ran(folder: Path, *, at_import: str = "pass", at_end: str = "pass") -> subprocess.CompletedProcess[str]:
    sound = write_sound(folder / "a.wav", tone(0.3))
    argv = ["inference_fast.py", "--checkpoint_path", DEMO, "--face", FACE, "--audio", sound]
    argv += ["--outfile", folder / "out.mp4", "--quiet", "--device", "cpu"]
    program = PROGRAM.format(argv=[*map(str, argv)], at_import=at_import, at_end=at_end)
    usual = {name: value for name, value in os.environ.items() if name not in (*AT_IMPORT, "PYTHONSAFEPATH")}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=300, env=usual, check=False
    )


def test_threads_sleep_and_compilers_stay_away(tmp_path: Path) -> None:
    seen = ran(
        tmp_path,
        at_import=f"print(*map(os.environ.get, {AT_IMPORT}), gc.isenabled())",
        at_end="print({'torch', 'torch.export'} & set(sys.modules), os.getenv('OMP_WAIT_POLICY'), gc.isenabled())",
    )
    assert (seen.returncode, seen.stderr) == (0, "")
    # Nor are imports looked through for circles, but what the run makes of frames is.
    assert seen.stdout.splitlines() == ["PASSIVE 1 False", "{'torch'} None True"]
    assert (tmp_path / "out.mp4").is_file()


@pytest.mark.usefixtures("usual_handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_torch_is_imported_is_one_line(tmp_path: Path, number: signal.Signals) -> None:
    seen = ran(tmp_path, at_import=f"os.kill(os.getpid(), {int(number)})")
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (seen.returncode, seen.stderr) == (128 + number, f"{word}: nothing was written\n")
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav"}


@pytest.mark.usefixtures("usual_handlers")
@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.default_int_handler], ids=["ignored", "heeded"])
def test_an_interrupt_that_is_ignored_stays_so(
    before: Callable[..., object] | signal.Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shell has it for what runs in its background: Ctrl-C there is for what runs in front."""
    seen: list[object] = []

    def main(*, own_process: bool) -> int:
        seen.append(signal.getsignal(signal.SIGINT))
        return 0

    monkeypatch.setattr("gpu_lipsync.cli.main", main)
    monkeypatch.setattr(os, "_exit", seen.append)
    signal.signal(signal.SIGINT, before)
    command()
    handler, exit_code = seen
    assert (handler is before) is (before is signal.SIG_IGN) and exit_code == 0

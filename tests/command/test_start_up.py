"""How the command imports PyTorch: with threads that sleep, all of it or nothing, without what only compilers need."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import tone, write_sound
from tests.places import DEMO, FACE, ROOT

AT_IMPORT = ("OMP_WAIT_POLICY", "TORCH_DISABLE_NATIVE_JIT")
# Runs the command; `at_import` as it comes to import torch, `at_end` once it is through.
PROGRAM = """
import os, signal, sys

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
        at_import=f"print(*map(os.environ.get, {AT_IMPORT}))",
        at_end="print('torch' in sys.modules, 'torch.export' in sys.modules, os.environ.get('OMP_WAIT_POLICY'))",
    )
    assert (seen.returncode, seen.stderr) == (0, "")
    assert seen.stdout.splitlines() == ["PASSIVE 1", "True False None"]
    assert (tmp_path / "out.mp4").is_file()


@pytest.mark.usefixtures("usual_handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_torch_is_imported_is_one_line(tmp_path: Path, number: signal.Signals) -> None:
    seen = ran(tmp_path, at_import=f"os.kill(os.getpid(), {int(number)})")
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (seen.returncode, seen.stderr) == (128 + number, f"{word}: nothing was written\n")
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav"}

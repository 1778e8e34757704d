"""What the commands answer before any work: help, version, and that this Python cannot run them."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gpu_lipsync.cli import build_parser, main
from gpu_lipsync.errors import ConfigError
from gpu_lipsync.process.commands import exit_code_of
from tests.places import ROOT

COMMAND = ROOT / "inference_fast.py"


ALL_COMMANDS = pytest.mark.parametrize(
    "command",
    [[str(COMMAND)], ["-m", "gpu_lipsync.compare"], ["-m", "gpu_lipsync.evaluate"]],
    ids=["inference_fast.py", "compare", "evaluate"],
)


def without_packages(command: list[str], *flags: object) -> subprocess.CompletedProcess[str]:
    """A command by a Python that has nothing installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    line = [sys.executable, "-S", *command, *map(str, flags)]
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("version", [(2, 7, 18, "final", 0), (3, 6, 15, "final", 0), (3, 10, 13, "final", 0)])
def test_an_old_python_is_told_which_one_can(
    version: tuple[object, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compile(COMMAND.read_text(), str(COMMAND), "exec")
    with monkeypatch.context() as patched, pytest.raises(SystemExit) as stopped:
        patched.setattr(sys, "version_info", version)
        exec(program, {"__name__": "__main__"})
    assert stopped.value.code == ConfigError.exit_code
    number = ".".join(map(str, version[:3]))
    assert capsys.readouterr() == (
        "",
        f"error: Python {number} ({sys.executable}) cannot run this, which needs 3.11 or newer; use .venv/bin/python, "
        "which `make demo` makes\n",
    )


def test_an_old_python_makes_no_environment(tmp_path: Path) -> None:
    """Which another one would not repair: `venv` leaves an interpreter that is there."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.10"
    pretend = "import sys; sys.version_info, sys.version = (3, 10, 13), '3.10.13 (main)'; exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    made = subprocess.run(["make", "demo", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert made.returncode != 0
    assert "error: this is Python 3.10.13; use 3.11 to 3.14, as in: make demo PYTHON=python3.12" in made.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_clock_starts_before_the_imports() -> None:
    """For which the command's caller waits, too."""
    script = (
        "import gpu_lipsync, sys; print(gpu_lipsync.PROGRAM_START, *{'argparse', 'dataclasses'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(said.stdout) > 0  # and nothing behind it


def test_the_command_s_file_is_one_that_any_python_reads() -> None:
    """Or it would answer with a SyntaxError: the grammar of Python 2.7 has no f-strings, annotations or keyword-only
    arguments, and its files are ASCII.
    """
    tree = ast.parse(COMMAND.read_bytes().decode("ascii"))
    kinds = {type(node) for node in ast.walk(tree)}
    statements = {ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.If, ast.Assign, ast.Store, ast.Expr}
    operations = {ast.Call, ast.Attribute, ast.Subscript, ast.Slice, ast.Compare, ast.Eq, ast.Lt, ast.BinOp, ast.Add}
    assert kinds <= statements | operations | {ast.Name, ast.Load, ast.Constant, ast.Tuple}


@ALL_COMMANDS
def test_a_package_that_is_missing_is_told_in_one_line(command: list[str], tmp_path: Path) -> None:
    for name in ("c.pth", "f.mp4", "a.wav"):
        (tmp_path / name).write_text("not read")
    files = ["--checkpoint_path", tmp_path / "c.pth", "--face", tmp_path / "f.mp4", "--audio", tmp_path / "a.wav"]
    output = (
        ["--out", tmp_path / "out.json"] if "gpu_lipsync.evaluate" in command else ["--outfile", tmp_path / "out.mp4"]
    )
    done = without_packages(command, *files, *output)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: the package torch is not installed for {sys.executable}; install this project there (pip install "
        "-c constraints.txt .), or use the .venv/bin/python that `make demo` makes\n"
    )


@ALL_COMMANDS
def test_help_needs_no_package(command: list[str]) -> None:
    done = without_packages(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    called = "inference_fast.py" if command == [str(COMMAND)] else f"python -m {command[1]}"  # as it is typed
    assert done.stdout.startswith(f"usage: {called} [-h]")


def test_the_version_needs_no_package() -> None:
    done = without_packages([str(COMMAND)], "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("gpu-lipsync ")


@pytest.mark.parametrize(
    ("name", "told"),
    [("numpy", True), ("av", True), ("gpu_lipsync.nowhere", False), ("torch._meta_registrations", False)],
)
def test_a_module_of_ours_or_a_part_of_a_package_that_is_missing_is_a_bug(
    name: str, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    if told:
        assert exit_code_of(work) == 2
        assert capsys.readouterr().err.startswith(f"error: the package {name} is not installed for {sys.executable};")
    else:
        with pytest.raises(ModuleNotFoundError):
            exit_code_of(work)


def test_a_library_that_finds_no_memory_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """What the loader says under `ulimit -v`; other errors of imports are bugs."""

    def work(said: str) -> None:
        raise ImportError(said)

    assert exit_code_of(lambda: work("libtorch_cpu.so: failed to map segment from shared object")) == 7
    assert "a library cannot be loaded for now: the host is short of memory" in capsys.readouterr().err
    with pytest.raises(ImportError):
        exit_code_of(lambda: work("libtorch_cpu.so: undefined symbol"))


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr() == (f"gpu-lipsync {version}\n", "")


def test_help_shows_defaults_as_they_have_to_be_typed() -> None:
    text = " ".join(build_parser().format_help().split())
    for flag, shown in (("--crop", "0 -1 0 -1"), ("--pads", "0 10 0 0"), ("--box", "-1 -1 -1 -1")):
        described = text.rpartition(f"{flag} TOP BOTTOM LEFT RIGHT")[2]
        assert described.partition("(default: ")[2].partition(")")[0] == shown
        needed = ["--checkpoint_path", "c", "--face", "f", "--audio", "a"]
        typed, default = (build_parser().parse_args([*needed, *given]) for given in ([flag, *shown.split()], []))
        assert typed == default
    assert "(default: 25.0)" in text

"""`python -m bench [--quick]`: run the suite, store JSON, print a table and put it into bench/README.md.

`--quick` is CI's profile: each benchmark once, whole commands without a warm-up, blending, operations and encoding on a
quarter of the frames; the file in bench/ is left as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu_lipsync.report import installed_versions

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
README = FOLDER / "README.md"
MARK = "<!-- table -->"


def main(argv: list[str] | None = None) -> int:
    """Run and report; the exit code is pytest's."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once each on fewer frames, for CI")
    parser.add_argument("filter", nargs="?", default="", help="as pytest -k")
    options = parser.parse_args(argv)
    RESULTS.mkdir(exist_ok=True)
    stored = RESULTS / f"{'quick' if options.quick else 'full'}.json"
    command = [sys.executable, "-m", "pytest", str(FOLDER), "--benchmark-enable", "--benchmark-json", str(stored), "-q"]
    command += ["--benchmark-columns=median", "--no-header", "-p", "no:warnings"]
    if options.quick:
        command += ["--quick"]
    if options.filter:
        command += ["-k", options.filter]
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1", **os.environ}  # as the command sets them
    stored.unlink(missing_ok=True)  # pytest leaves it as it is where nothing ran
    code = subprocess.run(command, cwd=FOLDER.parent, stdout=sys.stderr, env=environment).returncode
    if stored.exists() and stored.stat().st_size:
        measured = json.loads(stored.read_text())
        measured["versions"] = installed_versions()
        stored.write_text(json.dumps(measured, indent=1) + "\n")
        table = "\n".join([describe(measured), "", *rows(measured["benchmarks"])])
        print(table)
        if code == 0 and not (options.quick or options.filter):
            write_readme(table)
    return code


def describe(measured: dict[str, Any]) -> str:
    """Where and when: machine, commit, versions."""
    cpu = measured["machine_info"].get("cpu", {})
    commit = measured.get("commit_info", {}).get("id") or "unknown"
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    return (
        f"{time.strftime('%Y-%m-%d')}, commit {commit[:10]}, {cpu.get('brand_raw', 'unknown CPU')}, "
        f"{cpu.get('count', '?')} logical cores, {versions}"
    )


def rows(benchmarks: list[dict[str, Any]]) -> list[str]:
    """A markdown table, a line each: milliseconds a frame, frames a second, ratio to the group's reference."""
    lines = [
        "| job | what | ms / frame | frames / s | time against the reference |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in benchmarks:
        groups.setdefault(entry["group"] or "", []).append(entry)
    for group, members in groups.items():
        reference = next((per_frame(m) for m in members if is_reference(m)), None)
        for member in members:
            spent = per_frame(member)
            ratio = "reference" if is_reference(member) else f"{spent / reference:.2f}" if reference else ""
            lines.append(
                f"| {group} | {member['name'].removeprefix('test_')} | {spent * 1000:.3f} | {1 / spent:.0f} | {ratio} |"
            )
    return lines


def per_frame(entry: dict[str, Any]) -> float:
    """Median seconds a frame."""
    return float(entry["stats"]["median"]) / int(entry["extra_info"].get("frames", 1))


def is_reference(entry: dict[str, Any]) -> bool:
    """Whether the others of the group are compared with this one."""
    return bool(entry["extra_info"].get("reference"))


def write_readme(table: str) -> None:
    """Replace what follows the mark in bench/README.md."""
    before = README.read_text().split(MARK)[0]
    README.write_text(f"{before}{MARK}\n\n{table}\n")


if __name__ == "__main__":
    sys.exit(main())

"""What checkpoints/README.md says of the weights that ship, against the files."""

import hashlib
import math
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from safetensors import safe_open

FOLDER = Path(str(files("gpu_lipsync.checkpoints")))
SHIPPED = ("centerface.safetensors", "face_mesh.safetensors", "demo.safetensors")


def test_nothing_else_ships() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "checkpoints"], cwd=FOLDER.parent, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    assert sorted(name for name in listed.stdout.split() if name.endswith(".safetensors")) == sorted(
        f"checkpoints/{name}" for name in SHIPPED
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_its_entry_is_true(name: str) -> None:
    sections = (FOLDER / "README.md").read_text().split("\n## ")
    entry = next(section for section in sections if f"| file | `{name}` |" in section)
    content = (FOLDER / name).read_bytes()
    stated = re.search(r"\| size \| ([\d ]+) bytes; ([\d ]+) parameters", entry)
    assert stated is not None
    assert int(stated[1].replace(" ", "")) == len(content)
    assert hashlib.sha256(content).hexdigest() in entry
    with safe_open(FOLDER / name, "pt") as weights:
        shapes = {key: weights.get_slice(key).get_shape() for key in weights.keys()}  # noqa: SIM118 - not a mapping
    running = [key for key in shapes if "running_" in key]  # batch norm's statistics are no parameters
    n_parameters = sum(math.prod(shape) for key, shape in shapes.items() if key not in running)
    assert int(stated[2].replace(" ", "")) == n_parameters
    assert "| licence |" in entry

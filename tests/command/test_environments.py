"""What the environments say agrees: pip's, conda's, and what a host program has to set."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from gpu_lipsync.process.own_process import _AT_IMPORT
from tests.places import ROOT


def conda_s() -> dict[str, str]:
    """Package to the rest of its line in environment.yml, without what is for conda alone."""
    lines = re.findall(r"^ +- +([\w-]+) *([^\n]*)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    assert len(lines) > 10
    return {("torch" if name == "pytorch-gpu" else name): rest.replace("*cuda*", "").strip() for name, rest in lines}


def test_conda_s_environment_has_what_pip_s_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(line) for line in project["dependencies"]]
    here = conda_s()
    assert {requirement.name for requirement in wanted} <= set(here)
    for requirement in wanted:
        assert SpecifierSet(here[requirement.name]) == requirement.specifier, requirement.name
    (torchcodec,) = map(Requirement, project["optional-dependencies"]["cuda"])
    (least,) = (spec.version for spec in torchcodec.specifier)
    assert Version(re.findall(r">=([\d.]+)", here["torchcodec"])[0]) >= Version(least)


def test_the_versions_that_tests_ran_with_are_such_as_are_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(re.findall(r"^([\w-]+)==([\w.+]+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    for requirement in map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["dev"]]):
        if requirement.name in pinned:  # not setuptools, which the environment itself brings
            assert pinned[requirement.name] in requirement.specifier, requirement.name
    assert {"torch", "torchaudio", "torchvision", "av", "numpy", "decord", "kornia"} <= set(pinned)


@pytest.mark.parametrize(("name", "value"), _AT_IMPORT.items())
def test_host_programs_are_told_what_the_command_sets(name: str, value: str) -> None:
    assert f"`{name}={value}`" in (ROOT / "docs" / "operating.md").read_text()

"""Whether it is to be believed that the host has no memory left."""

import resource
from pathlib import Path

import pytest

from gpu_lipsync.process import host_memory
from gpu_lipsync.process.host_memory import may_be_short

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@pytest.mark.parametrize(
    ("told", "short"),
    [
        ("MemTotal: 9000000 kB\nMemAvailable:    1048575 kB\n", True),
        ("MemTotal: 9000000 kB\nMemAvailable:    1048576 kB\n", False),
        ("MemTotal: 9000000 kB\n", True),  # a kernel before 3.14
    ],
)
def test_a_gibibyte_is_enough(told: str, short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: UNLIMITED)
    monkeypatch.setattr(host_memory.Path, "read_text", lambda _: told)
    assert may_be_short() is short


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_a_process_with_a_limit_is_believed(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {kind: (4 << 30, resource.RLIM_INFINITY)}
    monkeypatch.setattr(resource, "getrlimit", lambda asked: limits.get(asked, UNLIMITED))
    monkeypatch.setattr(host_memory.Path, "read_text", lambda _: "MemAvailable: 99999999 kB\n")
    assert may_be_short()


def test_a_system_that_does_not_tell_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(resource, "getrlimit", lambda _: UNLIMITED)
    monkeypatch.setattr(host_memory.Path, "read_text", none)
    assert may_be_short()

"""Whether the host may be short of memory. Imports no torch."""

from __future__ import annotations

import re
import resource
from contextlib import suppress
from pathlib import Path

_ENOUGH_BYTES = 1 << 30  # more than any decoder asks for at once, of a file that is whole


def may_be_short() -> bool:
    """Whether it is to be believed that there is no memory: FFmpeg says the same of a damaged file's sizes.

    Of a process with a limit of its own it is, and where less than 1 GiB is available (proc_meminfo(5)), or none knows.
    """
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    if any(limit != resource.RLIM_INFINITY for limit in limits):
        return True
    with suppress(OSError):
        available = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
        return available is None or int(available[1]) << 10 < _ENOUGH_BYTES
    return True

"""Whose memory ran out, and what else the host may lack, by the error alone; test_out_of_memory.py has whole runs."""

import errno
import os

import pytest
import torch

from gpu_lipsync.errors import ResourceError, is_shortage
from gpu_lipsync.process.lack_of_memory import lack_of_memory_named
from tests.process.test_out_of_memory import HOST_WORDS


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError(HOST_WORDS)], ids=["Python", "PyTorch"])
def test_memory_that_the_host_lacks_is_not_the_gpu_s(error: Exception) -> None:
    """Though the work is the GPU's: `--device cpu` would take more of the host's yet."""
    told = "^out of memory on the host; "
    with pytest.raises(ResourceError, match=told) as named, lack_of_memory_named(torch.device("cuda", 0)):
        raise error
    assert "cuda" not in str(named.value) and "--device" not in str(named.value)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE], ids=errno.errorcode.get)
def test_a_host_that_is_short_of_something_is_no_bug(number: int) -> None:
    """Memory of the system's, threads, open files of this process or of all."""
    reason = os.strerror(number)
    told = rf"short of memory, threads or open files \({reason}\); try again"
    with pytest.raises(ResourceError, match=told), lack_of_memory_named(torch.device("cpu")):
        raise OSError(number, reason)


def test_other_troubles_with_files_are_no_shortage() -> None:
    assert not any(is_shortage(OSError(number, "")) for number in (errno.ENOSPC, errno.EACCES, errno.ENOENT))

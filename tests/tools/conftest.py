"""Tools set what is the whole process's; the tests that follow in it are not to see that."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def process_left_as_it_was() -> Iterator[None]:
    n_threads, tuned = torch.get_num_threads(), torch.backends.cudnn.benchmark
    yield
    torch.set_num_threads(n_threads)
    torch.backends.cudnn.benchmark = tuned

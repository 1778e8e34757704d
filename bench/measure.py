"""How everything here is timed: warm-up, the device waited for inside the timed call, time per frame.

Benchmarks of one group do the same job; the one marked `reference` is what the others are compared with, in one run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gpu_lipsync.process.device import network_dtype

WARM_UPS, ROUNDS = 2, 5
quick = False  # --quick
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# Devices with the precisions in which networks run there: float32, and what the command takes or can be told to take.
PRECISIONS = [
    pytest.param(device, dtype, id=f"{device}-{str(dtype).removeprefix('torch.')}")
    for device in DEVICES
    for dtype in dict.fromkeys((torch.float32, network_dtype(torch.device(device), fp16=True)))
]


def batch_size(usual: int) -> int:
    """How many frames: as usual, or a quarter in CI's profile. For test modules, imported once `quick` is set."""
    return usual // 4 if quick else usual


def measure(
    benchmark: Any,
    run: Callable[[], object],
    *,
    frames: int,
    group: str,
    device: str = "cpu",
    reference: bool = False,
    rounds: int = ROUNDS,
    warm_ups: int = WARM_UPS,
    quick_warm_ups: int = 1,
) -> None:
    """Benchmark `run`.

    Args:
        benchmark: pytest-benchmark's fixture.
        run: the work.
        frames: how many frames one call handles; the table shows the time of one.
        group: the job, with sizes and parameters.
        device: `cuda` is waited for inside the timed call.
        reference: whether this is what the group's others are compared with.
        rounds: timed calls; the table shows their median.
        warm_ups: calls before those.
        quick_warm_ups: calls before the one of CI's profile.
    """

    def synced() -> None:
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    benchmark.group = group
    benchmark.extra_info.update(frames=frames, device=device, threads=torch.get_num_threads(), reference=reference)
    if quick:
        rounds, warm_ups = 1, quick_warm_ups
    benchmark.pedantic(synced, rounds=rounds, warmup_rounds=warm_ups)

"""Shared fixtures: the device under test and the real material, when it lies beside the checkout."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.places import ROOT

# As the command does: threads that spin at barriers slow tenfold where anything else wants their cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

MEDIA = ROOT.parent / "shared" / "data"
# Crops of the benchmark's sizes, one that no tile or window divides, the smallest, and the largest.
PICTURE_SIZES = [(200, 160), (360, 300), (181, 240), (16, 16), (17, 23), (620, 512), (1080, 1080)]


@pytest.fixture(scope="session")
def media() -> Path:
    """Folder with real clips, stills and speech; skips where a checkout has none beside it."""
    if not MEDIA.is_dir():
        if os.environ.get("GPU_LIPSYNC_REQUIRE_MEDIA") == "1":
            pytest.fail(f"GPU_LIPSYNC_REQUIRE_MEDIA=1 but there are no real clips under {MEDIA}")
        pytest.skip(f"needs real clips under {MEDIA}, which are no part of the project")
    return MEDIA


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small generator, untrained, whose mouths look like none but depend on the sound."""
    import torch

    from tests.generators import trained_like

    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(trained_like().state_dict(), path)
    return path


@pytest.fixture
def three_threads() -> Iterator[int]:
    """PyTorch's number, cores or no cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device a test should pass on; CUDA is skipped where there is none, unless it was demanded."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        if os.environ.get("GPU_LIPSYNC_REQUIRE_CUDA") == "1":
            pytest.fail("GPU_LIPSYNC_REQUIRE_CUDA=1 but torch sees no CUDA device")
        pytest.skip("no CUDA device here")
    return request.param


@pytest.fixture(params=PICTURE_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def picture(request: pytest.FixtureRequest) -> np.ndarray:
    """A picture like a face, (height, width, 3) uint8 RGB, of crops' sizes and odd ones."""
    from tests import pictures

    return pictures.face_like(*request.param)


@pytest.fixture
def usual_handlers() -> Iterator[None]:
    """Those of a program in the foreground: one in the background has SIGINT ignored, one under nohup SIGHUP."""
    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)

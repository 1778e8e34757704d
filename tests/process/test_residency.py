"""Frames stay on the device from decode to encode, and work does not grow with Python: shown without a GPU.

Everything runs on fake CUDA tensors and every operation is seen: a tensor left on the host, a look at values, and a
loop over frames (more operations for more frames) all show. On a machine with CUDA the same stages also run on real
tensors, where anything that makes the host wait raises.
"""

import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gpu_lipsync.audio import SAMPLE_RATE_HZ, mel_windows
from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.faces import paste_faces
from gpu_lipsync.ops import to_float, to_uint8
from tests.residency import MEL_FILTERS, UPLOAD_LIMIT, Residency, fake_cuda, no_waiting, watched
from tests.stages import FEW, MANY, ONE, STAGES, Run, Stage, boxes_of, frames_of


def on_fake_cuda(stage: Stage, n: int) -> Residency:
    """What `stage` does with a batch of n once masks and the like, made once per clip, are there."""
    here, elsewhere = boxes_of(n, 0), boxes_of(n, 30)  # real: they are on the host in any case
    mel_windows(torch.zeros(SAMPLE_RATE_HZ), 25)  # the mel filters are made once, on the host, of real numbers
    with fake_cuda():
        run = stage(n)
        run(here)
        return watched(lambda: run(elsewhere), MEL_FILTERS if stage is STAGES["sound"] else UPLOAD_LIMIT)


def judge(few: Residency, many: Residency) -> list[str]:
    """Why a stage is not fit for a GPU; empty if it is."""
    offences = [*few.offences, *many.offences]
    if few.operations != many.operations:
        offences.append(f"{len(few.operations)} operations for {FEW} frames, {len(many.operations)} for {MANY}")
    return offences


@pytest.mark.parametrize("name", STAGES)
def test_stays_on_the_device_in_as_many_operations_for_any_batch(name: str) -> None:
    few, many = on_fake_cuda(STAGES[name], FEW), on_fake_cuda(STAGES[name], MANY)
    assert len(few.operations) > 5, "nothing was seen"
    assert judge(few, many) == []


@pytest.mark.parametrize("name", [name for name in STAGES if name.startswith("blend")])
def test_a_batch_of_one_stays_on_the_device_too(name: str) -> None:
    """As the last one of a clip may be, or a face of a size of its own."""
    assert on_fake_cuda(STAGES[name], ONE).offences == []


@pytest.mark.parametrize("name", [f"blend {method}{detail}" for method in BLENDS for detail in ("", ", detail kept")])
def test_a_batch_sends_up_its_boxes_once(name: str) -> None:
    here, there = boxes_of(FEW, 0), boxes_of(FEW, 30)
    with fake_cuda():
        run = STAGES[name](FEW)
        run(here)
        elsewhere, again = watched(lambda: run(there)), watched(lambda: run(there))
    assert elsewhere.operations.count("_to_copy") == again.operations.count("_to_copy") + 1
    assert "lift_fresh" in elsewhere.operations


def planted(fault: Callable[[Tensor], Tensor]) -> Stage:
    """A stage like any other, with `fault` in its middle."""

    def stage(n: int) -> Run:
        frames = frames_of(n)
        return lambda _: to_uint8(fault(to_float(frames).contiguous()))

    return stage


def to_the_host_and_back(image: Tensor) -> Tensor:
    return image.cpu().to("cuda")


def range_on_the_host(image: Tensor) -> Tensor:
    return image[torch.arange(len(image)).flip(0)]


def range_on_the_host_in_arithmetic(image: Tensor) -> Tensor:
    return image * torch.arange(image.shape[3])


def list_as_index(image: Tensor) -> Tensor:
    return image[[1, 0]]


def list_to_the_device(image: Tensor) -> Tensor:
    return image * torch.as_tensor([1.0, 2.0, 3.0], device=image.device).view(1, 3, 1, 1)


def loop_over_frames(image: Tensor) -> Tensor:
    return torch.stack([frame * 0.5 for frame in image])


def look_at_a_value(image: Tensor) -> Tensor:
    return image / image.max() if image.max() > 0 else image


def mask_on_the_host(image: Tensor) -> Tensor:
    return image * torch.ones(image.shape[2:]).to("cuda")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (to_the_host_and_back, "brings values to the host"),
        (range_on_the_host, "mixes a tensor on the host|makes a tensor on the host"),
        (loop_over_frames, f"operations for {FEW} frames"),
        (mask_on_the_host, "picture on the host"),
        (list_as_index, "copies from the host"),
        (list_to_the_device, "copies from the host"),
    ],
)
def test_a_planted_fault_is_found(fault: Callable[[Tensor], Tensor], reason: str) -> None:
    offences = judge(on_fake_cuda(planted(fault), FEW), on_fake_cuda(planted(fault), MANY))
    assert offences
    assert any(word in offence for word in reason.split("|") for offence in offences), offences


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (range_on_the_host_in_arithmetic, "found at least two devices, cuda:0 and cpu"),
        (look_at_a_value, "_local_scalar_dense"),
    ],
)
def test_a_planted_fault_does_not_even_run(fault: Callable[[Tensor], Tensor], reason: str) -> None:
    with pytest.raises(RuntimeError, match=reason):
        on_fake_cuda(planted(fault), FEW)


def test_the_planted_stage_is_fit_without_a_fault() -> None:
    innocent = planted(lambda image: image * 0.5)
    assert judge(on_fake_cuda(innocent, FEW), on_fake_cuda(innocent, MANY)) == []


def test_fake_constants_do_not_reach_real_runs() -> None:
    boxes = boxes_of(2, 0)
    with fake_cuda():
        frames, mouths = torch.zeros(2, 3, 300, 300, dtype=torch.uint8), torch.rand(2, 3, 96, 96)
        fake = paste_faces(frames, mouths, boxes, BlendConfig())
    frames, mouths = torch.zeros(2, 3, 300, 300, dtype=torch.uint8), torch.rand(2, 3, 96, 96)
    real = paste_faces(frames, mouths, boxes, BlendConfig())
    assert type(real) is Tensor and type(fake) is not Tensor
    assert real.float().mean() > 0


@pytest.fixture
def cuda() -> None:
    if torch.cuda.is_available():
        return
    if os.environ.get("GPU_LIPSYNC_REQUIRE_CUDA") == "1":
        pytest.fail("GPU_LIPSYNC_REQUIRE_CUDA=1 but torch sees no CUDA device")
    pytest.skip("no CUDA device here")


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("n", [ONE, FEW])
@pytest.mark.parametrize("name", STAGES)
def test_the_host_never_waits_for_a_real_gpu(name: str, n: int) -> None:
    with torch.no_grad():
        run = STAGES[name](n)
        run(boxes_of(n, 0))
    with no_waiting():
        run(boxes_of(n, 30))


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("fault", [to_the_host_and_back, range_on_the_host, look_at_a_value])
def test_a_real_gpu_finds_planted_faults_too(fault: Callable[[Tensor], Tensor]) -> None:
    with torch.no_grad():
        run = planted(fault)(FEW)
    with pytest.raises(RuntimeError, match="synchroniz"), no_waiting():
        run(boxes_of(FEW, 0))

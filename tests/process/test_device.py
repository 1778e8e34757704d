"""Choice of device and precision, and what half precision costs."""

from pathlib import Path

import pytest
import torch

from gpu_lipsync.audio import load_audio, mel_windows
from gpu_lipsync.config import FaceConfig, FrameConfig
from gpu_lipsync.errors import ConfigError, ResourceError
from gpu_lipsync.faces import crop_faces
from gpu_lipsync.models import load_face_detector, load_wav2lip
from gpu_lipsync.process import device as devices
from gpu_lipsync.process.device import _require_kernels, network_dtype, resolve_device, staged, taken_over, why_no_gpu
from gpu_lipsync.process.lack_of_memory import lack_of_memory_named
from gpu_lipsync.tracking.tracked_frames import track_faces
from gpu_lipsync.video import open_video
from tests.places import FACE, ROOT, SPEECH


def test_auto_is_cuda_where_there_is_one() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_device_that_is_not_there_is_no_silent_cpu() -> None:
    with pytest.raises(ConfigError, match="cuda:97"):
        resolve_device("cuda:97")


def test_a_gpu_whose_driver_is_too_old_is_named_as_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PyTorch counts it, and says why it cannot use it only when asked to begin."""

    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12020).\nPlease update it.")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", too_old)
    with pytest.raises(ConfigError, match=r"cuda:0 cannot be used \(The NVIDIA driver .* is too old .*\); use cpu"):
        resolve_device("cuda:0")
    assert resolve_device("auto") == torch.device("cpu")
    assert why_no_gpu() == "The NVIDIA driver on your system is too old (found version 12020)."
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(devices, "_NVIDIA_DRIVER", tmp_path / "nvidiactl")
    assert why_no_gpu() == "", "none to be without"
    # Without NVML, as in a container that has no `utility`, or of a MIG slice, PyTorch does not count it either.
    (tmp_path / "nvidiactl").touch()
    assert "too old" in why_no_gpu()
    with pytest.raises(ConfigError, match=r"cuda:0 is not available \(The NVIDIA driver .* is too old"):
        resolve_device("cuda:0")
    for visible in ("", "-1", "NoDevFiles"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert why_no_gpu() == "", "hidden from it on purpose"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-41b3")
    assert why_no_gpu()


def gpus_of(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch, *, n: int = 1, current: int = 0) -> None:
    """What PyTorch, built for 8.0, asks before any work goes well."""
    answers = {"is_available": True, "device_count": n, "init": None, "current_device": current}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80"])


def one_gpu_that_says(words: str, monkeypatch: pytest.MonkeyPatch, *, capability: tuple[int, int] = (8, 0)) -> None:
    """It is there; then the first kernel fails with these."""
    gpus_of(capability, monkeypatch)

    def failing(*_: object, device: torch.device) -> None:
        raise torch.AcceleratorError(words)

    monkeypatch.setattr(torch, "zeros", failing)


@pytest.mark.parametrize(("name", "number"), [("auto", 2), ("cuda", 2), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_gpu_without_a_number_is_the_one_that_the_program_has_chosen(
    name: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torch.cuda.set_device; threads that the run starts would each choose the first."""
    worked: list[torch.device] = []
    gpus_of((8, 0), monkeypatch, n=3, current=2)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: worked.append(device))
    assert resolve_device(name) == torch.device("cuda", number)
    assert worked == [torch.device("cuda", number)]


def test_a_gpu_without_kernels_is_refused_before_one_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    one_gpu_that_says("CUDA error: no kernel image is available for execution", monkeypatch, capability=(9, 0))
    with pytest.raises(ConfigError, match=r"no kernels for a GPU of compute capability 9\.0 \(but sm_80\)"):
        resolve_device("auto")


def test_a_gpu_that_another_process_has_for_itself_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """In compute mode EXCLUSIVE_PROCESS: PyTorch counts it and begins, and its first kernel fails with this."""
    said = "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nSearch for `cudaErrorDevicesUnavailable' in"
    one_gpu_that_says(said, monkeypatch)
    with pytest.raises(ResourceError, match=r"cuda:0 is taken: another process has it.*--device cpu"):
        resolve_device("auto")
    with pytest.raises(RuntimeError, match="busy"), lack_of_memory_named(torch.device("cpu")):
        raise RuntimeError(said)


def test_a_gpu_that_is_broken_or_full_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    one_gpu_that_says("CUDA error: uncorrectable ECC error encountered\nand more", monkeypatch)
    with pytest.raises(ConfigError, match=r"cuda:0 cannot be used \(CUDA error: uncorrectable ECC .*\); use cpu"):
        resolve_device("cuda:0")
    one_gpu_that_says("CUDA out of memory. Tried to allocate 2.00 MiB", monkeypatch)
    with pytest.raises(ResourceError, match="out of memory on cuda:0"):
        resolve_device("cuda:0")


def test_a_gpu_that_pytorch_was_not_built_for_is_refused() -> None:
    wheel = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
    for capability in ((7, 5), (8, 0), (8, 9), (9, 0), (10, 3), (12, 0)):
        _require_kernels(capability, wheel)
    for capability in ((7, 0), (6, 1), (11, 0)):
        with pytest.raises(ConfigError, match="compute capability.*--device cpu"):
            _require_kernels(capability, wheel)
    _require_kernels((11, 0), [*wheel, "compute_90"])
    _require_kernels((9, 0), ["sm_90a"])
    _require_kernels((7, 0), [])  # not known
    _require_kernels((9, 0), ["gfx90a", "gfx1100"])  # ROCm's names


@pytest.mark.parametrize("name", ["nonsense", "mps", "cuda:x", "meta", ""])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"auto, cpu, cuda or cuda:N, got '{name}'"):
        resolve_device(name)


def test_half_precision_is_chosen_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert network_dtype(cuda, fp16=True) == torch.float16
    assert network_dtype(cuda, fp16=False) == torch.float32
    half, single = torch.bfloat16, torch.float32
    for matrix_unit, instruction, cpu_name, dtype in (
        (True, True, "Intel Xeon", half),
        (False, True, "Intel Xeon", single),  # has it, but is faster in float32
        (False, True, "AMD EPYC", half),
        (False, False, "AMD EPYC", single),
        (False, False, "", single),
    ):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda found=matrix_unit: found)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda found=instruction: found)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=cpu_name: {"cpu_name": name}, raising=False)
        assert network_dtype(cpu, fp16=False) == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_mouths_are_within_a_level(device: str, dtype: torch.dtype) -> None:
    checkpoint = ROOT / "checkpoints" / "demo.safetensors"
    with torch.inference_mode(), open_video(FACE, FrameConfig()) as video:
        _, frames = next(video.batches(range(8), 8))
        faces = crop_faces(frames, track_faces([frames], load_face_detector(), FaceConfig()).boxes).to(device)
        mel = mel_windows(load_audio(SPEECH), video.fps)[20:28].to(device)
        exact, half = (load_wav2lip(checkpoint, device, d)(mel, faces) for d in (torch.float32, dtype))
    # The bar of the project: a level in the mean. bfloat16 has 8 bits of mantissa; 0.25 levels are seen.
    assert (255 * (exact - half)).abs().mean() < 1
    assert not torch.equal(exact, half)


def test_staged_batches_arrive_in_order_and_unchanged() -> None:
    batches = [(range(i, i + 2), torch.full((2, 3, 4, 4), i)) for i in range(0, 6, 2)]
    got = list(taken_over(staged(batches, torch.device("cpu"))))
    assert [frames for frames, _ in got] == [frames for frames, _ in batches]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(got, batches, strict=True))

"""Predicted time per frame of each stage on several GPUs, from operations counted without one.

    python -m bench.cost_model [--half] [--batch 32]

The code of the pipeline runs on fake CUDA tensors; each of its operations is given the time that the slowest of three
limits allows: arithmetic, memory, starting a kernel. Nothing here is measured: a stage takes at least this (unless what
one operation wrote is still in a cache for the next), and the decoding and encoding chips are not in the table.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.operation_record import Cost, Record, record_operations
from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, BlendMethod, Motion
from gpu_lipsync.decoding.frame_layout import RGB
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.models.face_detector import LONG_SIDE_PX, CenterFace
from gpu_lipsync.models.face_mesh import FaceMesh
from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.ops.yuv import rgb_to_yuv420
from gpu_lipsync.pasting.lip_motion import find_lip_motion
from gpu_lipsync.tracking.scene_cuts import SAMPLES, SceneChanges

LAUNCH_S = 5e-6  # from one kernel's start to the next one's when they are queued one by one
FACE_PART = 0.4  # of the frame's height: a talking head
SIZES = {"720p": (720, 1280), "1080p": (1080, 1920)}


LIMITS = ("arithmetic", "memory", "launch")


@dataclass(frozen=True)
class Gpu:
    """What the maker's data sheet says: dense arithmetic, one direction of the bus."""

    name: str
    single_flops: float  # float32, per second
    tf32_flops: float
    half_flops: float  # float16 matrix units with float32 sums, per second
    bytes_per_s: float
    bus_bytes_per_s: float  # to and from the host, what pinned copies reach of the PCIe generation's nominal rate

    def seconds(self, cost: Cost) -> tuple[float, float, float]:
        """The least time for each of LIMITS."""
        arithmetic = cost.single_flops / self.single_flops
        arithmetic += cost.tf32_flops / self.tf32_flops + cost.half_flops / self.half_flops
        return arithmetic, cost.n_bytes / self.bytes_per_s, LAUNCH_S * cost.n_operations


GPUS = (
    Gpu("T4", 8.1e12, 8.1e12, 65e12, 320e9, 12e9),
    Gpu("L4", 30.3e12, 60e12, 121e12, 300e9, 24e9),
    Gpu("A10", 31.2e12, 62.5e12, 125e12, 600e9, 24e9),
    Gpu("RTX 4090", 82.6e12, 82.6e12, 165e12, 1008e9, 24e9),
    Gpu("H100 SXM", 67e12, 494e12, 989e12, 3350e9, 50e9),
)


@dataclass(frozen=True)
class Stage:
    """One stage's operations for a batch of frames."""

    name: str
    record: Record
    n_frames: int
    always: bool = True  # part of every run; of the blend modes only the default is

    def predict(self, gpu: Gpu) -> tuple[float, str]:
        """Seconds per frame at least, and the limit that most of them are due to."""
        by_limit = dict.fromkeys(LIMITS, 0.0)
        for cost in self.record.costs:
            seconds = gpu.seconds(cost)
            by_limit[LIMITS[seconds.index(max(seconds))]] += max(seconds)
        return sum(by_limit.values()) / self.n_frames, max(LIMITS, key=by_limit.__getitem__)


def count_stages(height: int, width: int, *, batch: int, half: bool) -> list[Stage]:
    """Count each stage of a batch of frames on fake CUDA tensors.

    Args:
        height: of the frames, pixels.
        width: likewise.
        batch: frames at a time.
        half: generator and detector in half precision.
    """
    side = int(FACE_PART * height)
    boxes = torch.tensor([[width // 4, height // 4, width // 4 + int(0.75 * side), height // 4 + side]] * batch)
    # no_grad, not inference_mode: in that one even the boxes, which are real and on the host, cannot be read.
    with FakeTensorMode(), torch.no_grad():
        with torch.device("cuda"):
            detector, generator, mesh = _networks(half=half)
            frames = torch.empty((batch, height, width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
            mel, faces = torch.empty(batch, 1, 80, 16), torch.empty(batch, 3, 96, 96)
        n_detected = max(1, batch // FaceConfig.det_stride)
        motion = find_lip_motion(faces, faces, mesh)
        runs: dict[str, Callable[[], object]] = {
            "scene changes": lambda: SceneChanges().update(RGB.sampled(frames, SAMPLES)),
            "detector": lambda: detector.candidates(frames[:n_detected]),
            "crop": lambda: crop_faces(frames, boxes),
            "generator": lambda: generator(mel, faces),
            "lip motion": lambda: find_lip_motion(faces, faces, mesh),
            **{f"blend {method}": _paste(frames, faces, boxes, method, motion) for method in BLENDS},
            "to yuv420": lambda: rgb_to_yuv420(frames),
        }
        stages = []
        for name, run in runs.items():
            run()  # masks and the like are made once per clip
            always = not name.startswith("blend ") or name == f"blend {BlendConfig.method}"
            n_frames = n_detected * FaceConfig.det_stride if name == "detector" else batch
            stages.append(Stage(name, record_operations(run), n_frames, always))
    return stages


def _networks(*, half: bool) -> tuple[CenterFace, Wav2Lip, FaceMesh]:
    """In the wanted precision from the start: modules of fake tensors cannot be converted."""
    torch.set_default_dtype(torch.float16 if half else torch.float32)
    try:
        detector, generator, mesh = CenterFace(LONG_SIDE_PX).eval(), Wav2Lip(folded=True).eval(), FaceMesh().eval()
    finally:
        torch.set_default_dtype(torch.float32)
    mesh.head = FaceMesh().head
    return detector, generator, mesh


def _paste(frames: Tensor, faces: Tensor, boxes: Tensor, method: BlendMethod, motion: Motion) -> Callable[[], object]:
    """As a run does it, with the faces' detail."""
    config = BlendConfig(method=method, keep_detail=True)
    return lambda: paste_faces(frames, faces, boxes, config, sources=faces, motion=motion)


def bus_seconds(gpu: Gpu, height: int, width: int) -> float:
    """Per frame, when decoding and encoding are on the CPU: RGB up, yuv420p down, each way at the same time."""
    return height * width * 3 / gpu.bus_bytes_per_s


def table(stages: list[Stage], height: int, width: int) -> Iterator[str]:
    """The lines of one frame size's table, in Markdown."""
    yield "| stage | operations a batch | GFLOP a frame | MB a frame | " + " | ".join(gpu.name for gpu in GPUS) + " |"
    yield "|---" * (4 + len(GPUS)) + "|"
    for stage in stages:
        total, cells = stage.record.total, []
        for gpu in GPUS:
            seconds, limit = stage.predict(gpu)
            cells.append(f"{seconds * 1e3:.3f} {limit}")
        per_frame = f"{total.flops / stage.n_frames / 1e9:.3f} | {total.n_bytes / stage.n_frames / 1e6:.1f}"
        name = stage.name if stage.always else f"({stage.name})"
        yield f"| {name} | {total.n_operations} | {per_frame} | {' | '.join(cells)} |"
    bus = [bus_seconds(gpu, height, width) for gpu in GPUS]
    yield f"| (bus, unless decoded on the GPU) | | | | {' | '.join(f'{seconds * 1e3:.3f} bus' for seconds in bus)} |"
    totals = [sum(stage.predict(gpu)[0] for stage in stages if stage.always) for gpu in GPUS]
    yield f"| **predicted, at least** | | | | {' | '.join(f'**{seconds * 1e3:.2f}**' for seconds in totals)} |"
    yield f"| frames per second, at most | | | | {' | '.join(f'{1 / seconds:.0f}' for seconds in totals)} |"


def limits() -> Iterator[str]:
    """What is assumed of each GPU, in Markdown."""
    yield "| | float32, TFLOP/s | TF32 | float16 | memory, GB/s | bus, GB/s |"
    yield "|---|---|---|---|---|---|"
    for gpu in GPUS:
        numbers = (gpu.single_flops / 1e12, gpu.tf32_flops / 1e12, gpu.half_flops / 1e12)
        speeds = (gpu.bytes_per_s / 1e9, gpu.bus_bytes_per_s / 1e9)
        yield f"| {gpu.name} | {' | '.join(f'{value:g}' for value in (*numbers, *speeds))} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--half", action="store_true", help="generator and detector in half precision, as --fp16")
    parser.add_argument("--batch", type=int, default=32, help="frames at a time (default: 32)")
    options = parser.parse_args()
    precision = "float16" if options.half else "float32"
    print("The limits, by the makers' data sheets; a kernel starts every 5 microseconds at most:\n")
    print("\n".join(limits()))
    for name, (height, width) in SIZES.items():
        print(
            f"\n{name}, networks in {precision}, batches of {options.batch}: PREDICTED milliseconds a frame, at least,"
            " and the limit that sets them; in brackets what not every run needs\n"
        )
        print("\n".join(table(count_stages(height, width, batch=options.batch, half=options.half), height, width)))


if __name__ == "__main__":
    main()

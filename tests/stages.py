"""The stages that a GPU has a part in, each made ready for any number of frames."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from gpu_lipsync.audio import SAMPLE_RATE_HZ, frame_loudness, mel_windows
from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.blend_kernels.colourless import desaturated_like
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.frame_layout import RGB, Yuv420Frames
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.generate import MouthRenderer
from gpu_lipsync.models.face_detector import LONG_SIDE_PX, CenterFace
from gpu_lipsync.models.face_mesh import FaceMesh
from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.ops.yuv import nv12_to_rgb, rgb_to_nv12, rgb_to_yuv420
from gpu_lipsync.pasting.heads import Heads
from gpu_lipsync.pasting.lip_motion import find_lip_motion
from gpu_lipsync.pasting.mouth_window import mouth_window
from gpu_lipsync.progress import Silent
from gpu_lipsync.report import Report
from gpu_lipsync.silence import RestingMouths
from gpu_lipsync.tracking.scene_cuts import SAMPLES, SceneChanges
from gpu_lipsync.tracking.tracked_frames import _pick
from gpu_lipsync.video import edit
from tests.heads import STILL, held_still
from tests.operations import default_dtype

Run = Callable[[Tensor], object]  # a batch's work, given its boxes
Stage = Callable[[int], Run]  # made ready for so many frames
HEIGHT, WIDTH = 360, 640
ONE, FEW, MANY = 1, 4, 64
# Real, on the host, as the boxes; every other mouth is a grin.
TILTS = {n: torch.arange(n, dtype=torch.float64) - 40.5 for n in (ONE, FEW, MANY)}  # degrees, on the host
FITS = {n: torch.tensor([[i % 2 * 2 - 1, i // 2 % 2 * 2 - 1, i % 2 * 22] for i in range(n)]) for n in (ONE, FEW, MANY)}


def frames_of(n: int) -> Tensor:
    """(n, 3, H, W) uint8 on the device, interleaved as decoders deliver."""
    return torch.zeros((n, HEIGHT, WIDTH, 3), dtype=torch.uint8, device="cuda").permute(0, 3, 1, 2)


def boxes_of(n: int, left: int) -> Tensor:
    """(n, 4) on the host: two sizes, each frame's face somewhere else."""
    corners = [(100 + left + i, 20 + i) for i in range(n)]  # so far inside that windows around them go along
    return torch.tensor([[x, y, x + 150 + 10 * (i % 2), y + 190 + 10 * (i % 2)] for i, (x, y) in enumerate(corners)])


def batch(n: int, method: str, tilts: Tensor | None = None, *, detail: bool = False) -> Run:
    """Crop, generate, blend and paste n frames."""
    with torch.device("cuda"):
        generator, mel = Wav2Lip(folded=True).eval(), torch.zeros(n, 1, 80, 16)
        mesh = FaceMesh().eval()
    frames = frames_of(n)
    config = BlendConfig(method=method, sharpen_mouth=not detail, keep_detail=detail)  # type: ignore[arg-type]

    def run(boxes: Tensor) -> Tensor:
        fits = FITS[n]
        window = mouth_window(boxes, config, frames.device, fits=fits)
        faces = crop_faces(frames, boxes, tilts=tilts)
        mouths = desaturated_like(generator(mel, faces, window=window).float(), faces)
        kept: dict[str, Any] = {}
        if detail:
            kept = {"sources": faces, "motion": find_lip_motion(mouths, faces, mesh, window=window)}
        return paste_faces(frames, mouths, boxes, config, fits=fits, tilts=tilts, **kept)

    return run


class HeadsOnHost(Heads):
    """Kept by the host, in real numbers, whatever is made of pictures."""

    def with_face(self) -> list[int]:
        with _disable_current_modes():
            return super().with_face()

    def picked(self, at: Sequence[int]) -> Heads:
        with _disable_current_modes():
            return super().picked(at)


def some_without_a_face(n: int) -> Run:
    """A batch as the pipeline renders it, whose first frame shows nobody."""
    with torch.device("cuda"):
        generator, mel = Wav2Lip(folded=True).eval(), torch.zeros(n, 1, 80, 16)
        mesh = FaceMesh().eval()
    frames = frames_of(n)
    facts = dict.fromkeys(("outfile", "device", "decoder", "encoder", "precision", "fps"), "")
    report = Report(**facts, width=WIDTH, height=HEIGHT, batch_size=n)  # type: ignore[arg-type]
    renderer = MouthRenderer(generator, BlendConfig(keep_detail=True), report, Silent(), mesh=mesh)

    def run(boxes: Tensor) -> Tensor:
        with _disable_current_modes():
            boxes = boxes.clone()
            boxes[0] = 0
            heads = held_still(boxes, HeadsOnHost)
        return renderer.render(frames, mel, heads)

    return run


def edited(n: int) -> Run:
    """As `--resize_factor`, `--rotate` and `--crop` have frames, each shown twice."""
    frames, config = frames_of(n), FrameConfig(resize_factor=2, rotate=True, crop=(10, 300, 10, 170))
    twice = [i // 2 for i in range(n)]
    return lambda _: _pick(edit(frames, config, Window(10, 300, 10, 170)), twice, shared=True)


def before_the_encoder(n: int) -> Run:
    frames = frames_of(n)
    return lambda _: rgb_to_yuv420(frames)


def after_the_decoder(n: int) -> Run:
    planes = torch.zeros((n, HEIGHT * 3 // 2, WIDTH), dtype=torch.uint8, device="cuda")
    return lambda _: nv12_to_rgb(planes, matrix="bt709")


def planar(n: int) -> Run:
    """What the stages see of 4:2:0 frames, and what they give back."""
    frames, layout = torch.zeros((n, HEIGHT * 3 // 2, WIDTH), dtype=torch.uint8, device="cuda"), Yuv420Frames("bt709")

    def run(boxes: Tensor) -> object:
        part = layout.part(frames, boxes)
        return part.replaced(255 - part.rgb, boxes), layout.sampled(frames, 96), layout.reduced(frames, (96, 160))

    return run


def for_nvenc(n: int) -> Run:
    frames = frames_of(n)
    planes = torch.empty((len(frames), frames.shape[2] * 3 // 2, 768), dtype=torch.uint8, device=frames.device)
    return lambda _: rgb_to_nv12(frames, out=planes)


def detector(n: int, dtype: torch.dtype = torch.float32) -> Run:
    with default_dtype(dtype), torch.device("cuda"):
        network = CenterFace(LONG_SIDE_PX).eval()
    frames = frames_of(n)
    return lambda _: network.candidates(frames)


def scene_changes(n: int) -> Run:
    frames = frames_of(n)
    return lambda _: SceneChanges().update(RGB.sampled(frames, SAMPLES))


def sound(n: int) -> Run:
    waveform = torch.zeros(n * SAMPLE_RATE_HZ // 25 + SAMPLE_RATE_HZ, device="cuda")
    return lambda _: (mel_windows(waveform, 25), frame_loudness(waveform, n, 25))


def silence(n: int) -> Run:
    """A batch that begins in speech and ends in a pause."""
    with torch.device("cuda"):
        generator, mel = Wav2Lip(folded=True).eval(), torch.zeros(n, 1, 80, 16)
        faces = torch.zeros(n, 3, 96, 96)
    weights = [0.0] * (n // 2) + [1.0] * (n - n // 2)
    return lambda _: RestingMouths().mouths(generator, mel, faces, weights, [0] * n, [STILL] * n)


STAGES: dict[str, Stage] = {
    **{f"blend {method}": lambda n, method=method: batch(n, method) for method in BLENDS},
    **{f"blend {method} of tilted heads": lambda n, method=method: batch(n, method, TILTS[n]) for method in BLENDS},
    **{f"blend {method}, detail kept": lambda n, method=method: batch(n, method, detail=True) for method in BLENDS},
    "yuv420": before_the_encoder,
    "4:2:0 frames": planar,
    "nv12 for NVENC": for_nvenc,
    "nv12 of NVDEC": after_the_decoder,
    "detector": detector,
    "detector in half precision": lambda n: detector(n, torch.float16),
    "scene changes": scene_changes,
    "sound": sound,
    "silence gating": silence,
    "a frame without a face": some_without_a_face,
    "frames edited": edited,
}

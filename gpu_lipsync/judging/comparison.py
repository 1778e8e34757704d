"""One clip in every blend mode: what each does to it, in figures and in stills."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.blend_kernels.colourless import as_colourful
from gpu_lipsync.blend_kernels.config import BlendMethod
from gpu_lipsync.errors import FaceNotFoundError
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.judging.compare_figures import box_edge, detail, mask_edge, seam
from gpu_lipsync.judging.resync import require_numbers
from gpu_lipsync.models import CenterFace, load_face_mesh
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.heads import Heads
from gpu_lipsync.pasting.mouth_fit import fitted_masks
from gpu_lipsync.pasting.tilted import Aslant, upright_view
from gpu_lipsync.tracking.tracked_frames import track_faces
from gpu_lipsync.video import Video

BATCH, BATCH_PIXELS = 16, 16 << 20  # frames at a time, and theirs: each mode has a copy
MARGIN = 0.12  # of the face's height: what a still shows around it


@dataclass(frozen=True, kw_only=True)
class Still:
    """One moment around the face, upright if the head is turned for it: (3, h, w) uint8 RGB on the host."""

    frame: int
    source: Tensor
    modes: dict[str, Tensor]


@dataclass
class ModeFigures:
    """What a mode does, averaged over the frames looked at."""

    seconds: list[float] = field(default_factory=list)  # per frame, one entry per batch
    seam: list[float] = field(default_factory=list)  # squared levels per pixel
    detail: list[float] = field(default_factory=list)  # of the source's

    @property
    def milliseconds(self) -> float:
        """Median time of a frame."""
        return sorted(self.seconds)[len(self.seconds) // 2] * 1000

    @property
    def mean_seam(self) -> float:
        """Average over the frames looked at."""
        return sum(self.seam) / len(self.seam)

    @property
    def mean_detail(self) -> float:
        """Average over the frames looked at."""
        return sum(self.detail) / len(self.detail)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every mode on one clip."""

    n_frames: int
    figures: dict[BlendMethod, ModeFigures]
    stills: list[Still]


def compare(
    video: Video,
    mel: Tensor,
    detector: CenterFace,
    generator: nn.Module,
    *,
    moments: int,
    max_seconds: float,
    settings: BlendConfig,
) -> Comparison:
    """Blend the clip's beginning in every mode.

    Args:
        video: the face; its first pass counts.
        mel: (N, 1, 80, 16), one window for each output frame.
        detector: finds the faces.
        generator: makes the mouths.
        moments: how many stills to keep, spread over the clip.
        max_seconds: no more than this.
        settings: of the mask and the sharpening; the method is each in turn.

    Raises:
        CheckpointError: mouths with NaN or infinity, which blending would leave out.
        FaceNotFoundError: no frame shows a face.
    """
    figures: dict[BlendMethod, ModeFigures] = {method: ModeFigures() for method in BLENDS}
    stills: list[Still] = []
    n_frames, every = 0, 1
    for batch, (outputs, frames, heads) in enumerate(_tracked(video, len(mel), detector, max_seconds)):
        faces = crop_faces(frames, heads.boxes, tilts=heads.tilts)
        mouths = as_colourful(generator(mel[torch.tensor(outputs, device=mel.device)], faces).float(), faces)
        require_numbers(mouths)
        n_frames += len(outputs)
        results: dict[BlendMethod, Tensor] = {}
        how = {"fits": heads.fits, "tilts": heads.tilts}
        for method, figure in figures.items():
            config = replace(settings, method=method)
            if not figure.seconds:  # masks and filters are made once, at the first batch
                paste_faces(frames, mouths, heads.boxes, config, **how)
            started = _clock(video.device)
            results[method] = paste_faces(frames, mouths, heads.boxes, config, **how)
            figure.seconds.append((_clock(video.device) - started) / len(outputs))
        middle = len(outputs) // 2
        still = _still(outputs[middle], frames[middle], heads.picked([middle]), results, middle, figures, settings)
        if batch % every == 0:
            stills.append(still)
        if len(stills) == 4 * moments:  # enough to choose from, however long the clip
            stills, every = stills[::2], 2 * every
    if not stills:
        raise FaceNotFoundError(
            f"no face to compare modes on in the first {max_seconds:g} s of {video.path}; use a clip that shows one"
        )
    moments = min(moments, len(stills))
    chosen = [stills[(2 * i + 1) * len(stills) // (2 * moments)] for i in range(moments)]
    return Comparison(n_frames=n_frames, figures=figures, stills=chosen)


def _tracked(
    video: Video, n_windows: int, detector: CenterFace, max_seconds: float
) -> Iterator[tuple[list[int], Tensor, Heads]]:
    """Batches of output frames that show a face: their indices, frames and heads."""
    timeline = video.timeline(n_windows)
    outputs = next(timeline.passes())
    outputs = outputs[: max(1, round(max_seconds * float(video.fps)))]
    sources = range(timeline.source[outputs[0]], timeline.source[outputs[-1]] + 1)
    size = max(1, min(BATCH, BATCH_PIXELS // (video.size[0] * video.size[1])))
    clip = (frames for _, frames in video.batches(sources, size))
    mesh = load_face_mesh(video.device)
    heads = track_faces(clip, detector, FaceConfig(), mesh=mesh, fps=float(video.source_fps))
    for batch, frames in video.batches(sources, size):  # again: boxes are final only at the end
        shown = timeline.showing(outputs, batch)
        held = heads.picked([timeline.source[i] - sources.start for i in shown])
        seen = held.with_face()
        for first in range(0, len(seen), size):  # a picture is one frame, shown as often as the sound is long
            part = seen[first : first + size]
            picks = torch.tensor([timeline.source[shown[k]] - batch.start for k in part], device=frames.device)
            yield [shown[k] for k in part], frames[picks], held.picked(part)


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _still(
    output: int,
    frame: Tensor,
    head: Heads,
    results: dict[BlendMethod, Tensor],
    index: int,
    figures: dict[BlendMethod, ModeFigures],
    settings: BlendConfig,
) -> Still:
    """Cut the face out of one frame, whose head is given, in every mode, and measure it there; upright if tilted."""
    ((x1, y1, x2, y2),), (tilt,) = head.boxes.tolist(), head.tilts.tolist()
    ellipse = replace(settings, method="ellipse")
    (place,) = fitted_masks(head.boxes, head.fits, ellipse, frame.device)
    margin = round(MARGIN * (y2 - y1))
    left, top, right, bottom = x1 - margin, y1 - margin, x2 + margin, y2 + margin
    if not tilt:
        left, top, right, bottom = max(0, left), max(0, top), min(frame.shape[2], right), min(frame.shape[1], bottom)
    inner = (x1 - left, right - x2, y1 - top, bottom - y2)
    shown = Aslant(Rect(left, top, right, bottom), Rect(x1, y1, x2, y2), tilt)
    source = upright_view(frame, shown)
    modes = {name: upright_view(frames[index], shown) for name, frames in results.items()}
    beside = (place.left, place.width - place.right, place.top, place.height - place.bottom)
    mask = pad(place.stencil.mask, [a + b for a, b in zip(inner, beside, strict=True)])
    outline = box_edge(y2 - y1, x2 - x1, inner, frame.device)
    for name, picture in modes.items():
        edge = mask_edge(mask) if BLENDS[name].masked else outline
        figures[name].seam.append(seam(source[None], picture[None], edge))
        figures[name].detail.append(detail(source[None], picture[None], mask > 0.5))
    # Copies on a CPU too, where a view would hold its whole batch.
    kept: dict[str, Tensor] = {name: picture.to("cpu", copy=True) for name, picture in modes.items()}
    return Still(frame=output, source=source.to("cpu", copy=True), modes=kept)

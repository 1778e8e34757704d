"""One clip in every blend mode: what each does to it, in figures and in stills."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.blend_kernels.colourless import desaturated_like
from gpu_lipsync.blend_kernels.config import BlendMethod
from gpu_lipsync.errors import FaceNotFoundError
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.judging.compare_figures import box_edge, detail, mask_edge, seam
from gpu_lipsync.judging.resync import require_numbers
from gpu_lipsync.models import CenterFace, load_face_mesh
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.heads import Heads
from gpu_lipsync.pasting.lip_motion import find_lip_motion
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
    mesh = load_face_mesh(video.device) if settings.keep_detail else None
    for batch, (outputs, frames, heads) in enumerate(_tracked(video, len(mel), detector, max_seconds)):
        faces = crop_faces(frames, heads.boxes, tilts=heads.tilts)
        mouths = desaturated_like(generator(mel[torch.tensor(outputs, device=mel.device)], faces).float(), faces)
        require_numbers(mouths)
        n_frames += len(outputs)
        results: dict[BlendMethod, Tensor] = {}
        motion = None if mesh is None else find_lip_motion(mouths, faces, mesh)
        paste = partial(
            paste_faces,
            frames,
            mouths,
            heads.boxes,
            fits=heads.fits,
            tilts=heads.tilts,
            sources=faces,
            motion=motion,
        )
        for method, figure in figures.items():
            config = replace(settings, method=method)
            if not figure.seconds:  # masks and filters are made once, at the first batch
                paste(config=config)
            started = _clock(video.device)
            results[method] = paste(config=config)
            figure.seconds.append((_clock(video.device) - started) / len(outputs))
        middle = len(outputs) // 2
        view = _View.of_head(frames[middle], heads.picked([middle]), settings)
        source = upright_view(frames[middle], view.shown)
        modes = {method: upright_view(result[middle], view.shown) for method, result in results.items()}
        for method, picture in modes.items():
            view.measure(figures[method], source, picture, masked=BLENDS[method].masked)
        if batch % every == 0:
            kept: dict[str, Tensor] = {method: _kept(picture) for method, picture in modes.items()}
            stills.append(Still(frame=outputs[middle], source=_kept(source), modes=kept))
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


@dataclass(frozen=True)
class _View:
    """What a still shows of a frame.

    Attributes:
        shown: the face and its surroundings.
        mask: (1, 1, h, w), of `ellipse`, in what is shown.
        box: (1, 1, h, w), 1 along the edge of the face's box there.
    """

    shown: Aslant
    mask: Tensor
    box: Tensor

    @classmethod
    def of_head(cls, frame: Tensor, head: Heads, settings: BlendConfig) -> _View:
        """Around the one head of a frame (3, H, W), upright if that is turned for it."""
        ((x1, y1, x2, y2),), (tilt,) = head.boxes.tolist(), head.tilts.tolist()
        (place,) = fitted_masks(head.boxes, head.fits, replace(settings, method="ellipse"), frame.device)
        margin = round(MARGIN * (y2 - y1))
        left, top, right, bottom = x1 - margin, y1 - margin, x2 + margin, y2 + margin
        if not tilt:
            left, top = max(0, left), max(0, top)
            right, bottom = min(frame.shape[2], right), min(frame.shape[1], bottom)
        inner = (x1 - left, right - x2, y1 - top, bottom - y2)
        beside = (place.left, place.width - place.right, place.top, place.height - place.bottom)
        return cls(
            shown=Aslant(Rect(left, top, right, bottom), Rect(x1, y1, x2, y2), tilt),
            mask=pad(place.stencil.mask, [a + b for a, b in zip(inner, beside, strict=True)]),
            box=box_edge(y2 - y1, x2 - x1, inner, frame.device),
        )

    def measure(self, figure: ModeFigures, source: Tensor, picture: Tensor, *, masked: bool) -> None:
        """Add what a mode has made of the source here, both as `upright_view` shows them."""
        edge = mask_edge(self.mask) if masked else self.box
        figure.seam.append(seam(source[None], picture[None], edge))
        figure.detail.append(detail(source[None], picture[None], self.mask > 0.5))


def _kept(picture: Tensor) -> Tensor:
    """A copy on a CPU too, where a view would hold its whole batch."""
    return picture.to("cpu", copy=True)

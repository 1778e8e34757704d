"""The network's share of a batch: crop the faces, generate the mouths, blend them in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels import BlendConfig, finite_mouths, keeps_detail
from gpu_lipsync.blend_kernels.colourless import desaturated_like
from gpu_lipsync.decoding.frame_layout import RGB, FrameLayout
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.models import FaceMesh
from gpu_lipsync.ops import upload
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.pasting.heads import Heads
from gpu_lipsync.pasting.lip_motion import find_lip_motion
from gpu_lipsync.pasting.mouth_window import NOWHERE, around, blended_boxes, covers, mouth_window
from gpu_lipsync.process.lack_of_memory import is_lack_of_memory
from gpu_lipsync.progress import Observer
from gpu_lipsync.report import Report
from gpu_lipsync.silence import RestingMouths


class MouthRenderer:
    """Renders batches, smaller ones once the device has run out of memory."""

    def __init__(
        self,
        generator: Callable[..., Tensor],
        blend: BlendConfig,
        report: Report,
        observer: Observer,
        *,
        rest_weights: Sequence[float] | None = None,
        layout: FrameLayout = RGB,
        mesh: FaceMesh | None = None,
    ) -> None:
        """`rest_weights`, one for each output frame, turns silence gating on; frames come and go in `layout`. By `mesh`
        detail that is kept moves with lips and chin; without it what moved keeps none.
        """
        self._generator = generator
        self._blend = blend
        self._report = report
        self._observer = observer
        self._rest_weights = rest_weights
        self._layout = layout
        self._mesh = mesh if keeps_detail(blend) else None
        self._resting = RestingMouths()
        self._window: Window | None = NOWHERE  # of the mouths, as far as it only grows
        self._n_spoiled: Tensor | int = 0  # on the device: looking at it makes the host wait

    def render(self, frames: Tensor, mel: Tensor, heads: Heads) -> Tensor:
        """Give each frame the mouth that its sound asks for.

        Args:
            frames: (B, ...) uint8, in the layout given; nobody else's, for they may be changed.
            mel: (B, 1, 80, 16).
            heads: B of them; where a box is too small for a face, or all zeros, the frame passes through untouched.

        Returns:
            Like `frames`.

        Raises:
            RuntimeError: of lack of memory (`is_lack_of_memory`): not even one frame fits beside those that wait;
                smaller batches of these may help.
        """
        n_frames, first = len(frames), self._report.n_frames
        self._report.n_frames += n_frames
        with_face = heads.with_face()
        self._report.n_frames_without_face += n_frames - len(with_face)
        weights = [self._rest_weights[first + i] for i in with_face] if self._rest_weights else [0.0] * len(with_face)
        if len(with_face) == n_frames:
            return self._within_memory(frames, mel, heads, weights)
        if not with_face:
            return frames
        chosen = upload(torch.tensor(with_face), frames.device)
        synced = self._within_memory(frames[chosen], mel[chosen], heads.picked(with_face), weights)
        return frames.index_put((chosen,), synced)  # index_copy would make planes of interleaved frames

    def count_spoiled(self) -> None:
        """Report the mouths that were not numbers, which blending leaves out; once, since the host waits for it."""
        n_spoiled = self._report.n_spoiled = int(self._n_spoiled)
        if n_spoiled and not self._report.all_spoiled:
            self._report.note(
                f"{n_spoiled} mouths came out as NaN or infinity, and their frames are left as they were: "
                "the checkpoint is damaged, or overflows with --fp16",
                self._observer,
            )

    def _within_memory(self, frames: Tensor, mel: Tensor, heads: Heads, weights: list[float]) -> Tensor:
        synced: list[Tensor] = []
        done = 0
        while done < len(frames):
            part = range(done, min(done + self._report.batch_size, len(frames)))
            at = slice(part.start, part.stop)
            try:
                synced.append(self._render(frames[at], mel[at], heads.picked(part), weights[at]))
                done += len(synced[-1])
                continue
            except (RuntimeError, MemoryError) as error:  # PyTorch's and NumPy's
                if not is_lack_of_memory(error):
                    raise
                self._halve(min(self._report.batch_size, len(frames) - done), error)
            # Outside the handler, whose traceback keeps the failed batch's tensors alive.
            if frames.is_cuda:
                torch.cuda.empty_cache()
        return synced[0] if len(synced) == 1 else torch.cat(synced)

    def _halve(self, size: int, error: Exception) -> None:
        if size == 1:
            raise error
        self._report.batch_size = size // 2
        self._report.note(f"out of memory: going on with batches of {size // 2}", self._observer)

    def _render(self, frames: Tensor, mel: Tensor, heads: Heads, weights: list[float]) -> Tensor:
        """Crop, generate, blend. Memory may run out on the way, and the batch is done again: what is to be known of it
        later is kept at the end.
        """
        size = self._layout.size(frames)
        with self._report.timed("generate"):
            part = self._layout.part(frames, heads.surroundings(size))
            boxes = part.within(heads.boxes)
            faces = crop_faces(part.rgb, boxes, tilts=heads.tilts)
            window, resting = self._window_of(boxes, heads.fits, frames.device)
            one_face = heads.of_one_frame()
            rows = partial(_in_eights, most=self._report.batch_size) if frames.is_cuda else _as_they_are

            def generated(mel: Tensor, faces: Tensor) -> Tensor:
                made: Tensor = self._generator(rows(mel), faces[:1] if one_face else rows(faces), window=window)
                return made[: len(mel)]

            mouths, n_generated = resting.mouths(generated, mel, faces, weights, heads.scenes, heads.poses)
            mouths = desaturated_like(mouths.float(), faces)
        with self._report.timed("blend"):
            motion = None
            if self._mesh is not None:
                sources = faces[:1] if one_face else rows(faces)
                motion = find_lip_motion(rows(mouths), sources, self._mesh, window=window).first(len(mouths))
            blended = paste_faces(
                part.rgb, mouths, boxes, self._blend, fits=heads.fits, tilts=heads.tilts, sources=faces, motion=motion
            )
            n_spoiled = self._n_spoiled + (~finite_mouths(mouths)).sum()
            blended = part.replaced(blended, blended_boxes(heads, self._blend, frames.device, size))
        # From here on nothing asks for memory: a batch is counted once.
        self._resting, self._window, self._n_spoiled = resting, window, n_spoiled
        self._report.n_generated += n_generated
        self._report.n_frames_in_silence += sum(weight == 1 for weight in weights)
        return blended

    def _window_of(self, boxes: Tensor, fits: Tensor, device: torch.device) -> tuple[Window | None, RestingMouths]:
        """The part of the mouths that is made, and the resting mouths as far as they cover that.

        Resting mouths serve later frames too: the window only grows, and what was made in a smaller one is made anew.
        It only grows on CUDA as well: for each new one cuDNN plans the last layers anew.
        """
        window, resting = mouth_window(boxes, self._blend, device, fits=fits), copy(self._resting)
        if self._rest_weights is not None and not covers(self._window, window):
            resting.forget()
        if self._rest_weights is not None or device.type == "cuda":
            window = around(self._window, window)
        return window, resting


def _as_they_are(rows: Tensor) -> Tensor:
    return rows


def _in_eights(rows: Tensor, most: int) -> Tensor:
    """Rows (n, ...), and the last one again, until they are a multiple of eight, or `most`: how many faces and pauses a
    batch has changes, and for each new number of rows cuDNN plans the generator's sixty layers anew.
    """
    lacking = min(-(-len(rows) // 8) * 8, max(most, len(rows))) - len(rows)
    return torch.cat((rows, rows[-1:].expand(lacking, *rows.shape[1:]))) if lacking else rows

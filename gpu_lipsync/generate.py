"""The network's share of a batch: crop the faces, generate the mouths, blend them in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gpu_lipsync.blend_kernels import BlendConfig
from gpu_lipsync.errors import DeviceMemoryError
from gpu_lipsync.faces import MIN_BOX, crop_faces, paste_faces
from gpu_lipsync.progress import Observer
from gpu_lipsync.report import Report


class MouthRenderer:
    """Renders batches, smaller ones once the device has run out of memory."""

    def __init__(self, generator: nn.Module, blend: BlendConfig, report: Report, observer: Observer) -> None:
        self._generator = generator
        self._blend = blend
        self._report = report
        self._observer = observer

    def render(self, frames: Tensor, mel: Tensor, boxes: Tensor) -> Tensor:
        """Give each frame the mouth that its sound asks for.

        Args:
            frames: (B, 3, H, W) uint8 RGB.
            mel: (B, 1, 80, 16).
            boxes: (B, 4) int64 on the host; too small for a face, or all zeros: the frame passes through untouched.

        Returns:
            Like `frames`.

        Raises:
            DeviceMemoryError: not even one frame fits.
        """
        n_frames = len(frames)
        self._report.n_frames += n_frames
        sides = boxes[:, 2:] - boxes[:, :2]
        with_face = [i for i, side in enumerate(sides.tolist()) if min(side) >= MIN_BOX]
        self._report.n_frames_without_face += n_frames - len(with_face)
        if len(with_face) == n_frames:
            return self._within_memory(frames, mel, boxes)
        if not with_face:
            return frames
        chosen = torch.tensor(with_face, device=frames.device)
        synced = self._within_memory(frames[chosen], mel[chosen], boxes[with_face])
        return frames.index_copy(0, chosen, synced)

    def _within_memory(self, frames: Tensor, mel: Tensor, boxes: Tensor) -> Tensor:
        size = self._report.batch_size
        try:
            parts = [
                self._sync(frames[i : i + size], mel[i : i + size], boxes[i : i + size])
                for i in range(0, len(frames), size)
            ]
            return parts[0] if len(parts) == 1 else torch.cat(parts)
        except torch.OutOfMemoryError as error:
            largest = min(size, len(frames))
            if largest == 1:
                raise DeviceMemoryError(
                    f"out of memory on {frames.device} with a single frame of {frames.shape[3]}x{frames.shape[2]}; "
                    "pass --resize_factor 2 or --device cpu, or free memory on the device"
                ) from error
            self._report.batch_size = largest // 2
        # Outside the handler: the traceback would keep the failed batch's tensors alive.
        self._report.note(f"out of memory: going on with batches of {self._report.batch_size}", self._observer)
        if frames.is_cuda:
            torch.cuda.empty_cache()
        return self._within_memory(frames, mel, boxes)

    def _sync(self, frames: Tensor, mel: Tensor, boxes: Tensor) -> Tensor:
        with self._report.timed("generate"):
            mouths = self._generator(mel, crop_faces(frames, boxes))
        with self._report.timed("blend"):
            return paste_faces(frames, mouths, boxes, self._blend)

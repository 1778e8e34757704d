"""Which part of the generated mouths a blend mode looks at, and which part of the frame it changes."""

from __future__ import annotations

import torch
from torch import Tensor

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig, part_seen
from gpu_lipsync.models.wav2lip import FACE_SIZE
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.pasting.heads import Heads
from gpu_lipsync.pasting.mouth_fit import fitted_masks
from gpu_lipsync.pasting.tilted import masks_aslant, windows_around

NOWHERE = Window(FACE_SIZE, 0, FACE_SIZE, 0)  # covers nothing, and adds nothing to a window around it


def mouth_window(
    boxes: Tensor, config: BlendConfig, device: torch.device, *, fits: Tensor | None = None
) -> Window | None:
    """The part of 96 x 96 mouths that blending them into these boxes reads.

    Args:
        boxes: (B, 4) int64 x1 y1 x2 y2 on the host.
        config: mode and mask.
        device: where the masks are.
        fits: of the masks, as `paste_faces` takes them.

    Returns:
        One window for all of them; None: everything.
    """
    if BLENDS[config.method].whole_mouth:
        return None
    windows = {part_seen(place, config) for place in set(fitted_masks(boxes, fits, config, device))}
    tops, bottoms, lefts, rights = zip(*windows, strict=True)
    return Window(min(tops), max(bottoms), min(lefts), max(rights))


def blended_boxes(heads: Heads, config: BlendConfig, device: torch.device, size: tuple[int, int]) -> Tensor:
    """Where blending mouths changes frames of a `size` (height, width).

    Returns:
        (B, 4) int64 on the host: for each head the part of the frame outside of which nothing changes.
    """
    places = fitted_masks(heads.boxes, heads.fits, config, device)
    masks = masks_aslant(places, heads.boxes.tolist(), heads.tilts.tolist())
    around = [windows_around([mask], size)[0].astype(int).tolist() if mask.tilt else mask.rect for mask in masks]
    return torch.tensor(around, dtype=torch.int64)


def covers(window: Window | None, other: Window | None) -> bool:
    """Whether `other` lies in `window`; None is everything."""
    return window is None or (other is not None and around(window, other) == window)


def around(window: Window | None, other: Window | None) -> Window | None:
    """The smallest window that covers both."""
    if window is None or other is None:
        return None
    tops, bottoms, lefts, rights = zip(window, other, strict=True)
    return Window(min(tops), max(bottoms), min(lefts), max(rights))

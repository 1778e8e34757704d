"""What cropping and pasting faces refuse: frames, boxes, tilts and mouths that do not fit each other."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gpu_lipsync.face_config import MIN_BOX_PX
from gpu_lipsync.models.wav2lip import FACE_SIZE
from gpu_lipsync.ops.boxes import Rect


def checked_tilts(tilts: Tensor | None, n_boxes: int) -> list[float]:
    """The tilts of so many boxes, degrees; TypeError, ValueError where they are none."""
    if tilts is None:
        return [0.0] * n_boxes
    if not isinstance(tilts, Tensor) or tilts.dtype != torch.float64:
        raise TypeError(f"tilts must be a float64 tensor, got {getattr(tilts, 'dtype', type(tilts).__name__)}")
    if tilts.device.type != "cpu" or tilts.shape != (n_boxes,):
        raise ValueError(f"tilts must be ({n_boxes},) on the host, got {tuple(tilts.shape)} on {tilts.device}")
    degrees: list[float] = tilts.tolist()
    for i, tilt in enumerate(degrees):
        if not math.isfinite(tilt):
            raise ValueError(f"tilt {i} must be a number of degrees, got {tilt}")
    return degrees


def require_mouths(mouths: Tensor, frames: Tensor, *, name: str = "mouths") -> None:
    """Raise TypeError or ValueError unless there is one of the generator's size for each frame, on its device."""
    if not isinstance(mouths, Tensor) or not mouths.is_floating_point():
        raise TypeError(f"{name} must be a float tensor, got {getattr(mouths, 'dtype', type(mouths).__name__)}")
    expected = (len(frames), 3, FACE_SIZE, FACE_SIZE)
    if mouths.shape != expected or mouths.device != frames.device:
        raise ValueError(f"{name} must be {expected} on {frames.device}, got {tuple(mouths.shape)} on {mouths.device}")


def corners_of(frames: Tensor, boxes: Tensor, tilts: Sequence[float]) -> tuple[Rect, ...]:
    """The boxes, one for each frame; TypeError, ValueError where they or the frames are none."""
    if not isinstance(frames, Tensor) or frames.dtype != torch.uint8:
        raise TypeError(f"frames must be a uint8 tensor, got {getattr(frames, 'dtype', type(frames).__name__)}")
    if frames.ndim != 4 or frames.shape[1] != 3 or len(frames) == 0:
        raise ValueError(f"frames must be (B, 3, H, W), got {tuple(frames.shape) = }")
    if not isinstance(boxes, Tensor) or boxes.dtype != torch.int64:
        raise TypeError(f"boxes must be an int64 tensor, got {getattr(boxes, 'dtype', type(boxes).__name__)}")
    if boxes.device.type != "cpu" or boxes.shape != (len(frames), 4):
        raise ValueError(f"boxes must be ({len(frames)}, 4) on the host, got {tuple(boxes.shape)} on {boxes.device}")
    height, width = frames.shape[2:]
    corners = tuple(Rect(*box) for box in boxes.tolist())
    for i, (x1, y1, x2, y2) in enumerate(corners):
        large = x1 + MIN_BOX_PX <= x2 and y1 + MIN_BOX_PX <= y2
        if not (large and (tilts[i] or (x1 >= 0 and x2 <= width and y1 >= 0 and y2 <= height))):
            raise ValueError(
                f"box {i} must be at least {MIN_BOX_PX} x {MIN_BOX_PX} and inside the {width} x {height} frame, "
                f"got {(x1, y1, x2, y2) = }"
            )
    return corners

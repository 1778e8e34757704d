"""What is known of the head in each frame: where it is, how its mask lies, how it is held, and in which scene."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gpu_lipsync.face_config import MIN_BOX_PX
from gpu_lipsync.pasting.tilted import windows_of_boxes


class Pose(NamedTuple):
    """How a head is held: its mouth's middle in its box, in 96ths of its sides, and by how many levels of 255 the
    picture has changed from the first frame to this one, added up from frame to frame.
    """

    x: float
    y: float
    changed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Heads:
    """One head a frame, for n frames; all of it is on the host.

    Attributes:
        boxes: (n, 4) int64, with pads: x1 y1 x2 y2 in pixels, end exclusive, inside the frame unless `tilts` tell
            otherwise; zeros where there is no face.
        fits: (n, 3) int64, how the mask is to lie on the mouth: right, down, half the mouth's width, in pixels of a
            96 px face; zeros where there is no face, or the box is given.
        poses: None where there is no face, or the box is given.
        scenes: what tells in which stretch without a cut or a jump a frame is.
        frames: which source frame each is of; the same number, the same picture.
        tilts: (n,) float64, degrees that the head lies to the right, clockwise as seen, and is turned back by to be
            upright; then the box is as it would be if the frame were turned round its middle, and may reach out of it.
            0: the head is taken as it is.
    """

    boxes: Tensor
    fits: Tensor
    poses: tuple[Pose | None, ...]
    scenes: tuple[Hashable, ...]
    frames: tuple[int, ...]
    tilts: Tensor

    def __len__(self) -> int:
        return len(self.scenes)

    def with_face(self) -> list[int]:
        """Which frames have a box that is large enough for a mouth."""
        sides = (self.boxes[:, 2:] - self.boxes[:, :2]).amin(dim=1).tolist()
        return [i for i, side in enumerate(sides) if side >= MIN_BOX_PX]

    def of_one_frame(self) -> bool:
        """Whether all are the same head in the same picture, as those of a still are."""
        return len(set(self.frames)) == 1

    def picked(self, at: Sequence[int]) -> Heads:
        """Those at the places given, in that order."""
        chosen = list(at)
        return replace(
            self,
            boxes=self.boxes[chosen],
            fits=self.fits[chosen],
            poses=tuple(self.poses[i] for i in chosen),
            scenes=tuple(self.scenes[i] for i in chosen),
            frames=tuple(self.frames[i] for i in chosen),
            tilts=self.tilts[chosen],
        )

    def surroundings(self, size: tuple[int, int]) -> Tensor:
        """What of frames of a `size` (height, width) the boxes cover, as they lie: (n, 4) int64 like them."""
        return torch.tensor(windows_of_boxes(self.boxes.tolist(), self.tilts.tolist(), size))

    def in_pass(self, number: int) -> Heads:
        """The same where the clip is shown for the time `number`: where it begins anew, so does a scene."""
        return replace(self, scenes=tuple((number, scene) for scene in self.scenes))

"""Where one scene ends and the next begins, from a thumbnail of each frame."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

THUMBNAIL_SIZE = 16
SAMPLES = 96  # per side: enough pixels for the mean over a thumbnail's cell, a fraction of what a frame has
# A cut stands out from both sides; frames that are shown several times (15 fps at 30 or 60) must not hide that.
LEAST_LOOK_AHEAD, LOOK_AHEAD_S = 3, 0.1
REPEATED = 0.3  # levels: less is the same picture, coded anew
LOOK_BACK = 3  # times as far as ahead, past repeated pictures: those of calls and screens are shown four times and more
# Levels of 255 by which the thumbnails of a cut differ, and how many times more than those around it. On real clips
# heads and hands reach 9 levels and 2.6 times, jump cuts of one shot 6 to 16 levels and 10 times, others 100 levels.
CUT_RULES = ((4.0, 5.0), (25.0, 2.0))
MOST_OF_A_MOVE = 9.0


class SceneChanges:
    """How much each frame differs from the one before, computed where the frames are."""

    def __init__(self) -> None:
        self._last: Tensor | None = None

    @torch.inference_mode()
    def update(self, frames: Tensor) -> Tensor:
        """Mean absolute difference of each frame's thumbnail from the previous frame's.

        Args:
            frames: (B, 3, H, W) uint8, the frames after those of the call before; SAMPLES a side are enough.

        Returns:
            (B,) float32 on the frames' device, levels of 255; 0 for the first frame of all.
        """
        thumbnails = F.adaptive_avg_pool2d(frames.float(), THUMBNAIL_SIZE)
        before = torch.cat((thumbnails[:1] if self._last is None else self._last, thumbnails[:-1]))
        self._last = thumbnails[-1:].clone()
        return (thumbnails - before).abs().mean((1, 2, 3))


def look_ahead(fps: float) -> int:
    """How many frames to each side `is_cut` looks at."""
    return max(LEAST_LOOK_AHEAD, round(LOOK_AHEAD_S * fps))


def is_cut(changes: Sequence[float], frame: int, reach: int, *, flash: bool = False) -> bool:
    """Whether a scene begins with `frame`; `changes` must hold the next `reach` frames' too, or all there are.

    A flash, or an insert of a frame or two, has two edges as high as each other, and neither is one by itself. With
    `flash` either is: where no face is seen in it, it lies between two scenes as a rule.
    """
    first = max(0, frame - reach)
    while first > max(0, frame - LOOK_BACK * reach) and max(changes[first:frame]) < REPEATED:
        first -= 1
    # Of pictures that hold still between, a cut before this one is to hide it no more than a move would.
    moves = (min(change, MOST_OF_A_MOVE) for change in changes[first : max(0, frame - reach)])
    around = sorted([*moves, *changes[max(0, frame - reach) : frame], *changes[frame + 1 : frame + 1 + reach]])
    highest = max(around[:-1] if flash else around, default=0.0)
    return any(changes[frame] > levels and changes[frame] > times * highest for levels, times in CUT_RULES)

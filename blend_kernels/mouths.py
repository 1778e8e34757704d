"""Generated mouths, and what of the faces' own detail goes over them.

A generator makes 96 x 96 pixels, and soft ones. Most of what a mask shows of them is skin, beard and moustache that it
hardly meant to change, and lips that it moved: pores, hairs and the lips' lines are gone. Where the generated face is
the source's but for its detail, moved or not, the source's own detail is the right one, and is laid back.

Reference: moving what one picture has beyond its low-pass to another that is aligned with it is the detail transfer of
E. Eisemann and F. Durand, "Flash Photography Enhancement via Intrinsic Relighting", 2004.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from gpu_lipsync.blend_kernels.motion import Motion, moved
from gpu_lipsync.ops import SIZES_OF_A_BATCH, gaussian_blur, remembered, upload
from gpu_lipsync.ops.boxes import Window

MOUTH_SIZE = 96  # what the generator makes, pixels
ALIKE = 12 / 255  # a difference at which 1/e of the detail is kept: skin and hair have half of it, lips twice
ALIKE_MOVED = 45 / 255  # likewise where it is known how lips and chin moved: what differs is still the same lip
NOTHING = 20.0  # an exponent that leaves nothing of it; with what is still less a CPU is slow
SMOOTHING = (7, 1.0)  # Gaussian, pixels of 96: what is finer is detail
NEAR = 3  # pixels across: a change counts one pixel further than it reaches, where an old lip still has its edge


@dataclass(frozen=True)
class Mouths:
    """Mouths to be blended in.

    Attributes:
        made: (B, 3, 96, 96) float32 RGB in [0, 1], as the generator made them.
        kept: (B, 3, 96, 96) float32 in [0, 1], the share of the source's detail that is kept, once for each colour;
            None: nothing.
        change: (B, 3, 96, 96) float32, by what the source is changed where its detail is kept, times that share; None
            likewise.
        shift: (B, 2, 96, 96) float32, where the detail is to be taken from, as `Motion` has it; None: from the place
            itself.
    """

    made: Tensor
    kept: Tensor | None = None
    change: Tensor | None = None
    shift: Tensor | None = None

    @staticmethod
    def keeping_detail(
        made: Tensor, source: Tensor, windows: tuple[Window, ...], motion: Motion | None = None
    ) -> Mouths:
        """Mouths that keep the detail of `source` where they hardly differ from it otherwise.

        Args:
            made: (B, 3, 96, 96) float32 in [0, 1].
            source: likewise, what they were made from.
            windows: the part that is looked at of each, or one of all of them: more need not be made.
            motion: how they moved; by default what has moved is what differs.
        """
        within = _within(windows, made.device)
        if motion is not None:  # what lies outside the part that is looked at is not there to be moved into it
            source = moved(source, motion.shift)
            within = moved(within.expand(len(made), -1, -1, -1), motion.shift).mul_(within)
        difference = (made - source).mul_(within)
        kernel, sigma = SMOOTHING
        change = gaussian_blur(difference, kernel, sigma=sigma)
        changed = max_pool2d(change.abs().amax(dim=1, keepdim=True), NEAR, stride=1, padding=NEAR // 2)
        changed = gaussian_blur(changed, kernel, sigma=sigma)
        alike = ALIKE if motion is None else ALIKE_MOVED
        kept = changed.div_(alike).square_().clamp_max_(NOTHING).neg_().exp_()
        if motion is not None:
            kept.mul_(motion.shown).mul_(within)
        kept = kept.expand(-1, 3, -1, -1).contiguous()
        return Mouths(made, kept, change.mul_(kept), None if motion is None else motion.shift)


@remembered(SIZES_OF_A_BATCH)
def _within(windows: tuple[Window, ...], device: torch.device) -> Tensor:
    """1 in each window of a mouth, 0 around it: (n, 1, 96, 96) float32."""
    top, bottom, left, right = upload(torch.tensor(windows), device).T[:, :, None]
    at = torch.arange(MOUTH_SIZE, device=device)
    rows, columns = (at >= top) & (at < bottom), (at >= left) & (at < right)
    return (rows[:, :, None] & columns[:, None, :])[:, None].float()

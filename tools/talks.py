"""Recordings with the mouths that said them, end to end: any number of windows of sound in one operation."""

from dataclasses import dataclass

import torch
from torch import Tensor

MEL_COLUMNS = 16
COLUMNS_PER_S = 80
TRACK_HZ = 200
MOMENTS_S = (-0.02, 0.02, 0.06, 0.10)  # after the window's start; a frame is on screen for the first 0.04 s


@dataclass(frozen=True, kw_only=True)
class Talks:
    """Sounds end to end, and the mouths that go with them.

    Attributes:
        mel: (80, all columns).
        mouth: (4, all moments), at TRACK_HZ.
        columns: (2, n): where each talk begins in `mel`, and how many columns it has.
        moments: (2, n), likewise in `mouth`.
    """

    mel: Tensor
    mouth: Tensor
    columns: Tensor
    moments: Tensor

    @staticmethod
    def joined(talks: list[tuple[Tensor, Tensor]]) -> "Talks":
        """One of talks (80, T), (4, m)."""
        mels, mouths = ([part.float() for part in parts] for parts in zip(*talks, strict=True))
        return Talks(
            mel=torch.cat(mels, dim=1), mouth=torch.cat(mouths, dim=1), columns=_spans(mels), moments=_spans(mouths)
        )

    def windows(self, talk: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Sound (n, 1, 80, 16) of talks (n,) from that `share` (n,) of theirs on, and the mouths then (n, 4, 4)."""
        first, n_columns = self.columns[:, talk]
        column = (share * (n_columns - MEL_COLUMNS)).long()
        mel = self.mel[:, (first + column)[:, None] + torch.arange(MEL_COLUMNS)].permute(1, 0, 2)[:, None]
        first, n_moments = self.moments[:, talk]
        moment = ((column / COLUMNS_PER_S)[:, None] + torch.tensor(MOMENTS_S)) * TRACK_HZ
        moment = torch.minimum(moment.long().clamp(min=0), n_moments[:, None] - 1)
        return mel, self.mouth[:, first[:, None] + moment].permute(1, 2, 0)


def _spans(parts: list[Tensor]) -> Tensor:
    """(2, n): where each part begins once all are joined along their last dimension, and how long it is."""
    lengths = torch.tensor([part.shape[-1] for part in parts])
    return torch.stack((lengths.cumsum(0) - lengths, lengths))

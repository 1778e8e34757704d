"""Recordings with the mouths that said them, end to end: any number of windows of sound in one operation."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_lipsync.tools.constants import constant

MEL_COLUMNS = 16
COLUMNS_PER_S = 80
TRACK_HZ = 200
LIPS_LEAD_S = 0.02  # lips are on their way before a phoneme is heard
MOMENTS_S = (-0.02, 0.02, 0.06, 0.10)  # after the window's start; a frame is on screen for the first 0.04 s
FRAME_MOMENT = 1  # of them, the one that the picture shows


@dataclass(frozen=True, kw_only=True)
class Talks:
    """Sounds end to end, and the mouths that go with them.

    Attributes:
        mel: (80, all columns).
        mouth: (4, all moments), at TRACK_HZ.
        columns: (2, n): where each talk begins in `mel`, and how many columns it has.
        moments: (2, n), likewise in `mouth`.
        chances: (n,): of drawing a talk. The longer it is, the likelier; but of two voices of which one has four times
            as much, that is drawn twice as often, not four times.
    """

    mel: Tensor
    mouth: Tensor
    columns: Tensor
    moments: Tensor
    chances: Tensor

    @staticmethod
    def joined(talks: list[tuple[Tensor, Tensor, str]]) -> "Talks":
        """One of talks (80, T), (4, m), and whose voice each is."""
        mels, mouths = [mel.float() for mel, _, _ in talks], [mouth.float() for _, mouth, _ in talks]
        columns = _spans(mels)
        of_voice: Counter[str] = Counter()
        for (_, _, voice), n_columns in zip(talks, columns[1].tolist(), strict=True):
            of_voice[voice] += n_columns
        spoken = torch.tensor([of_voice[voice] for _, _, voice in talks])
        return Talks(
            mel=torch.cat(mels, dim=1),
            mouth=torch.cat(mouths, dim=1),
            columns=columns,
            moments=_spans(mouths),
            chances=columns[1] / spoken.sqrt(),
        )

    def windows(self, talk: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Sound (n, 1, 80, 16) of talks (n,) from that `share` (n,) of theirs on, and the mouths then (n, 4, 4)."""
        first, n_columns = self.columns[:, talk]
        column = (share * (n_columns - MEL_COLUMNS)).long()
        mel = self.mel[:, (first + column)[:, None] + torch.arange(MEL_COLUMNS)].permute(1, 0, 2)[:, None]
        first, n_moments = self.moments[:, talk]
        moment = ((column / COLUMNS_PER_S)[:, None] + constant(MOMENTS_S, mel.device)) * TRACK_HZ
        moment = torch.minimum(moment.long().clamp(min=0), n_moments[:, None] - 1)
        return mel, self.mouth[:, first[:, None] + moment].permute(1, 2, 0)


def lips_ahead(mouth: Tensor) -> Tensor:
    """A mouth (4, m) that was derived from phonemes, LIPS_LEAD_S earlier, as lips are; (4, m less as much)."""
    return mouth[:, round(LIPS_LEAD_S * TRACK_HZ) :].clone()  # of a view torch.save would keep the whole


def _spans(parts: list[Tensor]) -> Tensor:
    """(2, n): where each part begins once all are joined along their last dimension, and how long it is."""
    lengths = torch.tensor([part.shape[-1] for part in parts])
    return torch.stack((lengths.cumsum(0) - lengths, lengths))

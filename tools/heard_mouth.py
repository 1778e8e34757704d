"""The mouth that a finished ear hears: what stills are drawn to say while a face learns and the ear stays as it is.

What was said and what is heard of it differ: in noise, in others' mouths and from moment to moment no sound tells all.
A face that is to show what was said can only hedge, and where an edge may lie here or there a thin lip between two is
blurred into the skin. What is heard it can show: that is all in the code which it is given.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpu_lipsync.tools.talks import FRAME_MOMENT

FIT_BATCHES, FIT_BATCH = 60, 512
N_QUANTILES = 257
SHRUNK = 0.1  # ridge


def linear_reading(codes: Tensor, values: Tensor) -> Tensor:
    """What takes codes (n, c) to values (n, k) by least squares, (c + 1, k), for `read`."""
    ones = torch.cat((codes, torch.ones_like(codes[:, :1])), dim=1)
    return torch.linalg.solve(ones.T @ ones + SHRUNK * torch.eye(ones.shape[1], device=ones.device), ones.T @ values)


def read(codes: Tensor, reading: Tensor) -> Tensor:
    """(n, k) that codes (n, c) are read as."""
    return codes @ reading[:-1] + reading[-1]


class HeardMouth:
    """What is heard in windows of sound, each number of a mouth as often as it is said.

    A reading by least squares is nearer to the mean than what it reads: mouths would hardly ever be shut, or wide open.
    So it counts by its rank, as the value of that rank among those said.
    """

    def __init__(self, encoder: nn.Module, speech: Callable[[int], tuple[Tensor, Tensor]]) -> None:
        """Of an encoder that learns no more, in evaluation mode; `speech` as `BatchMaker.speech`."""
        self._encoder = encoder
        codes, said = [], []
        for _ in range(FIT_BATCHES):
            mel, mouth = speech(FIT_BATCH)
            codes.append(self._code(mel))
            said.append(mouth[:, FRAME_MOMENT])
        code, mouths = torch.cat(codes), torch.cat(said)
        self._reading = linear_reading(code, mouths)
        ranks = torch.linspace(0, 1, N_QUANTILES, device=code.device)
        self._heard, self._said = (
            torch.stack([torch.quantile(column, ranks) for column in values.unbind(dim=1)])
            for values in (read(code, self._reading), mouths)
        )

    def __call__(self, mel: Tensor, mouth: Tensor) -> Tensor:
        """The mouths (n, 4) to draw with windows (n, 1, 80, 16); where of those said, (n, 4, 4), none opens, shut."""
        values = read(self._code(mel), self._reading).T.contiguous()
        above = torch.searchsorted(self._heard, values).clamp(1, N_QUANTILES - 1)
        low, high = self._heard.gather(1, above - 1), self._heard.gather(1, above)
        share = ((values - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        drawn = torch.lerp(self._said.gather(1, above - 1), self._said.gather(1, above), share).T
        return drawn * (mouth != 0).flatten(1).any(dim=1, keepdim=True)

    @torch.no_grad()
    def _code(self, mel: Tensor) -> Tensor:
        return self._encoder(mel.contiguous(memory_format=torch.channels_last)).flatten(1)

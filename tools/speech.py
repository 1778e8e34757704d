"""Spoken text, whoever spoke it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Spoken text. `phonemes` are (start in seconds, IPA), in order; "" or "_:" is a pause."""

    samples: NDArray[np.int16]
    sample_rate_hz: int
    phonemes: list[tuple[float, str]]

"""How a run talks to people while it goes: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any, Protocol

_PLAIN_EVERY_S = 5.0


class Observer(Protocol):
    """Told what happens during a run."""

    def note(self, line: str) -> None: ...

    def begin(self, n_frames: int) -> None: ...

    def advance(self, n_frames: int) -> None: ...

    def end(self) -> None: ...


class Silent:
    """Says nothing."""

    def note(self, line: str) -> None:
        return

    def begin(self, n_frames: int) -> None:
        return

    def advance(self, n_frames: int) -> None:
        return

    def end(self) -> None:
        return


class Console:
    """Frames done, rate and time left on stderr."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._n_frames = self._n_done = 0
        self._start = self._said = 0.0

    def note(self, line: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def begin(self, n_frames: int) -> None:
        self._n_frames, self._start = n_frames, time.monotonic()
        self._said = self._start
        if sys.stderr.isatty():
            from tqdm import tqdm

            # tqdm prints nothing on a terminal that does not know its size; this falls back to 80 x 24.
            columns, rows = shutil.get_terminal_size()
            self._bar = tqdm(total=n_frames, unit="frame", desc="lip-sync", file=sys.stderr, ncols=columns, nrows=rows)

    def advance(self, n_frames: int) -> None:
        self._n_done += n_frames
        if self._bar is not None:
            self._bar.update(n_frames)
            return
        now = time.monotonic()
        if now - self._said >= _PLAIN_EVERY_S or self._n_done == self._n_frames:
            self._said = now
            rate = self._n_done / max(now - self._start, 1e-3)
            left = (self._n_frames - self._n_done) / rate
            self.note(f"lip-sync: {self._n_done}/{self._n_frames} frames, {rate:.1f} frames/s, {left:.0f} s left")

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

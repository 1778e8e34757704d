"""How a run talks to people while it goes: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TextIO

_PLAIN_EVERY_S = 5.0


def one_line(text: object) -> str:
    """Text with ends of lines and other control characters escaped: a file's name may have them, a line may not."""
    return "".join(ascii(c)[1:-1] if c < " " or "\x7f" <= c <= "\x9f" or c in "\u2028\u2029" else c for c in str(text))


class TolerantStream:
    """Takes text for people to read; that nobody reads it, any more or ever, is no reason for a run to fail."""

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` is None where the caller closed it, as `2>&-` does; a host program's own may have `write` alone."""
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> None:
        # The name of a file may hold what no encoding has: bytes that are not UTF-8 come as lone surrogates.
        printable = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        if self._stream is not None:
            with suppress(OSError, ValueError):  # the latter of one that its owner has closed
                self._stream.write(printable)

    def flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError, ValueError, AttributeError):
                self._stream.flush()

    def isatty(self) -> bool:
        with suppress(ValueError, AttributeError):
            return self._stream is not None and self._stream.isatty()
        return False


class Observer(Protocol):
    """Told what happens during a run. What its methods raise ends the run and comes out of it as it is."""

    def note(self, line: str) -> None: ...

    def begin(self, n_frames: int) -> None: ...

    def advance(self, n_frames: int) -> None: ...

    def settle(self) -> None:
        """The output is complete and about to be put in its place: too late to call it off."""
        ...

    def end(self) -> None:
        """The run is over, however it ended; may be told more than once."""
        ...


class ObserverError(BaseException):
    """Takes what an observer raised past all those who look after the run's own errors."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Shielded:
    """An observer whose errors come as ObserverError: a full pipe of its own is no lack of memory of the run's."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def note(self, line: str) -> None:
        self._tell(self._observer.note, line)

    def begin(self, n_frames: int) -> None:
        self._tell(self._observer.begin, n_frames)

    def advance(self, n_frames: int) -> None:
        self._tell(self._observer.advance, n_frames)

    def settle(self) -> None:
        self._tell(self._observer.settle)

    def end(self) -> None:
        self._tell(self._observer.end)

    def _tell(self, method: Callable[..., None], *told: object) -> None:
        try:
            method(*told)
        except Exception as error:
            raise ObserverError(error) from error


class Silent:
    """Says nothing."""

    def note(self, line: str) -> None:
        return

    def begin(self, n_frames: int) -> None:
        return

    def advance(self, n_frames: int) -> None:
        return

    def settle(self) -> None:
        return

    def end(self) -> None:
        return


class Console:
    """Frames done, rate and time left on stderr."""

    def __init__(self) -> None:
        self._stream = TolerantStream(sys.stderr)
        self._bar: Any = None
        self._n_frames = self._n_done = 0
        self._start = self._said = 0.0

    def note(self, line: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        self._stream.write(f"{one_line(line)}\n")
        self._stream.flush()

    def begin(self, n_frames: int) -> None:
        self.end()  # a run that has begun again
        self._n_frames, self._n_done, self._start = n_frames, 0, time.monotonic()
        self._said = self._start
        if self._stream.isatty():
            from tqdm import tqdm

            # tqdm prints nothing on a terminal that does not know its size; this falls back to 80 x 24.
            columns, rows = shutil.get_terminal_size()
            # One process draws it: tqdm's own lock is for several, and from Python 3.14 on starts one to look after it.
            if not hasattr(tqdm, "_lock"):
                tqdm.set_lock(threading.RLock())
            self._bar = tqdm(
                total=n_frames, unit="frame", desc="lip-sync", file=self._stream, ncols=columns, nrows=rows
            )

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

    def settle(self) -> None:
        return

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

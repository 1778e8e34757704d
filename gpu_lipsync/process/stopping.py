"""How signals end a run of the command: cleanly, and once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_STOPPING = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


def _unheeded(*_: object) -> None:
    """For SIG_IGN, of which Python complains where a signal is on its way already."""


class Stopped(KeyboardInterrupt):
    """A signal ends the run: clean up."""

    def __init__(self, number: int) -> None:
        super().__init__(_STOPPING[signal.Signals(number)])
        self.exit_code = 128 + number  # as shells have it


class Stops:
    """The signals that end a run: the first raises Stopped, and no other cuts the cleaning up short."""

    def __init__(self, *, for_good: bool = False) -> None:
        """`for_good`: once stopped or done, the process is about to end, and nothing is to change its exit code."""
        self._for_good = for_good
        self._before: dict[signal.Signals, Any] = {}
        self._ended = False  # stopped, or past being stopped
        self._holding = False
        self._held: int | None = None

    def __enter__(self) -> Stops:
        if threading.current_thread() is not threading.main_thread():
            return self  # there alone Python takes signals; what called us from a thread has its own ways to stop us
        for number in _STOPPING:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # as nohup has SIGHUP; a host program's own
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        if not (self._ended and self._for_good):
            self._set(self._before)

    def ignore(self) -> None:
        """From here on nothing is to be interrupted."""
        self._ended = True
        self._set(dict.fromkeys(self._before, _unheeded))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Answer a signal only afterwards: what is done here cannot be left in the middle."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            if self._held is not None:  # goes before what may have failed meanwhile
                self._stop(self._held, None)

    def _stop(self, number: int, _: object) -> None:
        if self._holding:
            self._held = number if self._held is None else self._held
            return
        self.ignore()
        raise Stopped(number)

    @staticmethod
    def _set(handlers: dict[signal.Signals, Any]) -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

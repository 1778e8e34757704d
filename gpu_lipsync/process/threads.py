"""What runs beside the caller: loading, decode ahead of the network, encode behind it.

Queues are bounded. An error in a thread surfaces in the caller; leaving early, by an error or Ctrl-C, stops the thread
that decodes or encodes and waits for it, and for the one that loads. A leaf: imports nothing of ours.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

T = TypeVar("T")

_POLL_S = 0.1  # how soon a blocked thread notices that it is to stop


class _End:
    pass


@dataclass(frozen=True)
class _Failure:
    error: BaseException


def prefetch(
    items: Iterable[T], *, depth: int, initializer: Callable[[], None] | None = None
) -> Generator[T, None, None]:
    """Iterate `items` in a thread, at most `depth` of them ahead of the caller; `initializer` runs first there."""
    ready: queue.Queue[T | _End | _Failure] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def produce() -> None:
        outcome: _End | _Failure = _End()
        iterator = iter(items)
        try:
            if initializer is not None:
                initializer()
            for item in iterator:
                if not _put(ready, item, stop):
                    break
                del item  # not kept alive while the next is made
        except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
            outcome = _Failure(error)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
        _put(ready, outcome, stop)
        del outcome  # an error holds this frame: a circle, and all that hangs on it

    thread: _Thread | None = None
    try:  # an exception that a host's signal handler raises may come while the thread starts, too
        thread = _Thread(produce, "decode")
        while True:
            item = ready.get()
            if isinstance(item, _End):
                return
            if isinstance(item, _Failure):
                try:
                    raise item.error
                finally:
                    del item  # as above
            yield item
            del item  # nor while the next comes
    finally:
        stop.set()
        if thread is not None:
            thread.wait()


class Sink(Generic[T]):
    """Hand items to `consume`, which runs in a thread, at most `depth` of them behind the caller.

    It ends by `close`, which waits until everything is consumed, or by `abort`, which drops what is queued.
    """

    def __init__(self, consume: Callable[[T], None], *, depth: int) -> None:
        self._consume = consume
        self._items: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        try:
            self._thread = _Thread(self._run, "encode")
        except BaseException:  # one that a host's signal handler raises, perhaps: the thread may have begun
            self._stop.set()
            raise

    def put(self, item: T) -> None:
        """Queue an item; raises what the thread failed with, if it has."""
        if not _put(self._items, item, self._stop):
            self._raise()

    def close(self) -> None:
        """Wait until everything queued is consumed; raises what the thread failed with."""
        _put(self._items, _End(), self._stop)
        self._thread.wait()
        self._raise()

    @property
    def aborted(self) -> bool:
        """Whether `abort` was called, or consuming failed: what is long at work on one item may ask."""
        return self._stop.is_set()

    def abort(self) -> None:
        """Drop what is queued, wait for the thread to end, and forget what it failed with."""
        self._stop.set()
        self._thread.wait()
        self._error = None

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    item = self._items.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
                if isinstance(item, _End):
                    return
                self._consume(item)
                del item  # not kept alive while it waits for more
        except BaseException as error:  # noqa: BLE001 - kept for the caller, who raises it
            self._error = error
            self._stop.set()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class Later(Generic[T]):
    """What `make` returns, made in a thread from now on; as a context manager, until it is left."""

    def __init__(self, make: Callable[[], T], *, initializer: Callable[[], None] | None = None) -> None:
        """`initializer` runs first there."""
        self._make, self._initializer = make, initializer
        self._outcome: T | _Failure | None = None
        self._thread = _Thread(self._run, "load")

    def get(self) -> T:
        """Wait for it; raises what `make` failed with."""
        self._thread.wait()
        if isinstance(self._outcome, _Failure):
            raise self._outcome.error
        return cast(T, self._outcome)

    def __enter__(self) -> Later[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.wait()
        self._outcome = None

    def _run(self) -> None:
        try:
            if self._initializer is not None:
                self._initializer()
            self._outcome = self._make()
        except BaseException as error:  # noqa: BLE001 - kept for the caller, who raises it
            self._outcome = _Failure(error)


class _Thread:
    """A thread that can be waited for again after a signal has cut the waiting short.

    Not so by `join` alone: in Python 3.11 one that is interrupted leaves the thread marked as ended, the next returns
    at once, and what the thread still uses would be closed under it.
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        self._done.wait()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._work()
        finally:
            del self._work  # else what it belongs to would keep itself alive through this
            self._done.set()


def _put(target: queue.Queue, item: object, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            target.put(item, timeout=_POLL_S)
            return True
        except queue.Full:
            continue
    return False

"""How threads share a CPU's cores: one for each of those that run beside others, all for the one that computes.

PyTorch's number of threads is each thread's own, taken from the process's at its first operation; setting it in one
thread sets the process's too. A leaf: imports nothing of ours.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from functools import cache, partial
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def use_one_core() -> None:
    """Keep the operations of the calling thread on its own core; those of threads already at work stay as they are.

    For threads that run beside others: an operation split over cores waits for the busiest of them. PyTorch takes the
    number over for all threads that have not used it yet: `cores_given_back` undoes that.
    """
    torch.get_num_threads()  # settles the number for this thread: else its first operation would take the process's
    torch.set_num_threads(1)


class _Team(threading.local):
    """The OpenMP threads that work for the calling thread. A fork copies that one alone: it would wait for ever."""

    used = False  # whether operations of this thread have been split over OpenMP's threads
    lost = False  # whether those were left behind in the process that this one was forked from


_team = _Team()


_borrowers: list[int] = []
_borrowing = threading.Lock()


@contextmanager
def cores_given_back() -> Iterator[None]:
    """Let threads be kept to one core within, and leave PyTorch's number of them to the process as it was.

    A host program's threads that use PyTorch for the first time would else find one for ever. Within, the calling
    thread has them all (but for one that was forked off one with threads), and others that are new have one. Runs at
    once share the number of the first.
    """
    with _borrowing:
        # The process's number, not the caller's: that thread may have had its first operation during another's run.
        n_threads = _borrowers[0] if _borrowers else _in_new_thread(torch.get_num_threads)
        if torch.get_num_threads() != n_threads:
            torch.set_num_threads(n_threads)
        _borrowers.append(n_threads)
    _team.used = True
    if _team.lost:  # it would wait for ever for threads that a fork has left behind
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _borrowing:
            _borrowers.pop()
            if not _borrowers:
                with suppress(RuntimeError):  # no thread to be had; what was done within is worth more
                    # Not in this thread, whose number it would be, too.
                    _in_new_thread(lambda: torch.set_num_threads(n_threads))


def _in_new_thread(function: Callable[[], R]) -> R:
    results: list[R] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def map_on_cores(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Apply `function` to each item, each on one CPU core, in the caller's modes of gradients; results in order.

    Splitting every operation over the cores instead makes all of them wait for the slowest at each: a generator of
    sixty layers is a third slower that way where an encoder runs beside it. Where one fails, the others have ended too
    before it is told.
    """
    parts, n_threads = list(items), torch.get_num_threads()
    if n_threads == 1 or len(parts) == 1:
        return [function(part) for part in parts]
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def alone(part: T) -> R:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):  # modes are each thread's own
            return function(part)

    at_work = [_cores(n_threads).submit(partial(alone, part)) for part in parts]
    wait(at_work)
    try:
        return [at_work.pop(0).result() for _ in parts]
    finally:
        at_work.clear()  # an error leads here by its traceback, and a future to the error: a circle


class _Cores:
    """Threads with a core each, for as long as the process lives.

    Not `concurrent.futures`' pool: that takes no work once the main thread has ended, though runs in others go on.
    """

    def __init__(self, n_threads: int) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        started = 0
        try:
            for _ in range(n_threads):
                ready = threading.Event()
                threading.Thread(target=self._run, args=(ready,), name="core", daemon=True).start()
                started += 1
                ready.wait()  # it has its number by then
        except BaseException:  # no more threads to be had, or a signal's exception: those that are there end
            for _ in range(started):
                self._work.put(None)
            raise

    def submit(self, work: Callable[[], R]) -> Future[R]:
        future: Future[R] = Future()
        self._work.put((future, work))
        return future

    def _run(self, ready: threading.Event) -> None:
        use_one_core()
        ready.set()
        while (item := self._work.get()) is not None:
            future, work = item
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
                future.set_exception(error)
            del item, future, work  # nothing is kept alive while it waits for more


_making = threading.Lock()  # two runs at once share one


def _cores(n_threads: int) -> _Cores:
    with _making:
        return _made(n_threads)


@cache  # its threads wait for work as long as the process lives: one for each number that a program has set
def _made(n_threads: int) -> _Cores:
    with cores_given_back():
        return _Cores(n_threads)


def _forget_threads() -> None:
    """In a child, which has none of them, and in which nobody's run goes on."""
    global _borrowing, _making  # noqa: PLW0603 - another of the parent's threads may have held them
    _borrowing, _making = threading.Lock(), threading.Lock()
    _made.cache_clear()
    _team.lost = _team.lost or _team.used
    if _borrowers:
        n_threads = _borrowers[0]
        _borrowers.clear()
        with suppress(RuntimeError):
            _in_new_thread(lambda: torch.set_num_threads(n_threads))


os.register_at_fork(after_in_child=_forget_threads)

"""How threads share a CPU's cores: one for each of those that run beside others, all for the one that computes.

PyTorch's number of threads is each thread's own, taken from the process's at its first operation; setting it in one
thread sets the process's too. A leaf: imports nothing of ours.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TypeVar

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
    if team_is_lost():
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
    """Apply `function` to each item, each on one CPU core, in the caller's inference mode; results in order.

    Splitting every operation over the cores instead makes all of them wait for the slowest at each: a generator of
    sixty layers is a third slower that way where an encoder runs beside it. Where one fails, the others have ended too
    before it is told.
    """
    parts, n_threads = list(items), torch.get_num_threads()
    if n_threads == 1 or len(parts) == 1:
        return [function(part) for part in parts]
    inference = torch.is_inference_mode_enabled()

    def alone(part: T) -> R:
        with torch.inference_mode(inference):  # modes are each thread's own
            return function(part)

    at_work = [_cores(n_threads).submit(alone, part) for part in parts]
    wait(at_work)
    return [part.result() for part in at_work]


@lru_cache(maxsize=1)
def _cores(n_threads: int) -> ThreadPoolExecutor:
    pool, all_there = ThreadPoolExecutor(n_threads, "core", initializer=use_one_core), threading.Barrier(n_threads)
    with cores_given_back():
        try:
            wait([pool.submit(all_there.wait) for _ in range(n_threads)])  # each of them has its number by then
        finally:
            all_there.abort()  # else those that did start would wait for ever for one that cannot
    return pool


class _Team(threading.local):
    used = False  # whether operations of this thread have been split over OpenMP's threads
    lost = False  # whether those were left behind in the process that this one was forked from


_team = _Team()


def team_is_lost() -> bool:
    """Whether the calling thread would wait for threads for ever that its process does not have.

    OpenMP keeps the threads that work for a thread, and a fork copies that one alone. Told to work alone it does not
    ask for them.
    """
    _team.used = True
    return _team.lost


def _forget_threads() -> None:
    _cores.cache_clear()  # a child has the pool, but not its threads
    _team.lost = _team.lost or _team.used


os.register_at_fork(after_in_child=_forget_threads)

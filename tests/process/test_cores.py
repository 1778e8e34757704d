"""Threads share cores within a run and for a batch's parts; the host program's are as many before as after."""

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from gpu_lipsync.process.cores import _made, cores_given_back, map_on_cores, use_one_core


def of_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_a_thread_new_to_pytorch_during_another_s_run_has_all_cores_in_its_own(three_threads: int) -> None:
    """A worker of a server: what it found then was neither its run's number nor the process's."""
    with ThreadPoolExecutor(1) as worker:

        def own_run() -> int:
            with cores_given_back():
                return torch.get_num_threads()

        with cores_given_back(), ThreadPoolExecutor(1, initializer=use_one_core) as decoding:
            decoding.submit(int).result()
            assert worker.submit(torch.get_num_threads).result() == 1
        assert worker.submit(own_run).result() == three_threads
        assert of_new_thread() == three_threads


def test_parts_on_cores_leave_the_process_its_number(three_threads: int) -> None:
    """Of the library's functions, outside a run."""
    _made.cache_clear()
    assert map_on_cores(lambda _: torch.get_num_threads(), range(6)) == [1] * 6
    assert of_new_thread() == torch.get_num_threads() == three_threads


def test_parts_on_cores_make_gradients_where_their_caller_does(three_threads: int) -> None:
    for makes in (False, True):
        with torch.set_grad_enabled(makes):
            assert map_on_cores(lambda _: torch.is_grad_enabled(), range(6)) == [makes] * 6


def test_parts_on_cores_are_inference_where_their_caller_s_work_is(three_threads: int) -> None:
    """What is made so is cheaper, and cannot be mixed with what is to be learned from."""
    for infers in (False, True):
        with torch.inference_mode(infers):
            made = map_on_cores(lambda i: torch.zeros(i), range(6))
        assert [tensor.is_inference() for tensor in made] == [infers] * 6


def test_where_a_part_fails_the_others_have_ended(three_threads: int) -> None:
    """Some write into what the caller may begin again from."""
    ended = []

    def work(part: int) -> None:
        if part == 0:
            raise MemoryError
        time.sleep(0.05)
        ended.append(part)

    with pytest.raises(MemoryError):
        map_on_cores(work, range(3))
    assert sorted(ended) == [1, 2]


def test_a_pool_that_cannot_have_all_its_threads_says_so(three_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And waits for none of those that it got."""
    _made.cache_clear()
    start, left = threading.Thread.start, iter([True, True, False])  # to read the number, and the first of three

    def few(thread: threading.Thread) -> None:
        if not next(left, True):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", few)
        with pytest.raises(RuntimeError, match="new thread"):
            map_on_cores(abs, [-1, -2, -3])
    assert map_on_cores(abs, [-1, -2, -3]) == [1, 2, 3]


def test_a_number_of_threads_that_changes_makes_no_more_of_them_each_time(three_threads: int) -> None:
    """A host program that sets it for each job: pools that nobody used again stayed, with all their threads."""
    numbers = (2, three_threads)
    try:
        for n_threads in numbers:
            torch.set_num_threads(n_threads)
            map_on_cores(abs, [-1, -2, -3])
        made = threading.active_count()
        for n_threads in numbers * 3:
            torch.set_num_threads(n_threads)
            assert map_on_cores(abs, [-1, -2, -3]) == [1, 2, 3]
    finally:
        torch.set_num_threads(three_threads)
    assert threading.active_count() == made


def test_threads_that_come_at_once_share_a_pool(three_threads: int) -> None:
    _made.cache_clear()
    before = threading.active_count()
    together = threading.Barrier(4)

    def first_use() -> list[int]:
        together.wait()
        return map_on_cores(abs, [-1, -2, -3])

    with ThreadPoolExecutor(4) as callers:
        jobs = [callers.submit(first_use) for _ in range(4)]
        assert [job.result() for job in jobs] == [[1, 2, 3]] * 4
    assert threading.active_count() == before + three_threads


def test_an_error_of_a_part_holds_nothing_of_the_others_once_it_is_let_go(three_threads: int) -> None:
    """A batch that ran out of memory is begun again in parts: what it held has to be free by then."""

    class Held:
        pass

    held: list[weakref.ref[Held]] = []

    def failing(number: int) -> None:
        mine = Held()
        held.append(weakref.ref(mine))
        raise RuntimeError(f"part {number}")

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(RuntimeError, match="part"):
            map_on_cores(failing, range(3))
        assert len(held) == 3
        for _ in range(600):  # the cores' own threads let go of it a moment later
            if not any(one() for one in held):
                break
            time.sleep(0.01)
        assert not any(one() for one in held)
    finally:
        gc.enable()

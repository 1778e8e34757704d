"""The two queues and what is made beside: order kept, bounded, errors surface, threads end."""

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gpu_lipsync.process.threads import Later, Sink, prefetch


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_prefetch_keeps_order_and_runs_at_most_depth_ahead() -> None:
    made = []

    def numbers() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    for expected, item in enumerate(prefetch(numbers(), depth=2)):
        assert item == expected
        time.sleep(0.005)
        assert len(made) <= item + 1 + 2 + 1  # taken, queued, and one in the producer's hand
    assert len(made) == 20


def test_what_prepares_a_thread_comes_first_in_it() -> None:
    order: list[object] = []

    def numbers() -> Iterator[int]:
        order.append("begun")
        yield 1

    items = prefetch(numbers(), depth=1, initializer=lambda: order.append(threading.current_thread().name))
    assert list(items) == [1] and order == ["decode", "begun"]


def test_an_error_while_producing_reaches_the_consumer() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("disk on fire")

    items = prefetch(failing(), depth=4)
    assert next(items) == 1
    with pytest.raises(OSError, match="disk on fire"):
        next(items)


def test_leaving_early_ends_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = prefetch(endless(), depth=1)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert closed.is_set()
    assert "decode" not in names()


@pytest.mark.parametrize("begin", [lambda: next(prefetch(range(9), depth=1)), lambda: Sink(print, depth=1)])
def test_what_interrupts_a_thread_s_start_ends_the_thread(
    monkeypatch: pytest.MonkeyPatch, begin: Callable[[], object]
) -> None:
    """As a host's time limit does, whose signal handler raises, at any moment."""
    begun, start = [], threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        begun.append(thread)
        raise TimeoutError

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(TimeoutError):
        begin()
    begun[0].join(60)
    assert not begun[0].is_alive()


def test_sink_consumes_everything_in_order() -> None:
    got: list[int] = []
    sink = Sink(got.append, depth=2)
    for i in range(50):
        sink.put(i)
    sink.close()
    assert got == list(range(50))
    assert "encode" not in names()


def test_a_failing_consumer_surfaces_at_the_next_put_or_close() -> None:
    def fail(_: int) -> None:
        raise ValueError("no room")

    sink = Sink(fail, depth=1)
    with pytest.raises(ValueError, match="no room"):
        for i in range(100):
            sink.put(i)
    with pytest.raises(ValueError, match="no room"):
        sink.close()
    sink.abort()
    sink.close()  # what it failed with is forgotten: it holds the frames that it came through


def test_abort_drops_what_is_queued() -> None:
    started, release = threading.Event(), threading.Event()
    got: list[int] = []

    def slow(item: int) -> None:
        started.set()
        release.wait(60)
        got.append(item)

    sink = Sink(slow, depth=4)
    for i in range(4):
        sink.put(i)
    started.wait(60)
    threading.Timer(0.05, release.set).start()
    sink.abort()
    assert got == [0]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers are POSIX systems'")
def test_a_wait_that_a_signal_cut_short_can_be_taken_up_again() -> None:
    """What the thread still uses must not be closed under it, as after a `join` that was interrupted."""
    working, interrupted, got = threading.Event(), threading.Event(), []

    def slow(item: int) -> None:
        working.set()
        interrupted.wait(60)
        got.append(item)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        sink = Sink(slow, depth=1)
        sink.put(1)
        working.wait(60)
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # within: it may go off before the next line, on a busy machine
            sink.close()
        assert not got
        interrupted.set()
        sink.abort()
        assert got == [1]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_is_made_later_is_there_when_asked_for() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make() -> str:
        assert go_on.wait(60)
        return "made"

    with Later(make, initializer=begun.set) as made:
        assert begun.wait(60) and "load" in names()
        go_on.set()
        assert made.get() == made.get() == "made"
    assert "load" not in names()


def test_an_error_while_making_reaches_whoever_asks_and_nobody_else() -> None:
    def fail() -> str:
        raise OSError("disk on fire")

    with Later(fail) as made:
        for _ in range(2):
            with pytest.raises(OSError, match="disk on fire"):
                made.get()
    with Later(fail):
        pass


def test_leaving_by_an_error_waits_for_what_is_being_made() -> None:
    made = threading.Event()

    def make() -> None:
        time.sleep(0.1)
        made.set()

    with pytest.raises(KeyError), Later(make):
        raise KeyError
    assert made.is_set() and "load" not in names()

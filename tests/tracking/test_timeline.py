"""Which source frame is shown when, against the rules written out for each case."""

from fractions import Fraction
from itertools import accumulate, pairwise

import numpy as np
import pytest

from gpu_lipsync.media.frame_times import is_constant
from gpu_lipsync.timeline import Timeline, align

FPS = Fraction(25)


def even(n: int, start: Fraction = Fraction(0)) -> tuple[Fraction, ...]:
    return tuple(start + i / FPS for i in range(n))


def test_constant_rate_counts_frames_and_starts_over() -> None:
    timeline = align(even(4), fps=FPS, constant_rate=True, n_outputs=10)
    assert timeline.source == (0, 1, 2, 3, 0, 1, 2, 3, 0, 1)
    assert list(timeline.passes()) == [range(0, 4), range(4, 8), range(8, 10)]


def test_a_still_is_one_pass() -> None:
    timeline = align(even(1), fps=FPS, constant_rate=True, n_outputs=100)
    assert set(timeline.source) == {0}
    assert list(timeline.passes()) == [range(100)]


def test_static_shows_the_first_frame_only() -> None:
    assert set(align(even(9), fps=FPS, constant_rate=True, n_outputs=30, static=True).source) == {0}


def test_static_shows_no_frame_that_an_edit_list_hides() -> None:
    """Two frames lie before the beginning."""
    hidden = even(6, Fraction(-8, 100))
    assert set(align(hidden, fps=FPS, constant_rate=False, n_outputs=9, static=True).source) == {2}


def test_a_rate_is_constant_as_long_as_no_frame_is_half_a_frame_off() -> None:
    for late, constant in ((Fraction(49, 100), True), (Fraction(51, 100), False)):
        for sign in (1, -1):
            shown_at = tuple(moment + (sign * late / FPS if i == 3 else 0) for i, moment in enumerate(even(9)))
            assert is_constant(shown_at, FPS) is constant


def test_variable_rate_shows_what_is_on_screen() -> None:
    shown_at = tuple(Fraction(ms, 1000) for ms in (0, 40, 200, 240))  # the second frame stays for four
    timeline = align(shown_at, fps=FPS, constant_rate=False, n_outputs=8)
    assert timeline.source == (0, 1, 1, 1, 1, 2, 3, 0)


def test_timestamps_rounded_to_milliseconds_show_the_frame_that_begins_then() -> None:
    """As Matroska has them: of 30 frames a second the second begins at 0.033 or 0.034 s, and is due at 0.0333."""
    shown_at = tuple(Fraction(-(-i * 1000 // 30), 1000) for i in range(9))
    timeline = align(shown_at, fps=Fraction(30), constant_rate=False, n_outputs=9)
    assert timeline.source == tuple(range(9))


def skipped(source: tuple[int, ...]) -> int:
    """How many source frames are left out between two that are shown."""
    return sum(max(after - before - 1, 0) for before, after in pairwise(source))


@pytest.mark.parametrize("fps", [25, 30, 60])
@pytest.mark.parametrize("pause_ms", [0, 60, 110])
def test_no_frame_is_left_out_for_its_timestamp_s_jitter(fps: int, pause_ms: int) -> None:
    """As browsers record: 1.5 ms of it, in milliseconds, one frame lost, one pause that is no whole number of frames.

    What is on screen at i / fps leaves out a tenth to a third of such a clip and shows as many twice.
    """
    rng = np.random.default_rng(fps + pause_ms)
    numbers = np.delete(np.arange(400), 100)
    moments = numbers / fps + rng.normal(0, 0.0015, 399) + np.where(numbers > 200, pause_ms / 1000, 0)
    moments = np.maximum.accumulate(moments - moments[0])
    shown_at = tuple(Fraction(round(1000 * moment), 1000) for moment in moments.tolist())
    n_outputs = round(shown_at[-1] * fps)
    source = align(shown_at, fps=Fraction(fps), constant_rate=False, n_outputs=3 * n_outputs).source
    assert skipped(source) == 0
    n_repeated = sum(before == after for before, after in pairwise(source[:n_outputs]))
    assert (
        n_repeated <= 1 + round(pause_ms / 1000 * fps) + 1
    )  # the lost one, the pause, and what half a frame rounds to


@pytest.mark.parametrize("fps", [Fraction(60), Fraction(30000, 1001)])
@pytest.mark.parametrize("late_ms", range(10, 45))
def test_a_regular_clip_that_starts_late_stays_regular_however_often_it_is_shown(fps: Fraction, late_ms: int) -> None:
    """Matroska's milliseconds jitter by half of one; every start gets another part of a frame."""
    shown_at = tuple(Fraction(round(1000 * (i / fps) + late_ms), 1000) for i in range(200))
    source = align(shown_at, fps=fps, constant_rate=False, n_outputs=640).source
    n_before = source.index(1)
    assert 1 <= n_before <= 1 + round(late_ms * fps / 1000)
    assert source[n_before - 1 :] == tuple(i % 200 for i in range(641 - n_before))


def test_the_last_frame_is_shown_however_short() -> None:
    shown_at = tuple(Fraction(i, 8) for i in range(3))
    timeline = align(shown_at, fps=Fraction(1), constant_rate=False, n_outputs=3, last_s=Fraction(1, 8))
    assert timeline.source == (2, 2, 2)


def test_half_the_rate_shows_each_frame_twice() -> None:
    """Its frames come on screen 2 ms late and early in turns: never one three times and the next once."""
    shown_at = tuple(Fraction(80 * i + 2 * (i % 2), 1000) for i in range(20))
    timeline = align(shown_at, fps=FPS, constant_rate=False, n_outputs=40)
    assert timeline.source == tuple(i // 2 for i in range(39)) + (0,)


def test_a_frame_that_comes_early_after_one_that_came_early_leaves_none_out() -> None:
    """By 19 ms of 40, then by 31: a step of seven tenths is jitter, and not that of a faster clip."""
    early_ms = {3: 19, 4: 19, 5: 19, 6: 31, 7: 19, 8: 19, 9: 10}
    shown_at = tuple(Fraction(40 * i - early_ms.get(i, 0), 1000) for i in range(20))
    assert align(shown_at, fps=FPS, constant_rate=False, n_outputs=20).source == tuple(range(20))


def test_a_rate_that_changes_takes_no_frame_a_whole_output_frame_off() -> None:
    """From 30 to 24 frames a second, in whole milliseconds: what is lost as frames follow each other is made up for."""
    steps = [Fraction(1, 30)] * 150 + [Fraction(1, 24)] * 150
    shown_at = tuple(Fraction(round(1000 * moment), 1000) for moment in accumulate(steps, initial=Fraction(0)))
    source = align(shown_at, fps=Fraction(30), constant_rate=False, n_outputs=338).source
    assert set(source) == set(range(301)), "all of them are shown"
    assert max(abs(source.index(i) - moment * 30) for i, moment in enumerate(shown_at)) < 1


def test_late_start_shows_the_first_frame_early() -> None:
    timeline = align(even(5, Fraction(8, 100)), fps=FPS, constant_rate=False, n_outputs=5)
    assert timeline.source == (0, 0, 0, 1, 2)


def test_a_late_start_is_waited_for_once() -> None:
    timeline = align(even(4, Fraction(8, 100)), fps=FPS, constant_rate=False, n_outputs=12)
    assert timeline.source == (0, 0, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1)


def test_frames_before_the_start_are_never_shown() -> None:
    timeline = align(even(6, Fraction(-8, 100)), fps=FPS, constant_rate=False, n_outputs=5)
    assert timeline.source == (2, 3, 4, 5, 2)


@pytest.mark.parametrize("last", [Fraction(-1, 25), Fraction(-2, 25), Fraction(-9)])
def test_where_all_frames_lie_before_the_start_the_last_is_held(last: Fraction) -> None:
    timeline = align((last - Fraction(1, 25), last), fps=FPS, constant_rate=False, n_outputs=3)
    assert timeline.source == (1, 1, 1)


def test_every_output_is_shown_once_whatever_the_batches() -> None:
    shown_at = tuple(Fraction(ms, 1000) for ms in (0, 7, 40, 90, 91, 200, 333))
    timeline = align(shown_at, fps=FPS, constant_rate=False, n_outputs=60)
    for size in (1, 2, 5, 100):
        shown = []
        for outputs in timeline.passes():
            for start in range(0, 7, size):
                shown += timeline.showing(outputs, range(start, min(start + size, 7)))
        assert shown == list(range(60))


def test_ntsc_has_no_drift_after_an_hour() -> None:
    fps = Fraction(30000, 1001)
    shown_at = tuple(i / fps for i in range(108_000))
    timeline = align(shown_at, fps=fps, constant_rate=False, n_outputs=108_000)
    assert timeline == Timeline(tuple(range(108_000)))

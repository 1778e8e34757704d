"""Signals: which are heeded, when, and by whom."""

import io
import os
import signal
import sys
import threading

import pytest

from gpu_lipsync.cli import _Settling
from gpu_lipsync.errors import MediaError
from gpu_lipsync.process.commands import exit_code_of
from gpu_lipsync.process.own_process import flush
from gpu_lipsync.process.stopping import Stopped, Stops
from gpu_lipsync.progress import Silent

pytestmark = pytest.mark.usefixtures("usual_handlers")


def test_signals_ignored_from_outside_stay_so_and_others_come_back() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    interrupt = signal.getsignal(signal.SIGINT)
    with Stops():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGINT) is not interrupt
    assert signal.getsignal(signal.SIGINT) is interrupt
    with pytest.raises(Stopped), Stops():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is interrupt
    with pytest.raises(Stopped), Stops(for_good=True):
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)  # is not heeded until the program ends


def test_a_signal_waits_for_what_cannot_be_left_in_the_middle() -> None:
    done = False
    with pytest.raises(Stopped, match="interrupted"), Stops() as stops, stops.held():
        os.kill(os.getpid(), signal.SIGINT)
        done = True
    assert done


def test_a_signal_goes_before_what_fails_meanwhile() -> None:
    with pytest.raises(Stopped, match="terminated"), Stops() as stops, stops.held():
        signal.raise_signal(signal.SIGTERM)
        raise ModuleNotFoundError("an import that the signal's sender did not wait for")


def test_of_several_signals_meanwhile_the_first_counts() -> None:
    with pytest.raises(Stopped, match="terminated"), Stops() as stops, stops.held():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)


def test_a_signal_while_an_error_is_told_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads stderr may let the command wait there."""

    class Waiting:
        def __init__(self) -> None:
            self.lines: list[str] = []

        def write(self, line: str) -> None:
            self.lines.append(line)
            if len(self.lines) == 1:
                raise Stopped(signal.SIGTERM)

        def flush(self) -> None:
            pass

    def fails() -> None:
        raise MediaError("there is no face.mp4")

    waiting = Waiting()
    monkeypatch.setattr(sys, "stderr", waiting)
    assert exit_code_of(fails) == 143
    assert waiting.lines[-1] == "terminated: nothing was written\n"


def test_what_a_host_program_has_closed_is_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    flush()


def test_once_the_output_is_there_nothing_stops_the_run() -> None:
    with Stops() as stops:
        observer = _Settling(Silent(), stops)
        observer.settle()
        os.kill(os.getpid(), signal.SIGTERM)


def test_signals_are_the_main_thread_s_alone() -> None:
    """Python lets no other take them; a run there (test_service.py) goes without."""
    before = signal.getsignal(signal.SIGTERM)
    codes: list[object] = []

    def call() -> None:
        with Stops() as stops:
            stops.ignore()
        codes.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert codes == [before] and signal.getsignal(signal.SIGTERM) == before


def test_once_the_output_is_there_a_signal_changes_nothing_till_the_process_ends() -> None:
    """Also while the summary waits for a terminal that was stopped."""
    with Stops(for_good=True) as stops:
        stops.ignore()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    signal.signal(signal.SIGINT, before := lambda *_: None)
    with Stops() as stops:  # in a program of somebody else's
        stops.ignore()
    assert signal.getsignal(signal.SIGINT) is before

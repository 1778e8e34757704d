"""What is left behind, and what is said, where encoding does not come to its end."""

import errno
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import av
import pytest
import torch

from gpu_lipsync.config import EncodeConfig
from gpu_lipsync.encoding.encoders import PyavBackend, cannot_write
from gpu_lipsync.encoding.writer import open_writer
from gpu_lipsync.errors import EncodeError, ResourceError
from gpu_lipsync.process.output_paths import require_writable
from tests.places import ROOT
from tests.probe import ffprobe
from tests.writing import encode, pictures, shape_of


def test_an_interrupt_while_the_encoder_is_waited_for_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / "out.mp4", shape_of(64, 64), EncodeConfig()) as out:
        abort = out._sink.abort

        def interrupted() -> None:
            abort()
            raise KeyboardInterrupt

        out._sink.abort = interrupted  # type: ignore[method-assign]
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_broken_off_waits_for_a_few_frames_and_not_for_the_batch(tmp_path: Path) -> None:
    """Whoever stops a service kills it after some seconds: a slow preset takes more for a batch."""
    begun, written = threading.Event(), list[int]()
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / "out.mp4", shape_of(64, 64), EncodeConfig()) as out:
        broken_off = out._sink._stop

        def write_slowly(frames: torch.Tensor) -> None:
            written.append(len(frames))
            begun.set()
            broken_off.wait(60)

        out._backend.write = write_slowly  # type: ignore[method-assign]
        out.write(pictures(24, 64, 64))
        begun.wait(60)
        raise KeyboardInterrupt
    assert written == [8] and list(tmp_path.iterdir()) == []


def test_a_file_that_is_given_up_is_not_put_in_order_first(tmp_path: Path) -> None:
    """Closing an MP4 writes all of it once more, for its index to come first: a gigabyte, of a long run."""
    there: list[int] = []
    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / "out.mp4", shape_of(64, 64), EncodeConfig()) as out:
        abandon = out._backend.abandon

        def noted() -> None:
            there.append(len(list(tmp_path.iterdir())))
            abandon()

        out._backend.abandon = noted  # type: ignore[method-assign]
        out.write(pictures(24, 64, 64))
        raise KeyboardInterrupt
    assert there == [0] and list(tmp_path.iterdir()) == []


def test_an_encoder_s_lack_of_memory_is_one(tmp_path: Path) -> None:
    """Which a service tries again, unlike frames that no encoder takes."""
    with (
        pytest.raises(ResourceError, match="short of memory"),
        open_writer(tmp_path / "out.mp4", shape_of(64, 64), EncodeConfig()) as out,
    ):

        def write(_: torch.Tensor) -> None:
            raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")

        out._backend.write = write  # type: ignore[method-assign]
        out.write(pictures(8, 64, 64))
        out.finish()
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_does_not_open_names_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the file beside it that it would have written."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(PyavBackend, "__init__", full)
    with pytest.raises(EncodeError, match=f"^{tmp_path / 'out.mp4'} cannot be written \\(No space left"):
        open_writer(tmp_path / "out.mp4", shape_of(64, 64), EncodeConfig())
    assert list(tmp_path.iterdir()) == []


def test_frames_larger_than_the_encoder_takes(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="libx264 .* failed on frames of 16500x16 .*--resize_factor"):
        encode(tmp_path / "out.mp4", shape_of(16, 16500), pictures(8, 16, 16500))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_disk_that_is_full_indeed(tmp_path: Path, suffix: str) -> None:
    """The kernel refuses to write on: at once, in the middle, within MP4's index and at the last byte."""
    target = tmp_path / f"out{suffix}"
    program = f"""
import resource, signal
from pathlib import Path
import pytest
from gpu_lipsync.errors import EncodeError
from tests.writing import encode, pictures, shape_of
from tests.probe import ffprobe
target, job = Path({str(target)!r}), (shape_of(240, 320), pictures(40, 240, 320))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
encode(target, *job)
size = target.stat().st_size
target.write_bytes(b"an earlier result")
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for most in (0, 1, size // 2, size - 500, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    with pytest.raises(EncodeError, match="cannot be written"):
        encode(target, *job)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"an earlier result"]


class FailingBackend:
    name = "h264_nvenc cq 18"

    def __init__(self, error: Exception) -> None:
        self._failure = error

    def write(self, frames: torch.Tensor) -> None:
        raise self._failure

    def abandon(self) -> None:
        raise av.ExternalError(542398533, "Generic error in an external library")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (av.ExternalError(542398533, "Generic error in an external library"), EncodeError),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError),  # smaller batches may help
        (TypeError("a bug"), TypeError),
        (RuntimeError("a bug"), RuntimeError),
    ],
)
def test_what_encoders_raise_and_what_they_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception]
) -> None:
    monkeypatch.setattr("gpu_lipsync.encoding.writer.open_backend", lambda *_, **__: FailingBackend(error))
    with pytest.raises(raised, match="external library" if raised is EncodeError else str(error)) as caught:
        encode(tmp_path / "out.mp4", shape_of(64, 64), pictures(8, 64, 64))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_bug_of_ours_while_encoding_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(PyavBackend, "write", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        encode(tmp_path / "out.mp4", shape_of(64, 64), pictures(8, 64, 64))


def test_folders_made_for_a_name_that_is_too_long_are_removed(tmp_path: Path) -> None:
    for name in ("x" * 252 + ".mp4", "x" * 300 + ".mp4", "x" * 300 + "/out.mp4"):
        with pytest.raises(EncodeError, match="File name too long"):
            open_writer(tmp_path / "new" / "folder" / name, shape_of(64, 64), EncodeConfig())
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_replaced_is_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is mounted by itself into a container, which rename(2) refuses."""
    target = tmp_path / "out.mp4"
    target.write_bytes(b"mounted")
    inode = target.stat().st_ino

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr("gpu_lipsync.encoding.writer.os.replace", busy)
    encode(target, shape_of(64, 64), pictures(25, 64, 64))
    assert target.stat().st_ino == inode and ffprobe(target)["video"]["nb_read_frames"] == "25"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_cannot_be_replaced_is_kept_where_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"mounted")

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gpu_lipsync.encoding.writer.os.replace", busy)
    monkeypatch.setattr("gpu_lipsync.encoding.writer.os.posix_fallocate", full)
    with pytest.raises(EncodeError, match="No space left"):
        encode(target, shape_of(64, 64), pictures(25, 64, 64))
    assert target.read_bytes() == b"mounted" and list(tmp_path.iterdir()) == [target]


def test_pipes_and_devices_are_no_place_for_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "null.mp4").symlink_to(os.devnull)
    for name in ("pipe.mp4", "null.mp4"):
        with pytest.raises(EncodeError, match="not a regular file"):
            encode(tmp_path / name, shape_of(64, 64), pictures(2, 64, 64))
    assert not Path(os.devnull).is_file() and len(list(tmp_path.iterdir())) == 2


def test_a_link_that_leads_to_itself_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").symlink_to(tmp_path / "out.mp4")
    with pytest.raises(EncodeError, match="levels of symbolic links"):
        encode(tmp_path / "out.mp4", shape_of(64, 64), pictures(2, 64, 64))
    assert [path.is_symlink() for path in tmp_path.iterdir()] == [True]


def test_an_outfile_in_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that the command was called in: a name that begins there leads nowhere."""
    (folder := tmp_path / "gone").mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(EncodeError, match="out.mp4 cannot be written"):
        open_writer("out.mp4", shape_of(64, 64), EncodeConfig())


def test_a_report_is_not_written_into_a_pipe_with_a_name(tmp_path: Path) -> None:
    """Nobody may read it, ever; what a shell's redirection names, /dev/stdout, is no name of a pipe."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EncodeError, match="pipe is a pipe or a socket; give the name of a file"):
        require_writable("report", tmp_path / "pipe")
    reading, writing = os.pipe()
    try:
        require_writable("report", Path(f"/dev/fd/{writing}"))
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "; free space there or"),
        (errno.EFBIG, "; free space there or"),  # more than a file may have here
        (errno.EACCES, r"\); choose"),
    ],
)
def test_the_way_out_is_one_of_that_trouble(number: int, advice: str) -> None:
    assert re.search(advice, str(cannot_write(Path("a.mp4"), OSError(number, os.strerror(number)))))


@pytest.mark.parametrize("failing", ["unlink", "start"])
def test_what_cleaning_up_fails_at_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """A file system gone read-only meanwhile, and a host that has no thread left."""
    if failing == "unlink":

        def read_only(*_: object, **__: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr("gpu_lipsync.encoding.writer.os.replace", read_only)
        monkeypatch.setattr(Path, "unlink", read_only)
        with pytest.raises(EncodeError, match="Read-only file system"):
            encode(tmp_path / "out.mp4", shape_of(64, 64), pictures(2, 64, 64))
    else:

        def no_thread(*_: object, **__: object) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr("gpu_lipsync.encoding.writer.Sink", no_thread)
        with pytest.raises(RuntimeError, match="new thread"):
            encode(tmp_path / "new" / "out.mp4", shape_of(64, 64), pictures(2, 64, 64))
        assert list(tmp_path.iterdir()) == []


def test_what_an_observer_fails_with_is_its_own(tmp_path: Path) -> None:
    def settle() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with open_writer(tmp_path / "out.mp4", shape_of(64, 64), EncodeConfig()) as out:
        out.write(pictures(2, 64, 64))
        with pytest.raises(BrokenPipeError):
            out.finish(settle)

"""A device that runs out of memory anywhere but in the generator (test_generate.py): the run begins again, smaller."""

import errno
import re
import threading
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from gpu_lipsync import LipSyncConfig, run, video
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.decoding.decoders import TorchcodecDecoder
from gpu_lipsync.errors import ResourceError
from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.process.lack_of_memory import lack_of_memory_named
from gpu_lipsync.report import Report
from gpu_lipsync.tracking.detection import HELD_BYTES, DetectionStream
from gpu_lipsync.tracking.tracked_frames import tracked_frames
from gpu_lipsync.video import open_video
from tests.clips import all_frames, tone, write_sound
from tests.places import FACE
from tests.reports import Listener

SOUND_S = 40 / 25
# What takes frames as its first argument, or as its second after self.
STAGES = {
    "decoding": "gpu_lipsync.video.edit",
    "detection": "gpu_lipsync.models.CenterFace.candidates",
    "scene changes": "gpu_lipsync.tracking.detection.SceneChanges.update",
    "conversion for the encoder": "gpu_lipsync.encoding.writer.even_sided",
}


def config_of(folder: Path, checkpoint: Path) -> LipSyncConfig:
    return LipSyncConfig(
        checkpoint_path=checkpoint,
        face=FACE,
        audio=write_sound(folder / "a.wav", np.concatenate([tone(SOUND_S / 2), 0 * tone(SOUND_S / 2)], axis=1)),
        silence_gating=True,  # whose counts and mouths begin again too
        keep_detail=False,  # mouths of a network that has learnt nothing are no faces: landmarks there are chance
        outfile=folder / "results" / "out.mp4",
        decoder="decord",  # whose frames are RGB, as a GPU's are, so that they pass through all of STAGES
        device="cpu",  # a GPU host's decoder and batch sizes are others; its memory is for `make gpu-check`
    )


PYTORCH_S = torch.OutOfMemoryError("CUDA out of memory")


def too_many(
    monkeypatch: pytest.MonkeyPatch, target: str, limit: int, error: RuntimeError | MemoryError = PYTORCH_S
) -> None:
    """Let a stage run out of memory above so many frames."""
    holder, name = target.rsplit(".", 1)
    module, _, owner = holder.rpartition(".")
    found: Any = __import__(module, fromlist=[owner])
    found = getattr(found, owner) if hasattr(found, owner) else __import__(holder, fromlist=[name])
    plain = getattr(found, name)

    def limited(*args: Any, **kwargs: Any) -> Any:
        frames = next(a for a in args if isinstance(a, torch.Tensor))
        if len(frames) > limit:
            raise error.with_traceback(None)
        return plain(*args, **kwargs)

    monkeypatch.setattr(found, name, limited)


def pictures(path: str | Path) -> torch.Tensor:
    with open_video(path, FrameConfig(decoder="pyav")) as video:
        return all_frames(video, at_a_time=2).float()  # fewer than any limit set here


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, torch.Tensor]:
    """A run that lacks nothing, and its pictures."""
    config = config_of(tmp_path_factory.mktemp("whole"), checkpoint)
    return run(config), pictures(config.outfile)


@pytest.mark.parametrize(
    ("stage", "error"), [*((stage, PYTORCH_S) for stage in STAGES), (next(iter(STAGES)), MemoryError())], ids=str
)
def test_the_run_begins_again_with_half_the_batch_once_per_level(
    stage: str,
    error: RuntimeError | MemoryError,
    whole: tuple[Report, torch.Tensor],
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, listener = config_of(tmp_path, checkpoint), Listener()
    too_many(monkeypatch, STAGES[stage], 3, error)
    report = run(config, listener)
    said = [line for line in listener.lines if "memory" in line]
    assert said == [f"out of memory: starting again with batches of {size}" for size in (8, 4, 2)]
    assert listener.lines == report.notes and listener.begun == [report.n_frames] * 4
    names = ("n_frames", "n_source_frames", "n_frames_without_face", "n_frames_in_silence")
    assert [getattr(report, name) for name in names] == [getattr(whole[0], name) for name in names]
    assert report.batch_size == 2 and 0 < report.n_frames_in_silence < report.n_generated < report.n_frames
    # In batches of another size the generator's products round otherwise, and the encoder looks ahead otherwise.
    assert (pictures(config.outfile) - whole[1]).abs().mean() < 0.1
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["out.mp4"]


def test_a_generator_starved_by_the_frames_that_wait_makes_them_fewer(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of one do not help it while decoding, detection and encoder hold sixteen frames each, and more."""
    waiting: list[int] = []
    edit, forward = video.edit, Wav2Lip.forward

    def counted(frames: torch.Tensor, *how: Any) -> torch.Tensor:
        waiting.append(len(frames))
        return edit(frames, *how)

    def starved(self: Wav2Lip, *args: Any, **kwargs: Any) -> torch.Tensor:
        if max(waiting[-2:]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, *args, **kwargs)

    def noted(*what: Any, hold_bytes: int) -> Any:
        held.append(hold_bytes)
        return tracked_frames(*what, hold_bytes=hold_bytes)

    held: list[int] = []
    monkeypatch.setattr("gpu_lipsync.pipeline.tracked_frames", noted)
    monkeypatch.setattr(video, "edit", counted)
    monkeypatch.setattr(Wav2Lip, "forward", starved)
    report = run(config_of(tmp_path, checkpoint))
    begun = [int(note.rsplit(" ", 1)[1]) for note in report.notes if "starting again" in note]
    assert begun == [8, 4] and report.n_generated > 0
    assert held == [HELD_BYTES, 0, 0], "nor is memory taken for frames to be kept"


def test_a_second_look_at_frames_is_in_batches_too() -> None:
    sizes = []

    class Detector:
        long_side_px = 640

        def candidates(self, frames: torch.Tensor, *, long_side_px: int | None = None) -> torch.Tensor:
            sizes.append(len(frames))
            return torch.zeros(len(frames), 1, 15)

    stream = DetectionStream(Detector(), stride=25, batch_size=2)
    stream.push(torch.zeros(24, 3, 64, 64, dtype=torch.uint8))
    assert len(stream.look(range(1, 24))) == 23 and sizes == [2] * 11 + [1]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA out of memory")])
def test_memory_that_a_decoder_lacks_is_no_damage(error: RuntimeError) -> None:
    class Reader:
        def get_frames_in_range(self, *_: int) -> None:
            raise error

    decoder = object.__new__(TorchcodecDecoder)
    decoder._reader, decoder._info = Reader(), None
    with pytest.raises(torch.OutOfMemoryError):
        next(decoder.batches(0, 4, 4))


HOST_WORDS = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried 9 TB"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(HOST_WORDS),
        MemoryError(),
        RuntimeError("could not create a primitive"),
        RuntimeError("std::bad_alloc"),
    ],
    ids=["PyTorch", "NumPy", "oneDNN", "C++"],
)
@pytest.mark.parametrize("place", ["gpu_lipsync.models.weights.open_archive", "gpu_lipsync.pipeline.read_sound"])
def test_memory_that_the_host_lacks_is_no_bug(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception
) -> None:
    """Nor a damaged checkpoint: PyTorch's words, as it says them on a CPU, and NumPy's error."""

    def full(*_: object, **__: object) -> None:
        raise error

    config = config_of(tmp_path, checkpoint)
    with monkeypatch.context() as patched:
        patched.setattr(place, full)
        with pytest.raises(ResourceError, match="out of memory on the host") as caught:
            run(config, listener := Listener())
    assert not listener.lines, "smaller batches do not help"
    assert caught.value.exit_code == 7
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "place",
    [
        "models.face_detector.Path.read_bytes",
        "models.weights.open_archive",
        "media.stills.Path.open",
        "encoding.writer.os.open",
        "media.video_info.open_container",
    ],
)
def test_files_that_the_host_has_no_room_to_open_are_no_fault_of_theirs(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    config = config_of(tmp_path, checkpoint)

    def short(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(f"gpu_lipsync.{place}", short)
        with pytest.raises(ResourceError, match="short of memory, threads or open files"):
            run(config)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("n_started", range(3))
def test_threads_that_the_host_has_not_are_no_bug(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_started: int
) -> None:
    config = config_of(tmp_path, checkpoint)
    run(config, Listener())  # what starts threads for good has done so
    start, left = threading.Thread.start, count(n_started, -1)

    def few(thread: threading.Thread) -> None:
        if next(left) <= 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    before = config.outfile.stat()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", few)
        with pytest.raises(ResourceError, match="can't start new thread") as caught:
            run(config)
    assert caught.value.exit_code == 7
    assert config.outfile.stat() == before and len(list(config.outfile.parent.iterdir())) == 1


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_what_cuda_s_libraries_lack_is_named(words: str) -> None:
    told = rf"{re.escape(words)}\), and a smaller batch would not help.*--device cpu"
    with pytest.raises(ResourceError, match=told), lack_of_memory_named(torch.device("cuda")):
        raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="a bug"), lack_of_memory_named(torch.device("cuda")):
        raise RuntimeError("a bug")


def test_a_single_frame_too_many_ends_the_run(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_many(monkeypatch, STAGES["conversion for the encoder"], 0)
    config = config_of(tmp_path, checkpoint)
    with pytest.raises(ResourceError, match="--resize_factor 2") as caught:
        run(config)
    assert caught.value.exit_code == 7
    assert not (tmp_path / "results").exists()


def test_frames_held_for_detection_on_cuda_are_bounded_by_bytes() -> None:
    """A look-ahead of 165 frames of 1080p would be a gigabyte."""

    class OnCuda(torch.Tensor):
        is_cuda = True  # type: ignore[assignment]

    def most(height: int, width: int) -> int:
        frames = torch.empty(1, 3, height, width, dtype=torch.uint8).as_subclass(OnCuda)
        return DetectionStream(None, stride=5, batch_size=16)._most_at_once(frames)  # type: ignore[arg-type]

    for height, width in ((360, 640), (720, 1280), (1080, 1920), (2160, 3840)):
        held = 2 * 5 * most(height, width) * 3 * height * width
        assert held <= HELD_BYTES < held + 10 * 3 * height * width
    assert most(9000, 9000) == 1

"""What `run` tells a Python caller: its own time, and mouths that came to nothing."""

import errno
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync import LipSyncConfig, __version__, pipeline, run
from gpu_lipsync.blend_kernels import BlendConfig
from gpu_lipsync.errors import CheckpointError, EncodeError
from gpu_lipsync.generate import MouthRenderer
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.progress import Silent
from gpu_lipsync.report import Report, peak_memory_mb
from gpu_lipsync.video import open_video
from tests.clips import tone, write_clip, write_sound
from tests.heads import held_still
from tests.places import FACE, ROOT, SPEECH
from tests.residency import fake_cuda, watched

FACTS = {"outfile": "o", "device": "cuda", "decoder": "", "encoder": "", "precision": "", "fps": "25"}
FACE, SPEECH = FACE, SPEECH


def config_of(folder: Path, *, spoiled: bool = False) -> LipSyncConfig:
    state = Wav2Lip(0.125).state_dict()
    if spoiled:
        state = {name: value * float("nan") if value.is_floating_point() else value for name, value in state.items()}
    torch.save({"state_dict": state}, folder / "weights.pth")
    sound = write_sound(folder / "a.wav", tone(0.3))
    return LipSyncConfig(
        checkpoint_path=folder / "weights.pth",
        face=FACE,
        audio=sound,
        outfile=folder / "out.mp4",
        box=(50, 250, 50, 250),
    )


def test_settings_may_be_numpy_s_numbers(tmp_path: Path) -> None:
    given = {"fps": np.float32(25), "wav2lip_batch_size": np.int64(4), "report": tmp_path / "report.json"}
    run(replace(config_of(tmp_path), **given))  # type: ignore[arg-type]
    assert json.loads((tmp_path / "report.json").read_text())["batch_size"] == 4


def test_a_second_run_counts_its_own_time(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    for _ in range(2):
        began = time.perf_counter()
        report = run(config)
        waited = time.perf_counter() - began
        assert 0 < report.seconds["start-up"] < report.total_seconds <= waited


def test_a_caller_may_have_waited_before(tmp_path: Path) -> None:
    report = run(config_of(tmp_path), started=time.perf_counter() - 1000)
    assert report.total_seconds > report.seconds["start-up"] > 1000


@pytest.mark.parametrize(("n_spoiled", "batch"), [(0, 128), (3, 2)])
def test_mouths_that_are_not_numbers_are_counted_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_spoiled: int, batch: int
) -> None:
    if n_spoiled:
        load = pipeline.load_generator
        monkeypatch.setattr(pipeline, "load_generator", lambda *of: _first_of_each_batch_spoiled(load(*of)))
    report = run(replace(config_of(tmp_path), wav2lip_batch_size=batch))
    assert (report.n_frames, report.as_dict()["n_spoiled"]) == (5, n_spoiled)
    assert any(note.startswith("3 mouths came out as NaN") for note in report.notes) is bool(n_spoiled)


def _first_of_each_batch_spoiled(generator: Wav2Lip) -> Callable[..., Tensor]:
    def spoiled(*inputs: Any, **options: Any) -> Tensor:
        mouths = generator(*inputs, **options)
        mouths[0] = float("nan")
        return mouths

    return spoiled


def test_a_checkpoint_all_of_whose_mouths_are_spoiled_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"every mouth that .*weights\.pth made came out as NaN"):
        run(config_of(tmp_path, spoiled=True))
    assert {path.name for path in tmp_path.iterdir()} == {"weights.pth", "a.wav"}


def test_batches_are_bounded_by_what_is_decoded_not_by_what_is_left_of_it(tmp_path: Path) -> None:
    """Asked for when memory is short, --resize_factor made batches larger and the frames in them as large as before."""
    clip = write_clip(tmp_path / "large.mp4", n_frames=2, size=(1080, 1920))
    given: dict[str, Any] = {"checkpoint_path": "c", "face": clip, "audio": "a", "outfile": tmp_path / "o.mp4"}
    for config in (LipSyncConfig(**given), LipSyncConfig(**given, resize_factor=4)):
        with open_video(clip, config.frames) as video:
            assert video.batch_size(config.wav2lip_batch_size) == 8  # 16 Mi pixels


def test_mouths_spared_are_those_of_faces() -> None:
    report = Report(**FACTS, width=32, height=32, n_frames=10)  # type: ignore[arg-type]
    report.n_frames_without_face, report.n_frames_in_silence, report.n_generated = 3, 2, 5
    assert report.n_skipped == 2


def test_mouths_are_all_spoiled_where_those_of_all_faces_are() -> None:
    report = Report(**FACTS, width=32, height=32, n_frames=5, n_frames_without_face=2)  # type: ignore[arg-type]
    for n_spoiled in range(4):
        report.n_spoiled = n_spoiled
        assert report.all_spoiled is (n_spoiled == 3)


def test_counting_them_does_not_make_the_host_wait() -> None:
    boxes, speaking = torch.tensor([[20 + i, 20, 180 + i, 200] for i in range(4)]), [0.0] * 4
    here, there = held_still(boxes), held_still(boxes + 30)
    with fake_cuda():
        with torch.device("cuda"):
            generator, mel = Wav2Lip(0.125).eval(), torch.zeros(4, 1, 80, 16)
            frames = torch.zeros(4, 240, 320, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
        report = Report(**FACTS, width=320, height=240, batch_size=4)  # type: ignore[arg-type]
        renderer = MouthRenderer(generator, BlendConfig(), report, Silent())
        renderer._render(frames, mel, here, speaking)  # masks and the like are made once
        seen = watched(lambda: renderer._render(frames, mel, there, speaking))
    assert seen.offences == []
    assert isinstance(renderer._n_spoiled, torch.Tensor) and renderer._n_spoiled.device.type == "cuda"


def test_which_version_made_the_file_is_told() -> None:
    versions = Report(**FACTS, width=32, height=32).as_dict()["versions"]  # type: ignore[arg-type]
    assert versions["gpu_lipsync"] == __version__ and versions["python"] == platform.python_version()


def test_a_name_with_control_characters_makes_no_line_of_its_own() -> None:
    facts = FACTS | {"outfile": "two\nlines\x1b[2J.mp4"}
    first, *_ = Report(**facts, width=32, height=32).summary().split("\n")  # type: ignore[arg-type]
    assert first == "two\\nlines\\x1b[2J.mp4: 0 frames, 32x32, 25 fps"


def test_a_rate_that_is_no_whole_number_is_told_as_it_is_known() -> None:
    report = Report(**FACTS | {"fps": "30000/1001"}, width=32, height=32)  # type: ignore[arg-type]
    assert report.summary().splitlines()[0].endswith(", 29.97 fps")


def test_a_line_is_told_once_though_the_run_begins_again() -> None:
    told: list[str] = []
    report, observer = Report(**FACTS, width=32, height=32), Silent()  # type: ignore[arg-type]
    observer.note = told.append  # type: ignore[method-assign]
    for line in ("the clip is HDR", "out of memory"):
        report.note(line, observer)
        report.begin_again(2)
        report.note("the clip is HDR", observer)
    assert told == report.notes == ["the clip is HDR", "out of memory"]


def test_the_report_has_what_the_user_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the device, the encoder and the clip."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(pipeline, "why_no_gpu", lambda: "its driver is too old")
    monkeypatch.setattr("gpu_lipsync.tracking.head_tilt.HeadTilts.advice", lambda _, name, *, rotated: f"{rotated=}")
    told: list[str] = []
    observer = Silent()
    observer.note = told.append  # type: ignore[method-assign]
    report = run(replace(config_of(tmp_path), crf=0), observer)
    no_gpu, lossless, advice = report.notes
    assert no_gpu == "going on without the GPU: its driver is too old"
    assert lossless.startswith("crf 0 is lossless H.264") and advice == "rotated=False"
    assert report.notes == told
    chosen = replace(config_of(tmp_path), device="cpu", rotate=True)
    assert run(chosen).notes == ["rotated=True"], "who asks for a CPU lacks no GPU"


def test_memory_is_told_in_mib() -> None:
    """As Linux tells it elsewhere, in KiB."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system does not say how much memory it has given")
    (largest,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    # 0.9: each CPU's share of a counter comes in later. 100: what used memory here before `exec` counts in one alone.
    assert 0.9 * int(largest) / 1024 < peak_memory_mb() < 100 * int(largest) / 1024


def test_silence_gating_says_what_it_skipped(checkpoint: Path, tmp_path: Path) -> None:
    """The sample's speech with pauses of a second, two fifths of it, through the whole pipeline."""
    sound = read_sound(SPEECH)
    rate, speech = sound.sample_rate_hz, sound.samples[:1]
    loud = int(np.abs(speech[0]).argmax())
    phrase = speech[:, max(0, loud - rate // 2) :][:, :rate]
    pause = np.zeros((1, rate), np.float32)
    spoken = write_sound(tmp_path / "a.wav", np.concatenate([phrase, pause, phrase, pause, phrase], axis=1), rate=rate)
    config = LipSyncConfig(checkpoint_path=checkpoint, face=FACE, audio=spoken, outfile=tmp_path / "out.mp4")
    plain, gated = run(config), run(replace(config, silence_gating=True))
    assert (plain.n_skipped, plain.n_frames_in_silence) == (0, 0) and "in silence" not in plain.summary()
    n_skipped = gated.n_frames - gated.n_generated
    assert gated.n_skipped == gated.as_dict()["n_skipped"] == n_skipped > 0.3 * gated.n_frames
    assert f"{gated.n_generated} mouths generated, {n_skipped} skipped" in gated.summary()


def test_where_the_report_alone_fails_the_output_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full by then."""

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)  # asks for the report's room
    config = replace(config_of(tmp_path), report=tmp_path / "r.json")
    with pytest.raises(EncodeError, match="No space left on device.*out.mp4 is complete"):
        run(config)
    assert (tmp_path / "out.mp4").stat().st_size > 0 and EncodeError.exit_code == 6


def test_a_report_on_stdout_goes_on_where_a_log_ends(tmp_path: Path) -> None:
    """Opened by its name the file behind stdout would be emptied, or written over by the summary."""
    log = tmp_path / "reports.log"
    log.write_text("yesterday\n")
    config = config_of(tmp_path)
    command = [sys.executable, "inference_fast.py", "--device", "cpu", "--report", "/dev/stdout"]
    command += ["--box", *map(str, config.box)]
    for name in ("checkpoint_path", "face", "audio", "outfile"):
        command += [f"--{name}", str(getattr(config, name))]
    with log.open("a") as stdout:
        subprocess.run(command, stdout=stdout, stderr=subprocess.DEVNULL, check=True, cwd=ROOT)
    first, *lines = log.read_text().splitlines()
    assert first == "yesterday" and lines[-1].startswith("Total processing time")
    end = lines.index("}") + 1
    assert json.loads("\n".join(lines[:end]))["n_frames"] == 5

"""Flags that no other test follows to what they do in a run."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from gpu_lipsync import LipSyncConfig, Report, run
from gpu_lipsync.audio import window_starts
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.errors import FaceNotFoundError
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.silence import rest_weights
from gpu_lipsync.video import open_video
from tests.clips import all_frames, gradient, tone, write_clip, write_sound


def shown(path: Path) -> Tensor:
    with open_video(path, FrameConfig(decoder="pyav")) as video:
        return all_frames(video).float()


@pytest.fixture
def config(tmp_path: Path, checkpoint: Path) -> dict[str, Any]:
    """A clip that moves, and a second of speech of which the latter half is thirty times as quiet."""
    face = write_clip(tmp_path / "face.mp4", n_frames=30, size=(96, 128), picture=gradient)
    loudness = np.repeat([1.0, 0.033], 8000)
    sound = write_sound(tmp_path / "a.wav", tone(1.0) * loudness)
    given: dict[str, Any] = {"checkpoint_path": checkpoint, "face": face, "audio": sound, "box": (16, 80, 16, 80)}
    return given | {"outfile": tmp_path / "out.mp4", "device": "cpu", "crf": 4}


def test_static_shows_the_first_frame_only(config: dict[str, Any]) -> None:
    for static in (False, True):
        run(LipSyncConfig(**config, static=static))
        outside = shown(config["outfile"])[:, :, :, 90:]
        assert (float((outside - outside[:1]).abs().mean((1, 2, 3)).max()) < 1) == static  # levels, of the codec


@pytest.mark.parametrize(("given", "used"), [(1, 1), (3, 3), (128, 16)])
def test_batches_are_at_most_as_large_as_asked_for(
    config: dict[str, Any], given: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    write = "gpu_lipsync.encoding.writer.Writer.write"

    def counted(_writer: object, frames: Tensor) -> None:
        sizes.append(len(frames))

    with monkeypatch.context() as patched:
        patched.setattr(write, counted)
        patched.setattr("gpu_lipsync.encoding.writer.Writer.finish", lambda *_: None)
        report = run(LipSyncConfig(**config, wav2lip_batch_size=given))
    assert report.batch_size == max(sizes) == used


def test_what_counts_as_silence_is_asked_for(config: dict[str, Any]) -> None:
    """Of the speech's own loudness: a thirtieth lies below a tenth and above a hundredth."""

    def rested(threshold: float) -> Report:
        return run(LipSyncConfig(**config, silence_gating=True, silence_threshold=threshold))

    assert rested(0.01).n_frames_in_silence == 0 < 5 < rested(0.1).n_frames_in_silence


def test_a_clip_of_slides_becomes_a_video_of_its_sound(config: dict[str, Any], tmp_path: Path) -> None:
    """As long as the sound at the rate of the result, not at that of the slides."""
    slides = write_clip(tmp_path / "slides.mp4", n_frames=5, fps=Fraction(1), picture=gradient)
    report = run(LipSyncConfig(**config | {"face": slides}))
    assert (report.fps, report.n_frames) == ("25", len(window_starts(81, Fraction(25))))  # one second: 81 columns


def test_silence_is_looked_for_at_the_clip_s_own_rate(config: dict[str, Any], tmp_path: Path) -> None:
    """NumPy's loudness of each fiftieth of a second, of which the second half is silent."""
    fast = write_clip(tmp_path / "fast.mp4", n_frames=60, fps=Fraction(50), picture=gradient)
    samples = tone(2.0) * np.repeat([1.0, 0.0], 16000)
    sound = write_sound(tmp_path / "b.wav", samples)
    report = run(LipSyncConfig(**config | {"face": fast, "audio": sound}, silence_gating=True))
    loudness = np.sqrt(np.square(samples[0].reshape(-1, 320)).mean(1))[: report.n_frames].tolist()
    rested = rest_weights(loudness, fps=Fraction(50), threshold=0.01)
    assert report.n_frames_in_silence == rested.count(1.0) > 40


def test_what_is_not_recommended_is_told_to_programs_too(config: dict[str, Any]) -> None:
    assert not run(LipSyncConfig(**config)).notes
    (note,) = run(LipSyncConfig(**config, temporal_smooth=True)).notes
    assert note == "--temporal_smooth has no effect with --box, which is the same in every frame"
    (warning,) = FaceConfig(temporal_smooth=True).warnings
    assert warning.startswith("--temporal_smooth is experimental and not recommended")


def test_where_no_face_was_found_is_told(config: dict[str, Any], tmp_path: Path) -> None:
    nobody = config | {"face": write_clip(tmp_path / "grey.mp4", n_frames=9), "box": FaceConfig.box}
    with pytest.raises(FaceNotFoundError, match=r"no face in \S+ \(frames looked at: 9\)"):
        run(LipSyncConfig(**nobody))
    with pytest.raises(FaceNotFoundError, match=r"within --crop 0 40 0 -1 \(frames looked at: 1, the only one"):
        run(LipSyncConfig(**nobody, crop=(0, 40, 0, -1), static=True))


def test_half_precision_on_a_cpu_is_a_notice_and_no_more(config: dict[str, Any]) -> None:
    plain = run(LipSyncConfig(**config))
    before = Path(config["outfile"]).read_bytes()
    asked = run(LipSyncConfig(**config, fp16=True))
    assert ["fp16 is for CUDA devices" in note for note in asked.notes] == [True] and not plain.notes
    assert Path(config["outfile"]).read_bytes() == before and asked.precision == plain.precision

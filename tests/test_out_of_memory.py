"""A device that runs out of memory anywhere but in the generator (test_generate.py): the run begins again, smaller."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.detection import CUDA_HELD_BYTES, DetectionStream
from gpu_lipsync.errors import DeviceMemoryError
from gpu_lipsync.progress import Silent
from gpu_lipsync.video import open_video
from tests.clips import tone, write_sound

SAMPLES = Path(__file__).parent.parent / "samples"
SOUND_S = 24 / 25
# What takes frames as its first argument, or as its second after self.
STAGES = {
    "decoding": "gpu_lipsync.video.Video._edit",
    "detection": "gpu_lipsync.models.CenterFace.candidates",
    "scene changes": "gpu_lipsync.detection.SceneChanges.update",
    "conversion for the encoder": "gpu_lipsync.encode.even_sided",
}


class Listener(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.begun: list[int] = []

    def note(self, line: str) -> None:
        self.lines.append(line)

    def begin(self, n_frames: int) -> None:
        self.begun.append(n_frames)


def config_of(folder: Path, checkpoint: Path) -> LipSyncConfig:
    return LipSyncConfig(
        checkpoint_path=checkpoint,
        face=SAMPLES / "face.mp4",
        audio=write_sound(folder / "a.wav", tone(SOUND_S)),
        outfile=folder / "results" / "out.mp4",
        device="cpu",  # a GPU host's decoder and batch sizes are others; its memory is for `make gpu-check`
    )


def too_many(monkeypatch: pytest.MonkeyPatch, target: str, limit: int) -> None:
    """Let a stage run out of memory above so many frames."""
    holder, name = target.rsplit(".", 1)
    module, _, owner = holder.rpartition(".")
    found: Any = __import__(module, fromlist=[owner])
    found = getattr(found, owner) if hasattr(found, owner) else __import__(holder, fromlist=[name])
    plain = getattr(found, name)

    def limited(*args: Any, **kwargs: Any) -> Any:
        frames = next(a for a in args if isinstance(a, torch.Tensor))
        if len(frames) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*args, **kwargs)

    monkeypatch.setattr(found, name, limited)


def pictures(path: str | Path) -> torch.Tensor:
    with open_video(path, FrameConfig(decoder="pyav")) as video:
        return torch.cat([frames for _, frames in video.batches(range(video.n_frames), 2)]).float()


@pytest.mark.parametrize("stage", STAGES)
def test_the_run_begins_again_with_half_the_batch_once_per_level(
    stage: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, listener = config_of(tmp_path, checkpoint), Listener()
    whole = run(replace(config, outfile=tmp_path / "whole.mp4"))
    too_many(monkeypatch, STAGES[stage], 3)
    report = run(config, listener)
    said = [line for line in listener.lines if "memory" in line]
    assert said == [f"out of memory: starting again with batches of {size}" for size in (8, 4, 2)]
    assert listener.lines == report.notes and listener.begun == [report.n_frames] * 4
    counts = [(r.n_frames, r.n_source_frames, r.n_frames_without_face, r.n_generated) for r in (whole, report)]
    assert counts[0] == counts[1] and report.batch_size == 2
    # In batches of another size the generator's products round otherwise, and the encoder looks ahead otherwise.
    assert (pictures(config.outfile) - pictures(tmp_path / "whole.mp4")).abs().mean() < 0.1
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["out.mp4"]


def test_a_single_frame_too_many_ends_the_run(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_many(monkeypatch, STAGES["conversion for the encoder"], 0)
    config = config_of(tmp_path, checkpoint)
    with pytest.raises(DeviceMemoryError, match="--resize_factor 2") as caught:
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
        assert held <= CUDA_HELD_BYTES < held + 10 * 3 * height * width
    assert most(9000, 9000) == 1

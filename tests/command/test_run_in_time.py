"""What a run writes, in time and in place: each frame's mouth is that of its sound, and the sound is heard then."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.audio import load_audio, mel_windows
from gpu_lipsync.config import FrameConfig
from gpu_lipsync.generate import MouthRenderer
from gpu_lipsync.media.sound_file import read_sound
from gpu_lipsync.models import FaceMesh
from gpu_lipsync.pasting.heads import Heads
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.video import open_video
from tests.clips import tone, write_clip, write_sound
from tests.places import FACE
from tests.talkers import sample_frame
from tests.writing import encode, pictures, shape_of

BOX = (100, 300, 120, 320)


def telling(mel: Tensor, faces: Tensor, *, window: object = None) -> Tensor:
    """Mouths as light as their windows are loud."""
    return (mel.mean((1, 2, 3)) / 8 + 0.5)[:, None, None, None].expand_as(faces).clone()


def noise(path: Path, rate: int) -> Path:
    """Two seconds of noise, the left channel another than the right, as loud as it likes every tenth of a second."""
    rng = np.random.default_rng(0)
    loudness = np.repeat(rng.uniform(0.01, 1, 20), rate // 10)
    return write_sound(path, loudness * rng.uniform(-0.9, 0.9, (2, len(loudness))), rate=rate)


# AVI has no stamps: what an encoder puts before the sound, or before the first frame, would shift one by the other.
@pytest.mark.parametrize(("suffix", "rate"), [(".mp4", 16000), (".mkv", 16000), (".avi", 44100), (".avi", 8000)])
def test_mouths_and_sound_are_in_time(tmp_path: Path, suffix: str, rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_lipsync.pipeline.load_generator", lambda *_: telling)
    (tmp_path / "a.pth").write_text("not read")
    sound = noise(tmp_path / "a.wav", rate)
    given: dict[str, Any] = {"checkpoint_path": tmp_path / "a.pth", "face": FACE, "audio": sound, "box": BOX}
    config = LipSyncConfig(**given, outfile=tmp_path / f"out{suffix}", blend_method="original", crf=4)
    run(config)
    mel = mel_windows(load_audio(sound), 25)
    expected = telling(mel, torch.zeros(len(mel), 3, 1, 1))[:, 0, 0, 0] * 255
    assert expected.diff().abs().max() > 8, "or a frame too early would not show"
    with open_video(config.outfile, FrameConfig(decoder="pyav")) as video:
        frames = torch.cat([batch for _, batch in video.batches(range(video.n_frames), 16)]).float()
    seen = frames[:, :, 150:250, 170:270].mean((1, 2, 3))
    assert len(seen) == len(expected) and (seen - expected).abs().max() < 2  # levels; 8 bits, and x264 at crf 4
    heard, said = read_sound(config.outfile).samples, read_sound(sound).samples
    middle = slice(2000, heard.shape[1] - 3000)  # ends are faded by the codec
    for channel in range(2):  # AAC's own error; a sample too late, the other channel or its magnitude is other noise
        assert np.corrcoef(heard[channel, middle], said[channel, middle])[0, 1] > 0.95


def test_what_is_known_of_faces_reaches_the_renderer(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slides: followed at their own rate, not at that of the output; masks that go where the mouth is."""
    face = sample_frame()[0].permute(1, 2, 0).numpy()
    slow = tmp_path / "slow.mp4"
    write_clip(slow, n_frames=5, fps=Fraction(2), size=face.shape[:2], picture=lambda *_: face)
    given: list[Heads] = []
    rates: list[float] = []
    meshes: list[FaceMesh | None] = []
    render, follow = MouthRenderer.render, FaceTracker.__init__

    def rendering(self: MouthRenderer, frames: Tensor, mel: Tensor, heads: Heads) -> Tensor:
        given.append(heads)
        return render(self, frames, mel, heads)

    def following(self: FaceTracker, *arguments: Any, fps: float, mesh: FaceMesh | None, **others: Any) -> None:
        rates.append(fps)
        meshes.append(mesh)
        follow(self, *arguments, fps=fps, mesh=mesh, **others)

    monkeypatch.setattr(MouthRenderer, "render", rendering)
    monkeypatch.setattr(FaceTracker, "__init__", following)
    sound = write_sound(tmp_path / "a.wav", tone(1.0))
    run(LipSyncConfig(checkpoint_path=checkpoint, face=slow, audio=sound, outfile=tmp_path / "out.mp4"))
    assert rates == [2.0] and isinstance(meshes[0], FaceMesh)
    for heads in given:
        assert len(heads.boxes) == len(heads.fits) == len(heads.poses) == len(heads)
        assert heads.fits.any() and all(scene == (0, 1) for scene in heads.scenes) and all(heads.poses)


def test_pixels_that_are_not_square_stay_so(tmp_path: Path, checkpoint: Path) -> None:
    """DV's 4:3 picture in 720 columns; lying on its side it is as much higher."""
    shape = replace(shape_of(96, 128), pixel_aspect=Fraction(16, 15))
    clip = encode(tmp_path / "wide.mp4", shape, pictures(25, 96, 128))
    sound = write_sound(tmp_path / "a.wav", tone(0.4))
    for rotate, expected in ((False, Fraction(16, 15)), (True, Fraction(15, 16))):
        out = tmp_path / f"{rotate}.mp4"
        given: dict[str, Any] = {"checkpoint_path": checkpoint, "face": clip, "audio": sound, "box": (0, 64, 0, 64)}
        run(LipSyncConfig(**given, outfile=out, rotate=rotate))
        with av.open(str(out)) as written:
            assert written.streams.video[0].sample_aspect_ratio == expected

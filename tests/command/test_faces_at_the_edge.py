"""What is said of a face whose mouth lies at the picture's edge: it is there, and gets none."""

from pathlib import Path

import av
import numpy as np
import pytest

from gpu_lipsync import LipSyncConfig, run
from gpu_lipsync.errors import FaceNotFoundError
from tests.clips import tone, write_clip, write_sound
from tests.places import FACE


def config_of(folder: Path, face: Path, checkpoint: Path, **settings: object) -> LipSyncConfig:
    files = {"face": face, "checkpoint_path": checkpoint, "outfile": folder / "out.mp4"}
    sound = write_sound(folder / "a.wav", tone(1.0))
    return LipSyncConfig(**files, audio=sound, device="cpu", **settings)  # type: ignore[arg-type]


def test_a_clip_of_none_but_such_says_what_is_wrong_with_them(tmp_path: Path, checkpoint: Path) -> None:
    """Not that there is no face, which everybody sees. The sample's mouth is at row 276."""
    with pytest.raises(
        FaceNotFoundError, match=r"face\.mp4, within --crop 0 284 0 -1 has its mouth at the picture's edge"
    ):
        run(config_of(tmp_path, FACE, checkpoint, crop=(0, 284, 0, -1)))
    assert not (tmp_path / "out.mp4").exists()


def test_frames_in_which_it_is_so_are_told_apart(tmp_path: Path, checkpoint: Path) -> None:
    with av.open(str(FACE)) as clip:
        face = next(clip.decode(video=0)).to_ndarray(format="rgb24")

    def sinking(index: int, height: int, width: int) -> np.ndarray:
        """From the 13th frame on only down to the lips."""
        return face if index < 12 else np.concatenate((face[:1].repeat(height - 284, axis=0), face[:284]))

    path = write_clip(tmp_path / "a.mp4", n_frames=22, size=face.shape[:2], picture=sinking)  # as much as 1 s asks for
    report = run(config_of(tmp_path, path, checkpoint))
    assert report.n_frames_without_face == 10
    (told,) = (note for note in report.notes if "mouth" in note)
    assert told.startswith("in 10 of 22 frames of a.mp4 the face's mouth is at the edge of the picture or beyond")

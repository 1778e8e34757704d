"""Of a clip to be judged: its faces as the generator gets them, turned upright, and how many are enough."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gpu_lipsync.errors import FaceNotFoundError
from gpu_lipsync.faces import crop_faces
from gpu_lipsync.judging import talking_clip
from gpu_lipsync.judging.talking_clip import _cut_out, read_clip
from gpu_lipsync.models import load_face_mesh
from gpu_lipsync.pasting.heads import Heads
from gpu_lipsync.tracking.mouth_landmarks import find_contexts
from tests.clips import tone, write_clip, write_sound
from tests.film import Film
from tests.heads import held_still
from tests.talkers import BOX, sample_frame


def test_faces_are_rounded_to_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's crops lie between them: cut off, a face would be half a level darker than what it is compared with."""
    monkeypatch.setattr(talking_clip, "crop_faces", lambda *_, **__: torch.full((1, 3, 96, 96), 101.7 / 255))
    faces, _ = _cut_out(Film(sample_frame()), held_still(BOX), [0], load_face_mesh())
    assert (faces == 102).all()


def test_faces_and_what_surrounds_them_are_turned_upright() -> None:
    """Each by its own tilt; a frame in between that is not judged counts for nothing."""
    film, mesh = Film(sample_frame().expand(3, -1, -1, -1)), load_face_mesh()
    tilts = torch.tensor([0.0, 50.0, 30.0], dtype=torch.float64)
    heads = replace(held_still(BOX.expand(3, -1)), tilts=tilts)
    faces, contexts = _cut_out(film, heads, [0, 2], mesh)
    for i, tilt in enumerate((tilts[:1], tilts[2:])):
        crop = crop_faces(sample_frame(), BOX, tilts=tilt) * 255
        assert (faces[i] - crop[0]).abs().max() <= 0.5  # to whole levels
        alone = find_contexts(sample_frame(), BOX, mesh, tilts=tilt)
        # A batch's sums in the network are added up in another order; the images are moved by as little.
        assert (contexts.to_face[i] - alone.to_face[0]).abs().max() < 1e-3
        assert (contexts.images[i].float() - alone.images[0].float()).abs().mean() < 0.1


@pytest.mark.parametrize(("n_faces", "enough"), [(24, False), (25, True)])
def test_a_second_of_faces_is_enough(
    n_faces: int, enough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 30 frames the others show none."""

    def tracked(frames: Iterable[Tensor], *_: object, **__: object) -> Heads:
        n_frames = sum(len(batch) for batch in frames)
        boxes = torch.tensor([[20, 10, 84, 90]]).repeat(n_frames, 1)
        boxes[n_faces:] = 0
        return held_still(boxes)

    monkeypatch.setattr(talking_clip, "track_faces", tracked)
    clip = write_clip(tmp_path / "clip.mp4", n_frames=30)
    sound = write_sound(tmp_path / "sound.wav", tone(2.0))
    if enough:
        read = read_clip(clip, torch.device("cpu"), audio=sound)
        assert len(read.faces) == 25 and read.frames == list(range(25))
    else:
        with pytest.raises(FaceNotFoundError, match="a face in 24 of 30 frames; judging takes at least 25"):
            read_clip(clip, torch.device("cpu"), audio=sound)

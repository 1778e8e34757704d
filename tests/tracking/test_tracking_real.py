"""Boxes with the real network: a photograph that moves, the sample, real clips."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.models.face_detector import CenterFace, load_face_detector
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.tracked_frames import track_faces
from tests.places import FACE
from tests.scripted_faces import NO_PADS, Array, batches, best_lag, centres, sizes


@pytest.fixture(scope="module")
def detector() -> CenterFace:
    return load_face_detector()


def moved_astronaut(x: Array, y: Array) -> Iterator[Tensor]:
    """The photograph behind a window of 384×288 that moves by -x, -y: the face moves by x, y, in half pixels."""
    image = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None].float()
    double = torch.nn.functional.interpolate(image, scale_factor=2, mode="bilinear")
    for left, top in zip(2 * 60 - np.round(2 * x).astype(int), 2 * 30 - np.round(2 * y).astype(int), strict=True):
        yield double[:, :, top : top + 576, left : left + 768][:, :, ::2, ::2].round().byte()


def test_follows_a_photograph_that_moves(detector: CenterFace) -> None:
    phase = 2 * np.pi * np.arange(91) / 45
    x, y = 25 * np.sin(phase), 8 * np.sin(2 * phase)
    boxes = track_faces(moved_astronaut(x, y), detector, FaceConfig(pads=NO_PADS)).boxes.numpy().astype(float)
    assert (boxes[:, 2] > 0).all() and len(sizes(boxes)) == 1
    found, truth = centres(boxes), np.stack((np.round(2 * x) / 2, np.round(2 * y) / 2), axis=1)
    found, truth = found - found.mean(0), truth - truth.mean(0)
    assert best_lag(found, truth, reach=8) == 0
    height = boxes[0, 3] - boxes[0, 1]
    assert np.sqrt(((found - truth) ** 2).mean(0)).max() < 0.015 * height  # the network's own noise is 0.5 to 1 %
    assert np.median(np.abs(np.diff(found, 2, axis=0)).max(1)) <= 0.01 * height


def test_a_small_face_is_found_on_a_second_look(detector: CenterFace) -> None:
    """Too small at the size the CPU looks at first: 13 px high in 384."""
    image = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(image, (200, 200), mode="area").round().byte()
    frame = torch.full((11, 3, 720, 1280), 90, dtype=torch.uint8)
    frame[:, :, 300:500, 700:900] = small
    assert not len(detector.detect(frame[:1])[0])
    boxes = track_faces([frame], detector, FaceConfig()).boxes
    assert (boxes == boxes[0]).all()
    assert (boxes[0] - torch.tensor([771, 324, 805, 379])).abs().max() < 6  # the astronaut's box, scaled and padded


UPSIDE_DOWN = r"is upside down, where mouths .*: turn the clip first \(ffmpeg -i IN -vf hflip,vflip OUT\)$"


@pytest.mark.parametrize("quarters", range(4))
def test_what_lies_on_its_side_is_told(detector: CenterFace, quarters: int) -> None:
    """Turned by quarters anticlockwise; the sample turns its head meanwhile."""
    frames = torch.rot90(read_clip(FACE, 40), quarters, dims=(2, 3))
    tracker = FaceTracker(detector, FaceConfig(), fps=25.0)
    tracker.push(frames)
    tracker.finish()
    assert tracker.frames_without_face < 10
    advice, rotated = (tracker.tilts.advice("a.mp4", rotated=rotated) for rotated in (False, True))
    assert re.search(UPSIDE_DOWN, str(advice)) if quarters == 2 else advice is None
    lies = {0: None, 2: "the face in a.mp4 is upside down: leave out --rotate"}
    assert rotated == lies.get(quarters, "the face in a.mp4 lies on its side: leave out --rotate")


def read_clip(path: Path, n_frames: int, stride: int = 1) -> Tensor:
    decord = pytest.importorskip("decord")
    reader = decord.VideoReader(str(path), num_threads=1)
    return torch.from_numpy(reader.get_batch(range(0, min(n_frames, len(reader)), stride)).asnumpy()).permute(
        0, 3, 1, 2
    )


def assert_tracked(detector: CenterFace, frames: Tensor, check: Callable[[Array], None] | None = None) -> None:
    """A box in every frame, steady, and where detections of every frame put it."""
    boxes = track_faces(batches(frames), detector, FaceConfig(pads=NO_PADS)).boxes.numpy().astype(float)
    assert (boxes[:, 2] > 0).all()
    height = np.median(boxes[:, 3] - boxes[:, 1])
    found = centres(boxes)
    assert np.median(np.abs(np.diff(found, 2, axis=0)).max(1)) <= 0.01 * height
    dense = np.array([max(faces.tolist(), key=lambda face: face[2] - face[0])[:4]
                      for batch in batches(frames, 4) for faces in detector.detect(batch)])  # fmt: skip
    assert np.sqrt(((found - centres(dense)) ** 2).mean(0)).max() < 0.015 * height  # a detection's noise is 0.5 to 1 %
    if centres(dense).std(0).max() > 0.02 * height:  # a still head has no lag to be measured
        axis = int(centres(dense).std(0).argmax())
        assert best_lag(found[:, axis : axis + 1], centres(dense)[:, axis : axis + 1], reach=8) == 0


def test_tracks_the_sample(detector: CenterFace) -> None:
    assert_tracked(detector, read_clip(FACE, 50))


@pytest.mark.parametrize("name", ["video/vretalk_3_woman_flag.mp4", "video/sadtalker_woman_headmotion_mpeg4.mp4",
                                  "more/grid_s1_bbie8n.mpg"])  # fmt: skip
def test_tracks_real_clips(detector: CenterFace, media: Path, name: str) -> None:
    assert_tracked(detector, read_clip(media / name, 50))


def test_a_real_clip_with_frames_without_a_face(detector: CenterFace, media: Path) -> None:
    frames = read_clip(media / "video" / "face_noface_face.mp4", 150)  # no face from 2 to 4 s, at 25 fps
    tracker = FaceTracker(detector, FaceConfig())
    for batch in batches(frames):
        tracker.push(batch)
    tracker.finish()
    has_face = tracker.heads(0, 150).boxes.any(1)
    assert has_face[:50].all() and not has_face[50:100].any() and has_face[100:].all()
    assert tracker.n_cuts == 2 and tracker.frames_without_face == 50

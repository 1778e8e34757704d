"""Where mouths are: against what was read off enlarged pictures by eye."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gpu_lipsync.config import FrameConfig
from gpu_lipsync.face_config import FaceConfig
from gpu_lipsync.models import FaceMesh, load_face_detector, load_face_mesh
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.tracking import mouth_finder
from gpu_lipsync.tracking.face_tracker import FaceTracker
from gpu_lipsync.tracking.mouth_finder import LOOKS, MouthFinder
from gpu_lipsync.tracking.mouth_landmarks import MOUTH_CORNERS, find_landmarks
from gpu_lipsync.video import open_video
from tests.places import FACE
from tests.scripted_faces import track

# Pixels: the middle between the corners, and between the upper lip's upper edge and the lower lip's lower one.
SEEN = {
    "more/grid_s1_bbie8n.mpg": (10, 158.5, 220.0),
    "more/grid_s26_bgbsza.mpg": (10, 161.0, 208.0),  # under a moustache
    "image/goatee_mic_still.png": (0, 411.5, 423.0),
    "video/liveportrait_s18_woman_still_closedmouth.mp4": (10, 801.0, 330.0),  # turned aside
}


def face_at(x: float, y: float) -> np.ndarray:
    """Upright, 100 px wide and 200 high, the mouth 0.65 down."""
    return np.array([x, y, 100, 200, x, y + 30, 80, 0])


def mouth_of(path: Path, frame: int, mesh: FaceMesh | None, *, planes: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A frame's mouth in pixels, and its box's width and height."""
    with torch.inference_mode(), open_video(path, FrameConfig(), torch.device("cpu"), as_decoded=planes) as video:
        config = FaceConfig(pads=(0, 0, 0, 0))
        fps, layout = float(video.source_fps), video.layout
        tracker = FaceTracker(load_face_detector(), config, mesh=mesh, fps=fps, layout=layout)
        for _, frames in video.batches(range(min(20, video.n_frames)), 8):
            tracker.push(frames)
        tracker.finish()
    head = tracker.heads(frame, frame + 1)
    (x1, y1, x2, y2), (pose,) = head.boxes[0].tolist(), head.poses
    assert pose is not None
    size = np.array([x2 - x1, y2 - y1])
    return np.array([x1, y1]) + np.array([pose.x, pose.y]) * size / 96, size


@pytest.mark.parametrize("name", SEEN)
def test_mouths_are_where_they_are_seen(media: Path, name: str) -> None:
    frame, *seen = SEEN[name]
    found, size = mouth_of(media / name, frame, load_face_mesh())
    assert np.abs((found - seen) / size).max() < 0.025  # of the box: lips' edges are soft, and heads move in 20 frames
    by_detector, _ = mouth_of(media / name, frame, None)
    assert ((seen - by_detector) / size)[1] > 0.03, "or there would be nothing to put right"


def test_the_sample_s_mouth_is_where_it_is_seen() -> None:
    found, size = mouth_of(FACE, 0, load_face_mesh())
    assert np.abs((found - (253.5, 276.0)) / size).max() < 0.025  # as above
    as_planes, _ = mouth_of(FACE, 0, load_face_mesh(), planes=True)
    assert np.abs((as_planes - found) / size).max() < 0.005  # other rounding of colours


def test_a_segment_s_looks_are_few_and_all_of_it_is_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face of 100 x 200 at (50, 100), its mouth by the detector at half its width and 0.65 of its height."""
    places = iter([(0.52, 0.70), (0.9, 0.7), (0.54, 0.68), (0.59, 0.69), (0.5, 0.65)])

    def found(frames: Tensor, boxes: Tensor, mesh: object, *, tilts: Tensor) -> Tensor:
        assert frames.shape[2:] == (300, 300) and boxes.tolist() == [[50, 100, 150, 300]]
        x, y = next(places)
        points = torch.zeros(1, 468, 3)
        points[0, MOUTH_CORNERS, 0] = torch.tensor([x - x / 3, x + x / 3])
        points[0, (0, 17), 1] = torch.tensor([y - 0.05, y + 0.05])
        return points

    monkeypatch.setattr(mouth_finder, "find_landmarks", found)
    finder = MouthFinder(load_face_mesh())
    frame, box = torch.zeros(1, 3, 300, 300, dtype=torch.uint8), face_at(100, 200)
    for _ in range(LOOKS + 3):
        finder.look(frame, 1, box, frame=0)
    assert len(list(places)) == 1, "no more than needed"
    found_at = finder.corrected((10.0, 20.0), Rect(0, 0, 100, 200), 1, known=0)
    assert found_at == pytest.approx((14.0, 28.0)), "not what is too far off"
    assert finder.corrected((10.0, 20.0), Rect(0, 0, 100, 200), 2, known=0) == (10.0, 20.0)
    assert finder.half_width(1, known=0) == pytest.approx(0.59 / 3) and finder.half_width(2, known=0) == 0, "the widest"


@pytest.mark.parametrize(
    "place",
    [
        lambda at: (at, 150.0),
        lambda at: (300.0 - at, 150.0),
        lambda at: (150.0, 2 * at),  # twice as high as wide
        lambda at: (150.0, 300.0 - 2 * at),
    ],
    ids=["left", "right", "top", "bottom"],
)
def test_a_face_that_comes_into_the_picture_is_looked_at_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch, place: Callable[[float], tuple[float, float]]
) -> None:
    """Cut off it counts until it is seen as a whole; and where nothing is found, looking ends."""
    looked: list[float] = []

    def found(frames: Tensor, boxes: Tensor, mesh: object, *, tilts: Tensor) -> Tensor:
        x = 0.6 if not looked else 0.52
        looked.append(x)
        points = torch.zeros(1, 468, 3)
        points[0, MOUTH_CORNERS, 0] = torch.tensor([x - 0.1, x + 0.1])
        points[0, (0, 17), 1] = torch.tensor([0.65 - 0.05, 0.65 + 0.05])
        return points

    monkeypatch.setattr(mouth_finder, "find_landmarks", found)
    finder, frame = MouthFinder(load_face_mesh()), torch.zeros(1, 3, 300, 300, dtype=torch.uint8)
    corrected = []
    for at in (20.0, 30.0, 40.0, 49.0, 60.0, 70.0, 30.0, 80.0):  # of a face 100 px wide
        finder.look(frame, 1, face_at(*place(at)), frame=0)
        corrected.append(finder.corrected((0.0, 0.0), Rect(0, 0, 100, 200), 1, known=0)[0])
    assert looked == [0.6, 0.52, 0.52, 0.52]
    assert corrected == pytest.approx([10, 10, 10, 2, 2, 2, 2, 2])
    monkeypatch.setattr(mouth_finder, "find_landmarks", lambda *_, **__: looked.append(0) or torch.zeros(1, 468, 3))
    looked.clear()
    for _ in range(30):
        finder.look(frame, 2, face_at(150, 150), frame=0)
    assert len(looked) == mouth_finder.MOST_LOOKS and finder.corrected(
        (1.0, 2.0), Rect(0, 0, 100, 200), 2, known=0
    ) == (1.0, 2.0)


def test_what_is_seen_later_than_is_asked_for_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = iter([0.1, 0.2])

    def found(frames: Tensor, boxes: Tensor, mesh: object, *, tilts: Tensor) -> Tensor:
        half, points = next(halves), torch.zeros(1, 468, 3)
        points[0, MOUTH_CORNERS, 0] = torch.tensor([0.5 - half, 0.5 + half]) + half / 5
        points[0, (0, 17), 1] = torch.tensor([0.6, 0.7])
        return points

    monkeypatch.setattr(mouth_finder, "find_landmarks", found)
    finder, picture = MouthFinder(load_face_mesh()), torch.zeros(1, 3, 300, 300, dtype=torch.uint8)
    for frame in (0, 10):
        finder.look(picture, 1, face_at(150, 150), frame=frame)
    for known, half, right in ((-1, 0.0, 0.0), (5, 0.1, 2.0), (10, 0.2, 3.0)):
        assert finder.half_width(1, known=known) == pytest.approx(half)
        assert finder.corrected((0.0, 0.0), Rect(0, 0, 100, 200), 1, known=known)[0] == pytest.approx(right)


def test_without_landmarks_mouths_are_the_detector_s() -> None:
    finder = MouthFinder(None)
    finder.look(torch.zeros(1, 3, 300, 300, dtype=torch.uint8), 1, face_at(100, 200), frame=0)
    assert finder.corrected((10.0, 20.0), Rect(0, 0, 100, 200), 1, known=0) == (10.0, 20.0)


def test_landmarks_are_found_on_the_device_without_a_look_at_them() -> None:
    """On fake CUDA tensors, where a tensor left on the host or a look at a value would raise."""
    with FakeTensorMode():
        with torch.device("cuda"):
            mesh, frames = FaceMesh(), torch.zeros(1, 3, 300, 300, dtype=torch.uint8)
        points = find_landmarks(frames, torch.tensor([[50.0, 100, 150, 300]]), mesh)
        assert points.shape == (1, 468, 3) and points.device.type == "cuda"


def test_looks_at_a_mouth_lie_apart_where_every_frame_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a cut: the first three frames of a shot say one sound, and a mouth that is shut for it is narrow."""
    looks: list[tuple[int, int]] = []

    def look(_: MouthFinder, picture: Tensor, segment: int, box: np.ndarray, *, frame: int) -> None:
        assert frame == int(picture[0, 0, 0, 0])  # where scripted frames are numbered
        looks.append((segment, frame))

    monkeypatch.setattr(MouthFinder, "look", look)
    track([[(200.0, 220.0, 100.0, 130.0)]] * 61, cuts=[31])
    for segment, apart in ((1, 5), (2, 3)):  # samples; 0.12 s of 25 frames a second where each frame is seen
        at = np.array([frame for in_segment, frame in looks if in_segment == segment])
        assert len(at) >= LOOKS and np.diff(at).min() == apart

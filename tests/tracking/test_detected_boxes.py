"""Faces and mouths in the frame's own pixels: seen in reduced planes, grown on the way, cut off at first."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gpu_lipsync.decoding.frame_layout import Yuv420Frames
from gpu_lipsync.models import load_face_mesh
from gpu_lipsync.models.face_detector import network_size
from gpu_lipsync.tracking import mouth_finder
from gpu_lipsync.tracking.detection import DetectionStream
from tests.tracking.test_detection import LARGE, SMALL, Looks, detected
from tests.tracking.test_mouth_finder import face_at

# A face in parts of the picture's sides: x1 y1 x2 y2 score, then five landmarks' x y.
FACE = torch.tensor([0.2, 0.3, 0.4, 0.6, 0.9, 0.25, 0.4, 0.35, 0.4, 0.3, 0.45, 0.26, 0.5, 0.34, 0.5])


def in_pixels(height: int, width: int) -> Tensor:
    """FACE in a picture of that size: (15,)."""
    return FACE * torch.tensor([width, height, width, height, 1, *[width, height] * 5])


class OneFace:
    """Sees FACE in whatever it is given."""

    long_side_px = 384

    def __init__(self) -> None:
        self.sizes = set[tuple[int, ...]]()

    def candidates(self, frames: Tensor, *, long_side_px: int | None = None) -> Tensor:
        self.sizes.add(tuple(frames.shape[2:]))
        return in_pixels(*frames.shape[2:]).expand(len(frames), 1, 15)


def test_faces_in_reduced_planes_are_told_in_the_frame_s_own_pixels() -> None:
    """The picture is reduced by 3.33 across and by 3.21 down: its sides become multiples of 32."""
    detector = OneFace()
    stream = DetectionStream(detector, stride=1, batch_size=1, layout=Yuv420Frames("bt709"))
    stream.push(torch.full((1, 1080, 1280), 128, dtype=torch.uint8))
    stream.finish()
    ((_, faces),) = stream.results(all_of_them=True)
    assert detector.sizes == {network_size(720, 1280, 384)} == {(224, 384)}
    expected = in_pixels(720, 1280)
    height = float(expected[3] - expected[1])
    expected[1], expected[3] = expected[1] - 0.03 * height, expected[3] + 0.01 * height  # voting moves both edges
    np.testing.assert_allclose(faces[0], expected, rtol=1e-4)  # float32, there and back


def test_a_small_face_that_has_grown_is_looked_for_quickly_again() -> None:
    """A close look takes five times as long; they end with the need for them."""
    detector = Looks(SMALL, dict.fromkeys(range(120), 0.0))
    detector.script = [[SMALL]] * 120 + [[LARGE]] * 120
    assert min(detected(detector).values()) > 0.8
    # 24 samples show it small and 25 large; a few of each kind are under way when the other is asked for.
    assert detector.n_fine <= 36 and detector.n_coarse >= 20


def test_a_mouth_is_as_wide_as_it_is_seen_in_whole_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a face that comes into the picture the first look, at a part of it, counts until there is a better one."""
    halves = iter([0.24, 0.15, 0.16, 0.14])

    def found(frames: Tensor, boxes: Tensor, mesh: object, *, tilts: Tensor) -> Tensor:
        half, points = next(halves), torch.zeros(1, 468, 3)
        points[0, mouth_finder.MOUTH_CORNERS, 0] = torch.tensor([0.5 - half, 0.5 + half])
        points[0, (0, 17), 1] = torch.tensor([0.6, 0.7])
        return points

    monkeypatch.setattr(mouth_finder, "find_landmarks", found)
    finder, frame = mouth_finder.MouthFinder(load_face_mesh()), torch.zeros(1, 3, 300, 300, dtype=torch.uint8)
    widths = []
    for number, cx in enumerate((20.0, 60.0, 70.0, 80.0)):  # of a face 100 px wide
        finder.look(frame, 1, face_at(cx, 150), frame=number)
        widths.append(finder.half_width(1, known=number))
    assert widths == pytest.approx([0.24, 0.15, 0.16, 0.16]), "the widest of the whole ones"

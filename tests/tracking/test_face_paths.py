"""Where faces should be next, by arithmetic, and whose a face is."""

import numpy as np
import pytest

from gpu_lipsync.tracking.face_paths import FacePath, may_be_same, pair_up, unlikeness

BOX = np.array([100.0, 200.0, 80.0, 100.0, 100.0, 225.0])


def moved(right: float, size: float = 1.0) -> np.ndarray:
    box = BOX + np.array([right, 0, 0, 0, right, 0])
    box[2:4] *= size
    return box


def test_a_face_goes_on_as_it_went_and_keeps_its_size() -> None:
    path = FacePath(0, BOX, pace_over=6)
    path.see(5, moved(10, 1.1))
    assert not path.has_pace and (path.at(9) == moved(10, 1.1)).all(), "not long enough to know"
    path.see(10, moved(40, 1.2))
    assert path.has_pace
    np.testing.assert_allclose(path.at(15), moved(60, 1.2))
    path.see(15, moved(40, 1.2))
    path.see(20, moved(40, 1.2))  # over the last six frames and a little more it stood
    np.testing.assert_allclose(path.at(25), moved(40, 1.2))


def test_who_hurries_has_a_pace_at_once() -> None:
    path = FacePath(0, BOX, pace_over=6)
    path.see(1, moved(18))  # a fifth of its size, ten times what detections are off by
    np.testing.assert_allclose(path.at(4), moved(72))


def test_frames_that_are_looked_at_again_tell_nothing_new() -> None:
    path = FacePath(0, BOX, pace_over=6)
    path.see(10, moved(40))
    for frame in (10, 7, 3):
        path.see(frame, moved(300))
    assert path.last[0] == 10
    np.testing.assert_allclose(path.at(12), moved(48))


def test_size_tells_faces_apart_where_places_do_not() -> None:
    near, other = unlikeness(BOX, np.stack((moved(4), moved(4, 1.3))))
    assert other - near > 0.2 > near


@pytest.mark.parametrize("frame", [1, 10])
def test_each_face_is_one_path_s_and_the_most_alike_goes_first(frame: int) -> None:
    paths = [FacePath(0, BOX, pace_over=6), FacePath(0, moved(30), pace_over=6)]
    boxes = np.stack((moved(26), moved(20), moved(500)))
    assert pair_up(paths, frame, boxes) == {0: 1, 1: 0}
    assert pair_up(paths, frame, boxes[:0]) == {} == pair_up([], frame, boxes)


@pytest.mark.parametrize(("zoom", "same"), [(1.5, True), (1.7, False), (1 / 1.5, True), (1 / 1.7, False)])
def test_a_face_that_is_not_of_like_size_is_another(zoom: float, same: bool) -> None:
    """At once: half as large or small again may be a lens's work, or the detector's doing."""
    assert may_be_same(BOX, moved(0, zoom)[None], 1).tolist() == [same]

"""Tracking on clips whose faces are known: scripted detections, a photograph moved over a background, real clips."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_lipsync.errors import ConfigError, FaceNotFoundError
from gpu_lipsync.models.face_detector import CenterFace, load_face_detector
from gpu_lipsync.smoothing import local_fit
from gpu_lipsync.tracking import FaceConfig, FaceTracker, track_faces

ROOT = Path(__file__).parent.parent
SIDE = 480  # of the scripted clips
NO_PADS = (0, 0, 0, 0)

Array = NDArray[np.float64]
Face = tuple[float, float, float, float]  # centre x, centre y, width, height


class ScriptedDetector:
    """Says for frame i what `script[i]` lists; the frame's number is written in its first two pixels."""

    long_side_px = 640

    def __init__(self, script: Sequence[Sequence[Face]], *, scores: dict[int, float] | None = None) -> None:
        self.script, self.scores, self.seen = script, scores or {}, list[int]()

    def candidates(self, frames: Tensor, *, long_side_px: int | None = None) -> Tensor:
        found = torch.zeros(len(frames), 4, 15)
        for row, frame in enumerate((frames[:, 0, 0, 0].long() + 256 * frames[:, 0, 0, 1].long()).tolist()):
            self.seen.append(frame)
            for i, (x, y, width, height) in enumerate(self.script[frame]):
                # As the network sees it: voting moves the top 3 % of the height up and the bottom 1 % down.
                tall = height / 1.04
                top = y - height / 2 + 0.03 * tall
                score = self.scores.get(frame, 0.9) - 0.01 * i
                found[row, i, :5] = torch.tensor([x - width / 2, top, x + width / 2, top + tall, score])
        return found


def scripted_frames(n_frames: int, *, cuts: Sequence[int] = (), flashes: Sequence[int] = ()) -> Tensor:
    """(n, 3, SIDE, SIDE): each scene of its own grey; a flash is one bright frame."""
    frames = torch.empty((n_frames, 3, SIDE, SIDE), dtype=torch.uint8)
    for i in range(n_frames):
        frames[i] = 250 if i in flashes else 60 + 50 * (sum(cut <= i for cut in cuts) % 3)
        frames[i, :, 0, 0], frames[i, :, 0, 1] = i % 256, i // 256
    return frames


def batches(frames: Tensor, size: int = 8) -> Iterator[Tensor]:
    return iter(frames.split(size))


def track(
    script: Sequence[Sequence[Face]], *, cuts: Sequence[int] = (), push: int = 8, config: FaceConfig | None = None,
    flashes: Sequence[int] = (), scores: dict[int, float] | None = None,
) -> tuple[Array, FaceTracker]:  # fmt: skip
    """Boxes (n, 4) without pads, and the tracker."""
    tracker = FaceTracker(ScriptedDetector(script, scores=scores), config or FaceConfig(pads=NO_PADS))
    for batch in batches(scripted_frames(len(script), cuts=cuts, flashes=flashes), push):
        tracker.push(batch)
    tracker.finish()
    assert tracker.n_ready == len(script)
    return tracker.boxes(0, len(script)).numpy().astype(float), tracker


def centres(boxes: Array) -> Array:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def sizes(boxes: Array) -> set[tuple[float, ...]]:
    return {tuple(size) for size in (boxes[:, 2:] - boxes[:, :2]).tolist()}


def best_lag(found: Array, truth: Array, reach: int = 12) -> int:
    """Frames by which `found` runs behind `truth` (negative: ahead), by least squares."""
    inside = slice(reach, len(truth) - reach)
    shifts = range(-reach, reach + 1)
    errors = [((np.roll(found, -shift, axis=0) - truth)[inside] ** 2).sum() for shift in shifts]
    return shifts[int(np.argmin(errors))]


def swinging(n_frames: int, *, period: float = 40.0, noise_px: float = 1.0) -> list[list[Face]]:
    noise = np.random.default_rng(0).normal(0, noise_px, (n_frames, 4))
    phase = 2 * np.pi * np.arange(n_frames) / period
    x, y = 240 + 40 * np.sin(phase), 240 + 12 * np.cos(phase)
    return [[(x[i] + noise[i, 0], y[i] + noise[i, 1], 100 + noise[i, 2], 130 + noise[i, 3])] for i in range(n_frames)]


def test_no_lead_and_no_lag_on_a_known_motion() -> None:
    truth = np.array([faces[0][:2] for faces in swinging(201, noise_px=0)])
    script = swinging(201)
    boxes, _ = track(script)
    assert best_lag(centres(boxes), truth) == 0
    # 2 % of the face's width: a straight line over five frames cuts up to 3 px off the turn of so wide a swing; 1 px of
    # noise and the whole pixels, 0.75 px until an edge moves, are below that.
    assert np.sqrt(((centres(boxes) - truth) ** 2).mean(0)).max() < 2.0
    # The measure can tell: the predecessor's mean over the five sampled boxes from a frame's own on runs ahead.
    sampled = np.array([faces[0][:2] for faces in script])[::5]
    ahead = np.array([sampled[i // 5 : i // 5 + 5].mean(0) for i in range(201)])
    assert -10 <= best_lag(ahead, truth) <= -6


def test_jitter_is_a_fraction_of_the_detections() -> None:
    boxes, _ = track(swinging(201))
    jitter = np.abs(np.diff(centres(boxes), 2, axis=0)).max(1) / 130
    assert np.median(jitter) <= 0.01
    unsmoothed = np.array([faces[0][:2] for faces in swinging(201)])
    assert np.median(np.abs(np.diff(unsmoothed, 2, axis=0)).max(1) / 130) > 0.01


@pytest.mark.parametrize("push", [1, 7, 64])
@pytest.mark.parametrize("det_batch_size", [1, 16])
def test_boxes_do_not_depend_on_how_frames_arrive(push: int, det_batch_size: int) -> None:
    script = swinging(120)
    script[43:77] = [[]] * 34
    expected, _ = track(script, cuts=[100])
    config = FaceConfig(pads=NO_PADS, det_batch_size=det_batch_size)
    np.testing.assert_array_equal(track(script, cuts=[100], push=push, config=config)[0], expected)


@pytest.mark.parametrize("det_batch_size", [1, 4, 16])
def test_look_ahead_is_bounded(det_batch_size: int) -> None:
    """Decided after a detection batch and the next sample; ready half a second (12 frames at 25 fps) later."""
    push, stride = 8, 5
    tracker = FaceTracker(ScriptedDetector(swinging(250)), FaceConfig(det_batch_size=det_batch_size))
    for i, batch in enumerate(batches(scripted_frames(250), push)):
        tracker.push(batch)
        held = min((i + 1) * push, 250) - tracker.n_ready
        assert held <= stride * (min(det_batch_size, 4) + 1) + 3 + push + 12
    assert tracker.n_ready > 200
    with pytest.raises(IndexError):
        tracker.boxes(0, 250)


FACE: Face = (200.0, 220.0, 100.0, 130.0)
PLACE = [150, 155, 250, 285]


@pytest.mark.parametrize("first, last", [(13, 38), (0, 1), (10, 20), (58, 63), (0, 63), (62, 63)])
def test_a_box_in_just_the_frames_with_a_face(first: int, last: int) -> None:
    """63 frames, of which every fifth and the last are sampled; faces in [first, last)."""
    script = [[FACE] if first <= i < last else [] for i in range(63)]
    boxes, tracker = track(script)
    np.testing.assert_array_equal(boxes[first:last], np.tile(PLACE, (last - first, 1)))
    assert not boxes[:first].any() and not boxes[last:].any()
    assert tracker.frames_without_face == 63 - (last - first)


@pytest.mark.parametrize("n_missed, bridged", [(1, True), (4, True), (6, True), (7, False), (20, False)])
def test_short_misses_are_bridged(n_missed: int, bridged: bool) -> None:
    """Up to a quarter of a second, 6 frames at 25 fps, wherever they fall among the samples."""
    for start in range(19, 25):
        script = [[] if start <= i < start + n_missed else [FACE] for i in range(61)]
        boxes, tracker = track(script)
        detected = {frame for frame in range(start, start + n_missed) if frame % 5 == 0}
        if detected:  # between two samples nothing is missed
            assert tracker.frames_without_face == (0 if bridged else n_missed), start
        assert (boxes[boxes.any(1)] == PLACE).all()


def test_a_weak_detection_continues_a_track_but_starts_none() -> None:
    weak = {i: 0.4 for i in range(61)}
    assert track([[FACE]] * 61, scores=weak)[1].frames_without_face == 61
    assert track([[FACE]] * 61, scores=weak | {0: 0.9})[1].frames_without_face == 0


@pytest.mark.parametrize("cut", [2, 5, 32, 34, 35, 60])
@pytest.mark.parametrize("other, place", [((260.0, 240.0, 120.0, 150.0), [200, 165, 320, 315]),
                                          ((212.0, 220.0, 100.0, 130.0), [162, 155, 262, 285])])  # fmt: skip
def test_nothing_crosses_a_cut(cut: int, other: Face, place: list[int]) -> None:
    """The faces on both sides overlap, the second pair so much that only the picture tells."""
    boxes, tracker = track([[FACE] if i < cut else [other] for i in range(61)], cuts=[cut])
    np.testing.assert_array_equal(boxes[:cut], np.tile(PLACE, (cut, 1)))
    np.testing.assert_array_equal(boxes[cut:], np.tile(place, (61 - cut, 1)))
    assert tracker.n_cuts == 1


def test_a_jump_without_a_change_of_scene_is_not_smoothed_over() -> None:
    far: Face = (360.0, 300.0, 100.0, 130.0)
    boxes, tracker = track([[FACE] if i < 33 else [far] for i in range(61)])
    np.testing.assert_array_equal(boxes[:33], np.tile(PLACE, (33, 1)))
    np.testing.assert_array_equal(boxes[33:], np.tile([310, 235, 410, 365], (28, 1)))
    assert tracker.n_cuts == 0


def test_a_flash_is_no_cut() -> None:
    boxes, tracker = track([[FACE]] * 61, flashes=[31])
    assert tracker.n_cuts == 0 and tracker.frames_without_face == 0
    assert (boxes == PLACE).all()


def test_cuts_are_cut_even_among_repeated_frames() -> None:
    """A clip of 12 fps stored at 25: every second frame repeats, and a motion must not look like a cut."""
    detector = ScriptedDetector([[FACE]] * 61)
    tracker = FaceTracker(detector, FaceConfig())
    frames = scripted_frames(61, cuts=[40])
    for i in range(61):
        frames[i, :, 2:] += 12 * ((i // 2) % 2)  # each move changes all pixels by more than heads ever do
    tracker.push(frames)
    tracker.finish()
    assert tracker.n_cuts == 1


def test_of_several_faces_the_largest_then_the_same() -> None:
    grow = np.linspace(0.6, 1.6, 61)
    script = [[(340.0, 200.0, 90 * k, 110 * k), FACE] for k in grow]  # the other outgrows the followed one
    boxes, _ = track(script)
    assert (boxes == PLACE).all()
    gone = [faces if i < 31 else faces[:1] for i, faces in enumerate(script)]  # then it leaves: over to the other
    boxes, tracker = track(gone)
    assert (boxes[:31] == PLACE).all() and tracker.frames_without_face == 0
    assert np.abs(centres(boxes)[31:] - [340, 200]).max() <= 1


def test_the_size_holds_still() -> None:
    breathing = [1 + 0.06 * np.sin(i / 3) for i in range(151)]
    boxes, _ = track([[(200.0, 220.0, 100 * k, 130 * k)] for k in breathing])
    assert len(sizes(boxes)) == 1
    zoom = np.linspace(1, 2, 151)
    boxes, _ = track([[(240.0, 240.0, 100 * k, 130 * k)] for k in zoom])
    assert len(sizes(boxes)) <= 8  # steps of about 10 % from 1 to 2
    ratio = (boxes[:, 2] - boxes[:, 0]) / (100 * zoom)
    assert ratio.min() > 1 / 1.12 and ratio.max() < 1.12  # the size is held within 10 %, found over half a second


def test_without_smoothing_boxes_are_the_detections() -> None:
    script = swinging(61)
    boxes, _ = track(script, config=FaceConfig(pads=NO_PADS, smooth=False, det_stride=1))
    expected = np.array([faces[0] for faces in script])
    assert np.abs(centres(boxes) - expected[:, :2]).max() <= 1.01  # two roundings
    coarse, _ = track(script, config=FaceConfig(pads=NO_PADS, smooth=False))
    every_fifth = np.stack([np.interp(np.arange(61), np.arange(0, 61, 5), expected[::5, i]) for i in range(2)], 1)
    still = [i for i in range(5, 56) if abs(expected[i // 5 * 5 + 5, 0] - expected[i // 5 * 5, 0]) < 12]
    assert len(still) > 10  # elsewhere it moves fast, and is looked at in every frame
    assert np.abs(centres(coarse) - every_fifth)[still].max() <= 1.01


def test_temporal_smoothing_is_stronger_and_as_timely() -> None:
    truth = np.array([faces[0][:2] for faces in swinging(201, period=100, noise_px=0)])
    script = swinging(201, period=100, noise_px=3)
    path_lengths = []
    for temporal_smooth, mode in ((False, "medium"), (True, "light"), (True, "medium"), (True, "strong")):
        config = FaceConfig(pads=NO_PADS, temporal_smooth=temporal_smooth, smooth_mode=mode)  # type: ignore[arg-type]
        boxes, _ = track(script, config=config)
        # 3 px of noise on a motion of up to 2.5 px a frame leave the best shift uncertain by one frame.
        assert abs(best_lag(centres(boxes), truth)) <= 1
        path_lengths.append(np.abs(np.diff(centres(boxes)[:, 1])).sum() / np.abs(np.diff(truth[:, 1])).sum())
    assert path_lengths == sorted(path_lengths, reverse=True)
    assert path_lengths[0] > 1.5 and path_lengths[-1] < 1.2  # noise makes a path longer; 1 is the head's own


@pytest.mark.parametrize("before, after", [(6, 6), (0, 6), (6, 0), (2, 6), (1, 1), (0, 1), (0, 0)])
def test_local_fit_is_numpys_weighted_polyfit(before: int, after: int) -> None:
    values = np.random.default_rng(1).normal(size=before + 1 + after)
    offsets = np.arange(-before, after + 1)
    degree = min(2 if before and after else 1, before + after)
    root_weight = np.cos(np.pi / 2 * offsets / 7)  # polyfit squares it: the Hann window
    expected = np.polyval(np.polyfit(offsets, values, degree, w=root_weight), 0)
    np.testing.assert_allclose(local_fit(before, after, 6) @ values, expected, atol=1e-9)


def test_pads_are_added_and_boxes_clipped() -> None:
    config = FaceConfig(pads=(5, 10, 15, 20))
    assert (track([[FACE]] * 11, config=config)[0] == [135, 150, 270, 295]).all()
    at_the_edge: Face = (30.0, 460.0, 100.0, 130.0)
    assert (track([[at_the_edge]] * 11)[0] == [0, 395, 80, 480]).all()
    with pytest.raises(ConfigError, match="pads"):
        track([[FACE]] * 11, config=FaceConfig(pads=(0, 0, -60, -60)))


def test_a_given_box_needs_no_detector() -> None:
    frames = batches(scripted_frames(11))
    boxes = track_faces(frames, None, FaceConfig(box=(100, 300, 50, 600)))  # top bottom left right; pads are not added
    assert boxes.tolist() == [[50, 100, 480, 300]] * 11
    with pytest.raises(FaceNotFoundError, match="480x480"):
        track_faces(batches(scripted_frames(1)), None, FaceConfig(box=(500, 600, 0, 100)))
    with pytest.raises(ValueError, match="detector"):
        FaceTracker(None, FaceConfig())


@pytest.mark.parametrize("wrong", [{"box": (100, 50, 0, 10)}, {"box": (0, 10, -1, 10)}, {"det_stride": 0},
                                   {"det_batch_size": 0}, {"smooth_window": 32}, {"smooth_mode": "soft"},
                                   {"pads": (1, 2, 3)}])  # fmt: skip
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FaceConfig(**wrong)  # type: ignore[arg-type]


def test_no_frames_no_boxes() -> None:
    assert track_faces([], ScriptedDetector([]), FaceConfig()).shape == (0, 4)


# From here on with the real network.


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
    boxes = track_faces(moved_astronaut(x, y), detector, FaceConfig(pads=NO_PADS)).numpy().astype(float)
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
    boxes = track_faces([frame], detector, FaceConfig())
    assert (boxes == boxes[0]).all()
    assert (boxes[0] - torch.tensor([771, 324, 805, 379])).abs().max() < 6  # the astronaut's box, scaled and padded


def read_clip(path: Path, n_frames: int, stride: int = 1) -> Tensor:
    decord = pytest.importorskip("decord")
    reader = decord.VideoReader(str(path), num_threads=1)
    return torch.from_numpy(reader.get_batch(range(0, min(n_frames, len(reader)), stride)).asnumpy()).permute(
        0, 3, 1, 2
    )


def assert_tracked(detector: CenterFace, frames: Tensor, check: Callable[[Array], None] | None = None) -> None:
    """A box in every frame, steady, and where detections of every frame put it."""
    boxes = track_faces(batches(frames), detector, FaceConfig(pads=NO_PADS)).numpy().astype(float)
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
    assert_tracked(detector, read_clip(ROOT / "samples" / "face.mp4", 50))


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
    has_face = tracker.boxes(0, 150).any(1)
    assert has_face[:50].all() and not has_face[50:100].any() and has_face[100:].all()
    assert tracker.n_cuts == 2 and tracker.frames_without_face == 50

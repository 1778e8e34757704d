"""The comparison on frames, heads and sounds made by hand: each mode shown as the product would paste it."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import count

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpu_lipsync.blend_kernels import BLENDS, BlendConfig
from gpu_lipsync.blend_kernels.config import BlendMethod
from gpu_lipsync.faces import crop_faces, paste_faces
from gpu_lipsync.judging import comparison
from gpu_lipsync.judging.comparison import Comparison, _tracked, _View
from gpu_lipsync.models import CenterFace
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.heads import Heads
from gpu_lipsync.pasting.tilted import upright_view
from tests import pictures
from tests.film import Film, numbered_frames
from tests.heads import held_still

N_FRAMES = 20  # a batch of 16 and one of 4
HEIGHT, WIDTH, BOX = 140, 130, Rect(40, 30, 104, 110)
SHOWN = (slice(20, 120), slice(30, 114))  # BOX and 12 % of its height around
# Nothing of it as it is by default, and a mask that does not lie as it does then.
SETTINGS = BlendConfig(
    mouth_region_size=0.4, blur_intensity=5, sharpen_mouth=True, sharpen_amount=2.0, keep_detail=True
)
FIT = (4, -5, 18)
DETECTOR = CenterFace(640)  # which nothing is asked: heads are given


class Painter(nn.Module):
    """Paints the whole face, as light as the sound is loud."""

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        return mel.mean(dim=(1, 2, 3))[:, None, None, None].expand_as(faces)


class Swapped(nn.Module):
    """Each face upside down, its red and its blue exchanged."""

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        return faces.flip(1, 2)


class Red(nn.Module):
    """Each face without its green and its blue."""

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        return faces * torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)


def sounds(levels: Tensor) -> Tensor:
    """(n, 1, 80, 16), each as loud all over as told."""
    return levels[:, None, None, None].expand(-1, 1, 80, 16)


def coloured() -> Film:
    picture = torch.from_numpy(pictures.face_like(HEIGHT, WIDTH)).permute(2, 0, 1)
    return Film(picture.expand(N_FRAMES, -1, -1, -1).contiguous())


def black_and_white() -> Film:
    film = coloured()
    film.frames = film.frames[:, :1].expand(-1, 3, -1, -1).contiguous()
    return film


def heads_of(n: int) -> Heads:
    return replace(held_still(torch.tensor([BOX] * n)), fits=torch.tensor([FIT] * n))


def compared(monkeypatch: pytest.MonkeyPatch, film: Film, generator: nn.Module, levels: Tensor) -> Comparison:
    """A film whose heads are known, as loud in each frame as `levels` say: no detector, no landmarks."""
    monkeypatch.setattr(comparison, "load_face_mesh", lambda device: None)
    monkeypatch.setattr(comparison, "track_faces", lambda *_, **__: heads_of(len(film.frames)))
    mel = sounds(levels)
    with torch.inference_mode():
        return comparison.compare(film, mel, DETECTOR, generator, moments=2, max_seconds=9.0, settings=SETTINGS)


def test_a_still_is_of_its_own_moment_s_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = torch.linspace(0, 1, N_FRAMES)
    stills = compared(monkeypatch, black_and_white(), Painter(), levels).stills
    assert [still.frame for still in stills] == [8, 18], "the middle of each batch"
    for still in stills:
        painted = still.modes["original"][:, 50, 42].tolist()  # the middle of the face
        assert painted == pytest.approx([float(levels[still.frame]) * 255] * 3, abs=0.51)  # to whole levels


def test_a_frame_s_time_is_its_share_of_the_batch_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by 8 s whenever it is looked at."""
    ticks = count(step=8.0)
    monkeypatch.setattr(comparison, "_clock", lambda device: next(ticks))
    figures = compared(monkeypatch, coloured(), Swapped(), torch.zeros(N_FRAMES)).figures
    assert set(figures) == set(BLENDS)
    for name, figure in figures.items():
        assert figure.seconds == [8 / 16, 8 / 4], name


def test_a_black_and_white_clip_is_compared_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the product makes it, whatever the generator paints."""
    for film, most in ((black_and_white(), 1), (coloured(), 255)):  # 1: of modes that mix in another colour space
        for still in compared(monkeypatch, film, Red(), torch.zeros(N_FRAMES)).stills:
            for name, picture in still.modes.items():
                spread = int((picture.amax(0).int() - picture.amin(0).int()).max())
                assert spread <= most and (spread > 60) == (most > 1), name


def test_each_mode_is_shown_as_the_product_would_paste_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By every setting, and with the mask where the head has it."""
    film, heads = coloured(), heads_of(N_FRAMES)
    mouths = Swapped()(torch.empty(0), crop_faces(film.frames, heads.boxes))
    first, second = compared(monkeypatch, film, Swapped(), torch.zeros(N_FRAMES)).stills
    assert torch.equal(first.source, film.frames[8][:, *SHOWN])

    def pasted(config: BlendConfig, fits: Tensor | None) -> Tensor:
        return paste_faces(film.frames[8:9], mouths[8:9], heads.boxes[8:9], config, fits=fits)[0][:, *SHOWN]

    for method in BLENDS:
        expected = pasted(replace(SETTINGS, method=method), heads.fits[8:9])
        for still in (first, second):  # the same face all the time
            # A level: sums of a batch are added up in another order than those of one frame.
            assert (still.modes[method].int() - expected.int()).abs().max() <= 1, method
    # And each of the settings shows, by more than that.
    shown = first.modes["ellipse"].int()
    for name in ("mouth_region_size", "blur_intensity", "sharpen_amount"):
        other = replace(SETTINGS, **{name: getattr(BlendConfig(), name)})
        assert (pasted(other, heads.fits[8:9]).int() - shown).abs().max() > 5, name
    assert (pasted(SETTINGS, None).int() - shown).abs().max() > 5, "the mask elsewhere"


@pytest.mark.parametrize(
    ("box", "shown"),
    [
        (BOX, Rect(30, 20, 114, 120)),
        (Rect(3, 4, 67, 84), Rect(0, 0, 77, 94)),
        (Rect(63, 57, 128, 137), Rect(53, 47, WIDTH, HEIGHT)),
    ],
    ids=["amid", "above left", "below right"],
)
def test_mask_and_box_lie_where_mouths_come_through(box: Rect, shown: Rect) -> None:
    """White mouths on black are as light as the mask; and of a face at the frame's edge less is shown around it."""
    frame, white = torch.zeros(1, 3, HEIGHT, WIDTH, dtype=torch.uint8), torch.ones(1, 3, 96, 96)
    head = replace(held_still(torch.tensor([box])), fits=torch.tensor([FIT]))
    view = _View.of_head(frame[0], head, SETTINGS)
    assert view.shown.rect == shown

    def seen(method: BlendMethod) -> Tensor:
        result = paste_faces(frame, white, head.boxes, replace(SETTINGS, method=method), fits=head.fits)
        return upright_view(result[0], view.shown)[0]

    assert (seen("ellipse") - view.mask[0, 0] * 255).abs().max() < 0.51  # to whole levels
    assert 0 < view.mask.mean() < 0.5
    patch, two_px = (seen("original") > 0).numpy().astype(np.uint8), np.ones((5, 5))
    edge = cv2.dilate(patch, two_px) != cv2.erode(patch, two_px)
    assert np.array_equal(view.box[0, 0].numpy(), edge)


class NumberedHeads:
    """Stands for `track_faces`, on numbered frames: the head in frame i begins at column i. Keeps the rate told."""

    def __init__(self) -> None:
        self.fps = 0.0

    def __call__(self, frames: Iterable[Tensor], *_: object, fps: float, **__: object) -> Heads:
        self.fps = fps
        left = torch.cat([batch[:, 0, 0, 0] for batch in frames]).long()
        top = torch.zeros_like(left)
        return held_still(torch.stack((left, top, left + 20, top + 20), dim=1))


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> NumberedHeads:
    heads = NumberedHeads()
    monkeypatch.setattr(comparison, "track_faces", heads)
    monkeypatch.setattr(comparison, "load_face_mesh", lambda device: None)
    return heads


@pytest.mark.parametrize("first", [0, 3])
def test_frames_and_heads_are_those_of_their_moment(tracker: NumberedHeads, first: int) -> None:
    """Where a clip begins before the sound does, its first frames are not shown; others are, twice or never."""
    shows = [first + i for i in (0, 0, 1, 2, 4, 5, 6, 6, 7, *range(9, 30))]
    film = Film(numbered_frames(40), shows=shows)
    batches = list(_tracked(film, len(shows), DETECTOR, 9.0))
    assert len(batches) > 1
    assert [i for outputs, _, _ in batches for i in outputs] == list(range(len(shows)))
    for outputs, frames, heads in batches:
        expected = [shows[i] for i in outputs]
        assert frames[:, 0, 0, 0].tolist() == expected and heads.boxes[:, 0].tolist() == expected


def test_of_large_frames_fewer_are_held_at_a_time(tracker: NumberedHeads) -> None:
    """There is a copy for each mode: two of 8 megapixels are a third of a gigabyte, sixteen would be 2.8."""
    film = Film(numbered_frames(6), size=(2048, 4096))
    assert [len(frames) for _, frames, _ in _tracked(film, 6, DETECTOR, 9.0)] == [2, 2, 2]
    assert film.asked == [2, 2], "tracked likewise"
    still = Film(numbered_frames(1), shows=[0] * 6, size=(2048, 4096))
    assert [len(frames) for _, frames, _ in _tracked(still, 6, DETECTOR, 9.0)] == [2, 2, 2]


def test_heads_are_followed_at_the_clip_s_own_rate(tracker: NumberedHeads) -> None:
    """Slides come out at 25 frames a second, but their heads move from one to the next as eight a second do."""
    list(_tracked(Film(numbered_frames(6), fps=25, source_fps=8), 6, DETECTOR, 9.0))
    assert tracker.fps == 8

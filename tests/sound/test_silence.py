"""Silence gating: when a pause begins and ends, what is generated in it, and how much that saves."""

from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from gpu_lipsync.audio import frame_loudness
from gpu_lipsync.pasting.heads import Pose
from gpu_lipsync.silence import CHANGED_LEVELS, SILENT_MEL, RestingMouths, rest_weights
from tests.heads import STILL

FPS = Fraction(25)


class Recorder(nn.Module):
    """A generator whose mouth is as bright as its window is loud, plus the pose: the mean of the face."""

    def __init__(self) -> None:
        super().__init__()
        self.n_frames = 0

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        self.n_frames += len(mel)
        return (mel.mean((1, 2, 3))[:, None, None, None] + faces).expand_as(faces)


def levels(*runs: tuple[float, int]) -> list[float]:
    return [level for level, n in runs for _ in range(n)]


def render(
    weights: tuple[float, ...],
    *,
    batch: int,
    scenes: list[int] | None = None,
    places: Sequence[Pose | None] | None = None,
) -> tuple[Tensor, int]:
    generator, resting = Recorder(), RestingMouths()
    n = len(weights)
    mel = torch.arange(1.0, n + 1)[:, None, None, None].expand(n, 1, 80, 16)  # frame i sounds like i + 1
    poses = (torch.arange(n) / 1000)[:, None, None, None].expand(n, 3, 96, 96)
    mouths, n_generated = [], 0
    for i in range(0, n, batch):
        some = slice(i, i + batch)
        of_scenes = ([0] * n if scenes is None else scenes)[some]
        of_places = ([STILL] * n if places is None else places)[some]
        part, made = resting.mouths(generator, mel[some], poses[some], weights[some], of_scenes, of_places)
        mouths.append(part)
        n_generated += made
    assert generator.n_frames == n_generated
    return torch.cat(mouths)[:, 0, 0, 0], n_generated


def test_speech_rests_nowhere() -> None:
    assert set(rest_weights([0.1] * 50, fps=FPS, threshold=0.01)) == {0.0}


@pytest.mark.parametrize("threshold", [0.0, 0.01])
def test_what_is_just_as_loud_as_the_threshold_is_speech(threshold: float) -> None:
    """With 0 nothing rests, not even digital silence: whoever asks for that wants every frame generated."""
    assert set(rest_weights([threshold] * 10, fps=FPS, threshold=threshold)) == {0.0}


@pytest.mark.parametrize("offset", [0.0, 0.012, 0.05, -0.3])
def test_an_offset_of_the_sound_does_not_fill_its_pauses(offset: float) -> None:
    tone = 0.1 * torch.sin(2 * torch.pi * 250 * torch.arange(16000) / 16000)
    sound = torch.cat([tone, torch.zeros(16000), tone]) + offset
    weights = rest_weights(frame_loudness(sound, 75, FPS).tolist(), fps=FPS, threshold=0.01)
    assert [i for i, weight in enumerate(weights) if weight == 1] == list(range(25, 50))


def test_a_pause_of_less_than_a_fifth_of_a_second_is_speech() -> None:
    assert set(rest_weights(levels((0.1, 9), (0.0, 4), (0.1, 9)), fps=FPS, threshold=0.01)) == {0.0}
    assert 1.0 in rest_weights(levels((0.1, 9), (0.0, 5), (0.1, 9)), fps=FPS, threshold=0.01), "and just that is none"


def test_fades_at_both_ends_and_leaving_at_once() -> None:
    weights = rest_weights(levels((0.1, 10), (0.0, 12), (0.1, 10)), fps=FPS, threshold=0.01)
    assert weights[:7] == (0.0,) * 7
    assert weights[7:10] == (0.25, 0.5, 0.75)
    assert weights[10:22] == (1.0,) * 12
    assert weights[22:25] == (0.75, 0.5, 0.25)  # generated from the first loud frame on, and faded in
    assert weights[25:] == (0.0,) * 7


@pytest.mark.parametrize(("fps", "fading"), [(10, (0.5,)), (30, (0.2, 0.4, 0.6, 0.8)), (60, 7)])
def test_a_fade_takes_as_long_at_any_rate(fps: int, fading: tuple[float, ...] | int) -> None:
    """A window that begins 0.2 s before a pause is speech; a fade by frames would mix that in at 10 frames a second."""
    weights = rest_weights(levels((0.1, 60), (0.0, 60)), fps=Fraction(fps), threshold=0.01)
    n_fading = fading if isinstance(fading, int) else len(fading)
    assert not any(weights[: 60 - n_fading]) and set(weights[60:]) == {1.0}
    assert all(0 < weight < 1 for weight in weights[60 - n_fading : 60])
    if not isinstance(fading, int):
        assert weights[60 - n_fading : 60] == pytest.approx(fading)


def test_a_word_between_two_pauses_is_faded_from_both_sides() -> None:
    weights = rest_weights(levels((0.0, 8), (0.1, 4), (0.0, 8)), fps=FPS, threshold=0.01)
    assert weights == (1.0,) * 8 + (0.75, 0.5, 0.5, 0.75) + (1.0,) * 8


def test_silence_at_one_end_of_the_clip_fades_at_the_other_of_its_own() -> None:
    """And nothing at the clip's other end."""
    expected = (1.0,) * 10 + (0.75, 0.5, 0.25) + (0.0,) * 17
    assert rest_weights(levels((0.0, 10), (0.1, 20)), fps=FPS, threshold=0.01) == expected
    assert rest_weights(levels((0.1, 20), (0.0, 10)), fps=FPS, threshold=0.01) == expected[::-1]


@pytest.mark.parametrize("batch", [1, 4, 16, 64])
def test_mouths_are_spoken_or_resting_and_never_from_another_moment(batch: int) -> None:
    weights = rest_weights(levels((0.1, 12), (0.0, 40), (0.1, 12)), fps=FPS, threshold=0.01)
    mouths, _ = render(weights, batch=batch)
    for i, (mouth, weight) in enumerate(zip(mouths.tolist(), weights, strict=True)):
        pose = i / 1000
        spoken, resting = i + 1 + pose, SILENT_MEL + pose
        # A resting mouth is 5 frames old at most when the next is made, and fades over 3: 0.008 of pose.
        expected = spoken * (1 - weight) + resting * weight
        assert mouth == pytest.approx(expected, abs=0.0081)


def test_a_resting_mouth_is_made_every_fifth_frame() -> None:
    weights = rest_weights(levels((0.1, 12), (0.0, 40), (0.1, 12)), fps=FPS, threshold=0.01)
    plan, _ = RestingMouths().plan(weights, [0] * len(weights), [Pose(48.0, 69.0)] * len(weights))
    assert plan.keys == list(range(9, 52, 5))  # from the first frame of the fade on, and none while it fades out
    assert plan.spoken == [*range(12), *range(52, 64)]


def test_batches_do_not_change_the_result() -> None:
    weights = rest_weights(levels((0.1, 7), (0.0, 33), (0.1, 9), (0.0, 21)), fps=FPS, threshold=0.01)
    whole, n_whole = render(weights, batch=100)
    for batch in (1, 3, 16):
        parts, n_parts = render(weights, batch=batch)
        torch.testing.assert_close(parts, whole)
        assert n_parts == n_whole


@pytest.mark.parametrize("pause", [25, 30, 50, 75])
def test_speech_with_two_fifths_of_pauses_costs_three_tenths_less(pause: int) -> None:
    """Pauses of a second and more, as between sentences; of half a second, between clauses, it is 28 %."""
    phrase = round(pause * 1.5)
    runs = [(0.1, phrase), (0.0, pause)] * 8
    weights = rest_weights(levels(*runs), fps=FPS, threshold=0.01)
    _, n_generated = render(weights, batch=16)
    assert n_generated <= 0.7 * len(weights)


@pytest.mark.parametrize("batch", [1, 4, 30])
@pytest.mark.parametrize(
    "weights", [(1.0,) * 30, (0.0,) * 8 + (0.25, 0.5, 0.75) + (1.0,) * 10 + (0.75, 0.5, 0.25) + (0.0,) * 6]
)
def test_a_resting_mouth_is_never_another_scenes(weights: tuple[float, ...], batch: int) -> None:
    """Poses tell which frame a mouth was made at: after a cut at frame 13, and where the clip starts over at 22."""
    scenes = [0] * 13 + [1] * 9 + [2] * 8
    mouths, _ = render(weights, batch=batch, scenes=scenes)
    whole, _ = render(weights, batch=batch)
    rests = [i for i, weight in enumerate(weights) if weight == 1]
    made_at = {i: round((float(mouths[i]) - SILENT_MEL) * 1000, 2) for i in rests}
    assert all(made_at[i] >= (0 if i < 13 else 13 if i < 22 else 22) for i in rests)
    assert torch.equal(mouths[:13], whole[:13]) and not torch.equal(mouths[13:15], whole[13:15])


@pytest.mark.parametrize("batch", [1, 4, 30])
@pytest.mark.parametrize("way", [(0.35, 0.0), (-0.55, 0.0), (0.0, 0.55), (0.0, -0.35)])
def test_a_head_that_moves_gets_a_resting_mouth_of_its_own(batch: int, way: tuple[float, float]) -> None:
    """In its box, by so many px a frame in the middle of the pause: beside it one of two frames before would show."""
    weights = (0.0,) * 3 + (0.25, 0.5, 0.75) + (1.0,) * 18 + (0.75, 0.5, 0.25) + (0.0,) * 3
    moving = range(10, 26)
    steps = [len([k for k in moving if k <= i]) for i in range(30)]
    places = [Pose(48.0 + way[0] * n, 69.0 + way[1] * n) for n in steps]
    mouths, n_generated = render(weights, batch=batch, places=places)
    still, n_still = render(weights, batch=batch)
    for i in moving[2:]:
        spoken, resting = i + 1 + i / 1000, SILENT_MEL + i / 1000
        expected = spoken * (1 - weights[i]) + resting * weights[i]
        assert mouths[i] == pytest.approx(expected, abs=0.0011), "made at this frame or the one before, and not mixed"
    assert torch.equal(mouths[:10], still[:10])
    assert n_still < n_generated <= n_still + len(moving) // 2


@pytest.mark.parametrize("changed", [0.4, 0.6])
def test_a_picture_that_changes_gets_resting_mouths_of_its_own(changed: float) -> None:
    """A box follows a fast head evenly: that its mouth moves shows in the picture alone, by so much a frame."""
    weights = (1.0,) * 31
    plan, _ = RestingMouths().plan(weights, [0] * 31, [Pose(48.0, 69.0, i * changed) for i in range(31)])
    each = min(5, int(CHANGED_LEVELS / changed) + 1)
    assert plan.keys == list(range(0, 31, each))
    assert (plan.older == plan.newer) == (each < 5), "nor is it mixed with the one before"


@pytest.mark.parametrize("batch", [1, 30])
def test_where_poses_are_not_known_every_frame_has_its_own(batch: int) -> None:
    mouths, n_generated = render((1.0,) * 30, batch=batch, places=[None] * 30)
    torch.testing.assert_close(mouths, SILENT_MEL + torch.arange(30) / 1000)
    assert n_generated == 30


def test_a_resting_mouth_that_is_no_number_spoils_no_speech() -> None:
    """Made in a pause; of the next batch the first frames are speech, which takes nothing of it."""
    resting, weights = RestingMouths(), [1.0] * 5 + [0.0] * 5 + [1.0] * 5
    mel, faces = torch.zeros(15, 1, 80, 16), torch.full((15, 3, 96, 96), 0.5)
    one_scene, still = [0] * 5, [STILL] * 5
    resting.mouths(
        lambda mel, faces: torch.full_like(faces, torch.nan), mel[:5], faces[:5], weights[:5], one_scene, still
    )
    mouths, _ = resting.mouths(lambda mel, faces: faces, mel[5:], faces[5:], weights[5:], one_scene * 2, still * 2)
    assert torch.equal(mouths[:5], faces[:5])


@pytest.mark.parametrize("batch", [4, 20])
def test_it_is_gone_as_soon_as_the_next_one_has_been_faded_in(batch: int) -> None:
    resting, faces = RestingMouths(), torch.full((20, 3, 96, 96), 0.5)
    made = 0

    def second_is_none(mel: Tensor, faces: Tensor) -> Tensor:
        nonlocal made
        made += len(faces)
        return torch.stack(
            [torch.full_like(face, torch.nan if made - len(faces) + i == 1 else 1.0) for i, face in enumerate(faces)]
        )

    mouths = torch.cat(
        [
            resting.mouths(
                second_is_none,
                torch.zeros(batch, 1, 80, 16),
                faces[:batch],
                [1.0] * batch,
                [0] * batch,
                [STILL] * batch,
            )[0]
            for _ in range(0, 20, batch)
        ]
    )
    # Keys at 0, 5, 10 and 15: the one at 5 fades in over three frames, and out over those from 10 on.
    assert mouths.isnan().flatten(1).any(1).nonzero().flatten().tolist() == [5, 6, 7, 8, 9, 10, 11]

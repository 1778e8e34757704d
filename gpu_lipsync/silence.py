"""Spend less on frames in which nobody speaks: `--silence_gating`.

In a pause the generator makes a closed mouth, from digital silence at the pose of that moment, only every fifth frame;
the frames between reuse it, within one scene and while the head holds still in its box. It is faded in over the last
frames of speech, whose windows hold mostly silence already, and out over the first frames of the next, so that no frame
of the pause is generated on their account.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby

import torch
from torch import Tensor

from gpu_lipsync.ops import upload
from gpu_lipsync.pasting.heads import Pose

ENTER_AFTER_S = Fraction(1, 5)  # shorter gaps are stops between syllables
FADE_S = Fraction(3, 25)  # windows of 0.2 s that begin so shortly before a pause hold mostly silence
REFRESH_FRAMES = 5
DISSOLVE_FRAMES = 3  # from one resting mouth to the next
MOVED_PX = 0.6  # of 96: a resting mouth so far beside the one that it is put on would show as a second one
CHANGED_LEVELS = 2.0  # likewise: boxes follow a fast head evenly, and the mouth hardly moves in them
SILENT_MEL = -4.0  # the floor of the normalised spectrogram


def rest_weights(loudness: Sequence[float], *, fps: Fraction, threshold: float) -> tuple[float, ...]:
    """How much of each output frame's mouth is the resting one: 0 in speech, 1 in a pause, between in a fade.

    Args:
        loudness: root mean square of the sound during each output frame.
        fps: frames a second.
        threshold: a pause is at least 0.2 s below it; it ends with the first frame that is not, which is generated.
    """
    weights = [0.0] * len(loudness)
    n_fading = max(1, round(FADE_S * fps))
    start = 0
    for quiet, run in groupby(loudness, key=lambda level: level < threshold):
        stop = start + len(list(run))
        if quiet and (stop - start) / fps >= ENTER_AFTER_S:
            weights[start:stop] = [1.0] * (stop - start)
            for step in range(1, n_fading + 1):
                share = 1 - step / (n_fading + 1)
                for at in (start - step, stop + step - 1):
                    if 0 <= at < len(loudness):
                        weights[at] = max(weights[at], share)
        start = stop
    return tuple(weights)


@dataclass(frozen=True)
class BatchPlan:
    """What the generator is asked for in one batch.

    Attributes:
        spoken: frames generated from their own sound.
        keys: frames at which a resting mouth is generated.
        older: for each frame the resting mouth that fades out, counted in [previous, last, *keys].
        newer: the one that fades in.
        mix: the newer one's share.
        rest: the resting mouth's share of the frame's mouth.
    """

    spoken: list[int]
    keys: list[int]
    older: list[int]
    newer: list[int]
    mix: list[float]
    rest: list[float]

    @property
    def n_generated(self) -> int:
        return len(self.spoken) + len(self.keys)


@dataclass(frozen=True)
class PauseState:
    """Where in a pause a frame is.

    Attributes:
        since_key: frames since the last resting mouth was made; -1: no pause.
        n_keys: how many were made.
        scene: in which the last one was made.
        pose: at which the last one was made.
        dissolves: whether it replaces the one before it by and by, as it can where both are of one pose.
    """

    since_key: int = -1
    n_keys: int = 0
    scene: Hashable = None
    pose: Pose | None = None
    dissolves: bool = False


@dataclass
class RestingMouths:
    """The resting mouths across batches. Frames must come in order."""

    _state: PauseState = PauseState()
    _bank: Tensor | None = field(default=None, repr=False)

    def forget(self) -> None:
        """Make the next resting mouth anew, as if no pause had begun."""
        self._state = PauseState()

    def plan(
        self, weights: Sequence[float], scenes: Sequence[Hashable], poses: Sequence[Pose | None]
    ) -> tuple[BatchPlan, PauseState]:
        """Decide a batch from its frames' `rest_weights`, and the state after it; changes nothing yet.

        Where the scene or the pose changes, a resting mouth would be another's: one is made anew, and not mixed with
        the last. Where poses are not known (None) that is every frame.
        """
        plan = BatchPlan([], [], [], [], [], list(weights))
        since, n_keys, scene = self._state.since_key, self._state.n_keys, self._state.scene
        pose, dissolves = self._state.pose, self._state.dissolves
        last = 1  # in the bank: the one from the batch before
        for i, weight in enumerate(weights):
            if scenes[i] != scene:
                since, n_keys, scene = -1, 0, scenes[i]
            if weight < 1:
                plan.spoken.append(i)
            if weight == 0:
                since, n_keys = -1, 0
            # While it fades out a resting mouth of this pose is good enough as it is.
            elif n_keys == 0 or _moved(pose, poses[i]) or (weight == 1 and since + 1 >= REFRESH_FRAMES):
                last = 2 + len(plan.keys)
                plan.keys.append(i)
                dissolves = n_keys > 0 and not _moved(pose, poses[i])
                since, n_keys, pose = 0, n_keys + 1, poses[i]
            else:
                since += 1
            plan.newer.append(last)
            plan.older.append(last - 1 if dissolves else last)
            plan.mix.append(min(1.0, (since + 1) / DISSOLVE_FRAMES))
        return plan, PauseState(since, n_keys, scene, pose, dissolves)

    def mouths(
        self,
        generator: Callable[[Tensor, Tensor], Tensor],
        mel: Tensor,
        faces: Tensor,
        weights: Sequence[float],
        scenes: Sequence[Hashable],
        poses: Sequence[Pose | None],
    ) -> tuple[Tensor, int]:
        """Generate a batch's mouths.

        Args:
            generator: called with as many frames as the batch needs, if it needs any.
            mel: (B, 1, 80, 16).
            faces: (B, 3, 96, 96) float in [0, 1].
            weights: the batch's share of `rest_weights`.
            scenes: what tells for each frame which scene it belongs to.
            poses: where each frame's mouth is in its box; None without a face.

        Returns:
            (B, 3, 96, 96), and how many frames were generated.
        """
        plan, after = self.plan(weights, scenes, poses)
        if not any(weights):
            self._state = after
            return generator(mel, faces), len(weights)
        device = faces.device
        at = upload(torch.tensor(plan.spoken + plan.keys, dtype=torch.int64), device)
        sound = mel[at]
        sound[len(plan.spoken) :] = SILENT_MEL
        made = generator(sound, faces[at]) if plan.n_generated else faces[:0]
        bank = self._bank if self._bank is not None else faces.new_zeros(2, *faces.shape[1:])
        bank = torch.cat((bank, made[len(plan.spoken) :].to(bank.dtype)))
        shares = upload(torch.tensor([plan.mix, plan.rest], dtype=torch.float32), device).view(2, -1, 1, 1, 1)
        picks = upload(torch.tensor([plan.older, plan.newer]), device)
        # Of a mouth of which none is wanted not even what is no number is taken: here, and of resting ones below.
        older, newer = bank[picks[0]], bank[picks[1]]
        resting = torch.where(shares[0] == 1, newer, torch.lerp(older, newer, shares[0]))
        spoken = torch.zeros_like(faces).index_copy(0, at[: len(plan.spoken)], made[: len(plan.spoken)].to(faces.dtype))
        self._state, self._bank = after, bank[-2:].clone()
        return torch.where(shares[1] == 0, spoken, torch.lerp(spoken, resting, shares[1])), plan.n_generated


def _moved(pose: Pose | None, other: Pose | None) -> bool:
    if pose is None or other is None:
        return True
    beside = max(abs(pose.x - other.x), abs(pose.y - other.y))
    return beside > MOVED_PX or abs(pose.changed - other.changed) > CHANGED_LEVELS

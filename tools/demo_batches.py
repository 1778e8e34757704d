"""Training batches for the demo generator: real clips and animated stills, no two alike."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.tools.draws import Draws
from gpu_lipsync.tools.filmed_mouth import shown_with_its_sound
from gpu_lipsync.tools.heard_mouth import HeardMouth
from gpu_lipsync.tools.looks import Looks
from gpu_lipsync.tools.picture_variety import (
    BOX,
    SHUT,
    made_up,
    morphed,
    pressed,
    recoloured,
    stretch,
    stretched,
    views,
    with_hair,
)
from gpu_lipsync.tools.seen_teeth import like_those_seen, seen_as_drawn, seen_in
from gpu_lipsync.tools.sound_variety import roughened, silence
from gpu_lipsync.tools.synthetic_talkers import CROP_PX, Faces, animate, sample
from gpu_lipsync.tools.talks import FRAME_MOMENT, Talks
from gpu_lipsync.tools.wider_open import FURTHEST, opened
from gpu_lipsync.tracking.mouth_landmarks import LOWER_LIP, MOUTH_CORNERS, UPPER_LIP

REAL_SHARE = 0.01  # rounded up: of filmed speakers, who mumble
REAL_SPEECH_SHARE = 0.6  # of the sound that animated stills say
SILENT_SHARE = 0.15
WIDEST_STILL_OF = 3  # a still is the widest open of so many: the less open it is, the less there is to be rid of
WIDE_SHARE, WIDEST_OF = 0.3, 6  # of the sound the share that is the widest said of so many: one in fifty is wide open
NEAR_FRAMES = 15
SHUT_CHANCE = 0.05  # of a shut mouth being picked, where one open by a tenth of its half width has 0.15
AS_IT_WAS = 0.6  # of the references of animated stills: what the picture really showed, as in use
OPENED = 0.6  # of those references that are open: wider open than they were
PRESSED = 0.25  # of the references that are shut: thinner lips than those that part
PURSED_MOST = 1.7  # rounding of pursed lips, of that said: strangers' are half as broad as at rest
TOOTHLESS = 0.5  # of the references drawn wide: fewer teeth than a smile's
FULLER = 0.6  # of the animated stills: other lips, on both pictures
MIXED = 0.35  # of the other animated stills: two people's; with twice as many, lips that open wide were softer


@dataclass(frozen=True, kw_only=True)
class Batch:
    """mel (B, 1, 80, 16), faces and reference (B, 3, 96, 96) in [0, 1], region (B, 1, 96, 96) in [0, 1], mouth
    (B, 4, 4), mouth_known (B,) 0 or 1. The region is the faces' `mouth_region`.
    """

    mel: Tensor
    faces: Tensor
    reference: Tensor
    region: Tensor
    mouth: Tensor
    mouth_known: Tensor

    @property
    def silent(self) -> Tensor:
        """(B,) where nothing is said from the first moment to the last, as far as that is known."""
        return (self.mouth == 0).all(dim=2).all(dim=1) & (self.mouth_known > 0)


def mouth_region(points: Tensor, middle: Tensor) -> Tensor:
    """Where the mouth and what moves with it is seen, (n, 1, H, W), 1 in its middle, falling to 0.

    It follows the mouth as a head turns and tilts.

    Args:
        points: (n, H, W, 2) crop coordinates of the pixels.
        middle: (n, 2) between the mouth's corners, crop coordinates.
    """
    across, down = ((points - middle[:, None, None]) / (BOX * CROP_PX)).unbind(dim=3)
    return torch.exp(-((across / 0.24) ** 2) - ((down - 0.02) / 0.18) ** 2)[:, None]


def _evenly(labels: list[str]) -> Tensor:
    """Chance of each item, so that every label is as likely as any other."""
    counts = Counter(labels)
    return torch.tensor([1 / counts[label] for label in labels])


class BatchMaker:
    """Draws batches from material that demo_material wrote; all of it is on the device, and so is the work."""

    def __init__(self, material: dict[str, Any], *, device: torch.device) -> None:
        self.device = device
        self.draws = Draws(torch.Generator(device))
        self.heard: HeardMouth | None = None  # by whom; then stills are drawn to say that
        clips = [clip for clip in material["clips"] if not clip["held_out"]]
        of_clips = _evenly([clip["person"] for clip in clips]).tolist()
        fit = [shown_with_its_sound(clip["mel"], clip["landmarks"]).float() for clip in clips]
        chances = [chance * some / some.sum().clamp(min=1) for chance, some in zip(of_clips, fit, strict=True)]
        self.frame_chances = torch.cat(chances).to(device)
        counts = torch.tensor([len(clip["crops"]) for clip in clips])
        self.clip_spans = torch.stack((counts.cumsum(0) - counts, counts)).to(device)
        self.clip_of = torch.arange(len(clips)).repeat_interleave(counts).to(device)
        self.crops, self.mel = (torch.cat([clip[name] for clip in clips]).to(device) for name in ("crops", "mel"))
        landmarks = torch.cat([clip["landmarks"] for clip in clips])
        self.gaps = (landmarks[:, LOWER_LIP, 1] - landmarks[:, UPPER_LIP, 1]).to(device)
        self.middles = landmarks[:, MOUTH_CORNERS, :2].mean(dim=1).to(device)
        self.stills, self.originals = (  # the originals: before their lips were closed
            Faces(**{name: value.to(device, torch.float32) for name, value in material[kind].items()})
            for kind in ("stills", "originals")
        )
        # Open mouths more often than shut ones: bringing lips together is what a network is slowest to learn.
        self.still_gaps = material["gaps"].to(device)
        chances = material["gaps"] + SHUT_CHANCE
        people = material["people"]
        of_person = {
            person: sum(float(c) for c, p in zip(chances, people, strict=True) if p == person) for person in people
        }
        self.still_chances = (chances / torch.tensor([of_person[person] for person in people])).to(device)
        self.talks, self.real_talks = (
            Talks(**{name: value.to(device) for name, value in vars(Talks.joined(material[kind])).items()})
            for kind in ("talks", "real_talks")
        )

    def seed(self, seed: int) -> None:
        self.draws.generator.manual_seed(seed)

    def speech(self, n: int) -> tuple[Tensor, Tensor]:
        """Sound windows (n, 1, 80, 16), roughened, and the mouths that go with them (n, 4, 4), open first."""
        with self.device:
            mel, mouth = self._said(n * WIDEST_OF)
            widest = mouth[:, FRAME_MOMENT, 0].view(WIDEST_OF, n).argmax(dim=0) * (self.draws.uniform(n) < WIDE_SHARE)
            chosen = widest * n + torch.arange(n)
            mel, mouth = mel[chosen], mouth[chosen]
            silent = self.draws.uniform(n) < SILENT_SHARE
            mel = torch.where(silent[:, None, None, None], silence(self.draws, n), roughened(self.draws, mel))
            return mel, mouth * ~silent[:, None, None]

    def _said(self, n: int) -> tuple[Tensor, Tensor]:
        """Windows as they come, of speech made and recorded."""
        real, share = self.draws.uniform(n) < REAL_SPEECH_SHARE, self.draws.uniform(n)
        made, recorded = (
            talks.windows(self.draws.chosen(talks.chances, n), share) for talks in (self.talks, self.real_talks)
        )
        mel = torch.where(real[:, None, None, None], recorded[0], made[0])
        return mel, torch.where(real[:, None, None], recorded[1], made[1])

    def batch(self, n: int) -> Batch:
        """A batch, shuffled between real and animated faces only by its own order, which batch norm does not mind."""
        n_real = math.ceil(n * REAL_SHARE)
        with self.device:
            mel, mouth = self.speech(n - n_real)
            if self.heard is not None:
                mouth[:, FRAME_MOMENT] = self.heard(mel, mouth)
            faces, reference, region = self._animated(mouth[:, FRAME_MOMENT])
            real_mel, real_faces, real_reference, real_region = self._real(n_real)
            pictures = torch.stack((torch.cat((faces, real_faces)), torch.cat((reference, real_reference))), dim=1)
            pictures = recoloured(self.draws, pictures)
            return Batch(
                mel=torch.cat((mel, real_mel)),
                faces=pictures[:, 0],
                reference=pictures[:, 1],
                region=torch.cat((region, real_region)),
                mouth=F.pad(mouth, (0, 0, 0, 0, 0, n_real)),
                mouth_known=torch.cat((torch.ones(n - n_real), torch.zeros(n_real))),
            )

    def _animated(self, mouth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stills that say `mouth` (n, 4), the references, other mouths of theirs or the pictures as they were, and the
        stills' mouth regions.
        """
        n = len(mouth)
        chosen, other = self._widest(n), self._stills(n)
        stills, others = self.stills[chosen], self.stills[other]
        n_as_it_was = round(n * AS_IT_WAS)  # the first of them, as many each time
        mixed = torch.arange(n) >= n_as_it_was
        share = self.draws.uniform(n) * 0.5 * (self.draws.uniform(n) < MIXED) * mixed
        stills = morphed(stills, others, share)
        stills, originals = made_up(self.draws, stills, self.originals[chosen])
        bare, teeth = stills.crops, seen_in(originals[:n_as_it_was])
        stills, originals, hidden = with_hair(self.draws, stills, originals)
        points, moved = views(self.draws, n)
        fuller = stretch(self.draws, n, FULLER, 0.5)
        points, moved = (stretched(p, stills.corners, *fuller) for p in (points, moved))
        references, *teeth_drawn = self._references(stills, originals, bare, mouth, moved, n_as_it_was)
        looks = Looks.alike(n)
        light, seen = (torch.cat(some) for some in zip(teeth, teeth_drawn, strict=True))
        light = like_those_seen(looks.teeth_light, light, seen)
        looks = replace(looks, teeth_light=light, teeth_height=looks.teeth_height * (1 - hidden))
        faces = animate(stills, mouth, looks=looks, points=points, bare=bare)
        return faces, references, mouth_region(points, stills.corners.mean(dim=1))

    def _references(
        self, stills: Faces, originals: Faces, bare: Tensor, mouth: Tensor, points: Tensor, n_as_it_was: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, 96, 96) for those that say `mouth`, the first `n_as_it_was` as their pictures really were;
        and the others' teeth as `seen_as_drawn`.

        Those are opened further, the others drawn as wide as any, and lips that are shut may be pressed together. What
        only the reference shows of a face, its lips and how broad they are, is else as in the face that is to be made.
        """
        as_it_was, drawn = slice(n_as_it_was), slice(n_as_it_was, None)
        shown = self._shown(mouth[drawn])
        was_open = (originals.lips[as_it_was, 1] - originals.lips[as_it_was, 0]).amax(dim=1)
        higher = pressed(self.draws, torch.cat((was_open, shown[:, 0])), PRESSED)
        points = stretched(points, stills.corners, torch.zeros_like(higher), higher)
        further = FURTHEST * self.draws.uniform(n_as_it_was) * (self.draws.uniform(n_as_it_was) < OPENED)
        opened_points = opened(points[as_it_was], originals[as_it_was], further * (was_open >= SHUT))
        looks = Looks.any(len(shown), self.draws.generator)
        pictures = animate(stills[drawn], shown, looks=looks, points=points[drawn], bare=bare[drawn])
        return torch.cat((sample(originals.crops[as_it_was], opened_points), pictures)), *seen_as_drawn(shown, looks)

    def _stills(self, n: int) -> Tensor:
        """Indices of stills (n,): any person, then any picture of theirs."""
        return self.draws.chosen(self.still_chances, n)

    def _widest(self, n: int) -> Tensor:
        """Likewise, each the widest open of WIDEST_STILL_OF."""
        several = self._stills(WIDEST_STILL_OF * n).view(WIDEST_STILL_OF, n)
        return several.gather(0, self.still_gaps[several].argmax(dim=0)[None])[0]

    def _shown(self, mouth: Tensor) -> Tensor:
        """Mouths for the references of `mouth` (n, 4): rarely the same, at times shut or pursed, often wide, else any.

        Of the wide ones some smile, with all their teeth, and some are open with hardly any.
        """
        n = len(mouth)
        shown = self.speech(n)[1][:, FRAME_MOMENT]
        lacking = self.draws.uniform(n) * (self.draws.uniform(n) < TOOTHLESS)
        opening, spread = 0.1 + 0.9 * self.draws.uniform(n), self.draws.uniform(n)
        wide = torch.stack((opening, spread, torch.zeros(n), 1 - lacking), dim=1)
        rounding = 0.5 + (PURSED_MOST - 0.5) * self.draws.uniform(n)
        pursed = torch.stack((0.15 * self.draws.uniform(n), torch.zeros(n), rounding, torch.zeros(n)), dim=1)
        chance = self.draws.uniform(n)[:, None]
        for below, choice in ((0.85, wide), (0.5, pursed), (0.25, torch.zeros(1)), (0.05, mouth)):
            shown = torch.where(chance < below, choice, shown)
        return shown

    def _real(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sound, faces, references and mouth regions of filmed speakers."""
        frame = self.draws.chosen(self.frame_chances, n)
        first, n_frames = self.clip_spans[:, self.clip_of[frame]]
        near = frame - first + self.draws.integers(2 * NEAR_FRAMES + 1, 2, n) - NEAR_FRAMES  # the head has hardly moved
        near = first + torch.minimum(near.clamp(min=0), n_frames - 1)
        unlike = (self.gaps[near] - self.gaps[frame]).abs()
        other = torch.where(unlike[0] > unlike[1], near[0], near[1])  # of two, the mouth that is less like it
        points, moved = views(self.draws, n)
        faces, references = (self.crops[chosen].float() / 255 for chosen in (frame, other))
        region = mouth_region(points, self.middles[frame])
        return roughened(self.draws, self.mel[frame]), sample(faces, points), sample(references, moved), region

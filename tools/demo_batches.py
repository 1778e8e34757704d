"""Training batches for the demo generator: real clips and animated stills, no two alike."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.mouth_landmarks import LOWER_LIP, UPPER_LIP
from gpu_lipsync.tools.facial_hair import Hair, wear
from gpu_lipsync.tools.synthetic_talkers import CROP_PX, Faces, Looks, animate, morphed, pixel_grid, sample
from gpu_lipsync.tools.talks import MEL_COLUMNS, Talks
from gpu_lipsync.tools.vocal_tract import with_tract

FACE_PX = 96
BOX = 0.75  # of the crop's side: the box the product cuts out
MEL_PER_DB = 0.08
REAL_SHARE = 0.25
REAL_SPEECH_SHARE = 0.6  # of the sound that animated stills say
THROATS = 0.13  # standard deviation of the logarithm of how much shorter they are
SILENT_SHARE = 0.15
NEAR_FRAMES = 15
SHUT_CHANCE = 0.05  # of a shut mouth being picked, where one open by a tenth of its half width has 0.15
AS_IT_WAS = 0.5  # of the references of animated stills: what the picture really showed, as in use
MADE_UP = 0.5  # of the animated stills
HAIRY = 0.35  # of them: with a moustache, a beard or both
STRETCHED = 0.6  # of those references
MIXED = 0.7  # of the other animated stills: two people's
BEND = 0.045  # of half a box, standard deviation
TURN = 0.42  # of half a box: how far a mouth is moved aside at most; beyond a half the picture would fold
NOD = 0.06  # of half a box, standard deviation
GREY = 0.07  # of the pictures: black and white


@dataclass(frozen=True, kw_only=True)
class Batch:
    """mel (B, 1, 80, 16), faces and reference (B, 3, 96, 96) in [0, 1], mouth (B, 4, 4), mouth_known (B,) 0 or 1."""

    mel: Tensor
    faces: Tensor
    reference: Tensor
    mouth: Tensor
    mouth_known: Tensor


@lru_cache
def loss_weights(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Weights of the loss, mean 1, the mouth most and the upper half least, and the mouth's region in [0, 1].

    Both (1, 1, size, size).
    """
    at = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(at, at, indexing="ij")
    mouth = torch.exp(-(((x - 0.5) / 0.24) ** 2 + ((y - 0.76) / 0.18) ** 2))
    weights = torch.where(y < 0.47, 0.3, 1.0) + 5 * mouth
    return (weights / weights.mean())[None, None].to(device), mouth[None, None].to(device)


def _evenly(labels: list[str]) -> Tensor:
    """Chance of each item, so that every label is as likely as any other."""
    counts = Counter(labels)
    return torch.tensor([1 / counts[label] for label in labels])


class BatchMaker:
    """Draws batches from material that demo_material wrote; all of it is on the device, and so is the work."""

    def __init__(self, material: dict[str, Any], *, device: torch.device) -> None:
        self.device = device
        self.random = torch.Generator(device)
        clips = [clip for clip in material["clips"] if not clip["held_out"]]
        self.clip_chances = _evenly([clip["person"] for clip in clips]).to(device)
        counts = torch.tensor([len(clip["crops"]) for clip in clips])
        self.clip_spans = torch.stack((counts.cumsum(0) - counts, counts)).to(device)
        self.crops, self.mel = (torch.cat([clip[name] for clip in clips]).to(device) for name in ("crops", "mel"))
        lips = torch.cat([clip["landmarks"] for clip in clips])[:, (UPPER_LIP, LOWER_LIP), 1]
        self.gaps = (lips[:, 1] - lips[:, 0]).to(device)
        self.stills, self.originals = (  # the originals: before their lips were closed
            Faces(**{name: value.to(device, torch.float32) for name, value in material[kind].items()})
            for kind in ("stills", "originals")
        )
        # Open mouths more often than shut ones: bringing lips together is what a network is slowest to learn.
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
        self.random.manual_seed(seed)

    def speech(self, n: int) -> tuple[Tensor, Tensor]:
        """Sound windows (n, 1, 80, 16), roughened, and the mouths that go with them (n, 4, 4), open first."""
        with self.device:
            real = self._uniform(n) < REAL_SPEECH_SHARE
            share = self._uniform(n)
            made, recorded = (
                talks.windows(torch.multinomial(talks.chances, n, True, generator=self.random), share)
                for talks in (self.talks, self.real_talks)
            )
            mel = torch.where(real[:, None, None, None], recorded[0], made[0])
            mouth = torch.where(real[:, None, None], recorded[1], made[1])
            silent = self._uniform(n) < SILENT_SHARE
            mel = torch.where(silent[:, None, None, None], self._silence(n), self.roughened(mel))
            return mel, mouth * ~silent[:, None, None]

    def batch(self, n: int) -> Batch:
        """A batch, shuffled between real and animated faces only by its own order, which batch norm does not mind."""
        n_real = round(n * REAL_SHARE)
        with self.device:
            mel, mouth = self.speech(n - n_real)
            faces, reference = self._animated(mouth[:, 1])
            real_mel, real_faces, real_reference = self._real(n_real)
            pictures = torch.stack((torch.cat((faces, real_faces)), torch.cat((reference, real_reference))), dim=1)
            pictures = self._recoloured(pictures)
            return Batch(
                mel=torch.cat((mel, real_mel)),
                faces=pictures[:, 0],
                reference=pictures[:, 1],
                mouth=F.pad(mouth, (0, 0, 0, 0, 0, n_real)),
                mouth_known=torch.cat((torch.ones(n - n_real), torch.zeros(n_real))),
            )

    def _animated(self, mouth: Tensor) -> tuple[Tensor, Tensor]:
        """Stills that say `mouth` (n, 4), and the references: other mouths of theirs, or the pictures as they were."""
        n = len(mouth)
        chosen, other = self._stills(n), self._stills(n)
        stills, others = self.stills[chosen], self.stills[other]
        as_it_was = self._uniform(n) < AS_IT_WAS
        share = self._uniform(n) * 0.5 * (self._uniform(n) < MIXED) * ~as_it_was
        stills = morphed(stills, others, share)
        stills, originals = self._with_hair(*self._made_up(stills, self.originals[chosen]))
        points, moved = self._views(n)
        faces = animate(stills, mouth, looks=Looks.alike(n, self.random), points=points)
        reference = animate(stills, self._shown(mouth), looks=Looks.any(n, self.random), points=moved)
        seen = self._stretched(moved[as_it_was], stills.corners[as_it_was])
        reference[as_it_was] = sample(originals.crops[as_it_was], seen)
        return faces, reference

    def _with_hair(self, stills: Faces, pictures: Faces) -> tuple[Faces, Faces]:
        """Some of them with a moustache or a beard, the same on a still and on the picture that it was made of."""
        hair = Hair.any(len(stills.crops), self.random)
        some = (self._uniform(len(stills.crops)) < HAIRY).view(-1, 1, 1, 1)
        stills, pictures = (replace(f, crops=torch.where(some, wear(f, hair), f.crops)) for f in (stills, pictures))
        return stills, pictures

    def _made_up(self, stills: Faces, pictures: Faces) -> tuple[Faces, Faces]:
        """Other lips and teeth: what differs from the skin around the mouth differs more, less or in another colour.

        The same for a still and for the picture that it was made of, lipstick and all.
        """
        n = len(stills.crops)
        half = (stills.corners[:, 1] - stills.corners[:, 0]).norm(dim=1).view(n, 1, 1) / 2
        offset = pixel_grid(n, CROP_PX) - stills.corners.mean(dim=1).view(n, 1, 1, 2)
        across, down = offset.unbind(dim=3)
        near = torch.exp(-((across / (1.4 * half)) ** 4) - ((down - 0.15 * half) / half) ** 4)[:, None]
        skin = (stills.crops * near).sum(dim=(2, 3), keepdim=True) / near.sum(dim=(2, 3), keepdim=True)
        some = (self._uniform(n, 1, 1, 1) < MADE_UP).float()
        more = torch.exp(self._normal(n, 1, 1, 1) * 0.35 + 0.25 + self._normal(n, 3, 1, 1) * 0.12) - 1
        gain = near * more * some
        stills, pictures = (
            replace(f, crops=(f.crops + gain * (f.crops - skin)).clamp(0, 1)) for f in (stills, pictures)
        )
        return stills, pictures

    def _stretched(self, points: Tensor, corners: Tensor) -> Tensor:
        """Crop coordinates (n, 96, 96, 2), nearer to the mouth's centre by up to half: other mouths of those there are.

        Wider open, fuller or longer than the few people's of the material, as strangers' will be that have to shut.
        """
        n = len(points)
        half = (corners[:, 1] - corners[:, 0]).norm(dim=1).view(n, 1, 1) / 2
        offset = points - corners.mean(dim=1).view(n, 1, 1, 2)
        across, down = offset.unbind(dim=3)
        down = down - 0.15 * half  # lips part below the line through the corners
        near = torch.exp(-((across / (1.3 * half)) ** 2) - (down / half) ** 2)
        some = (self._uniform(n) < STRETCHED).view(n, 1, 1)
        wider = 0.2 * self._normal(n, 1, 1).clamp(-1.5, 1.5) * some
        higher = (0.6 * self._uniform(n, 1, 1) - 0.1) * some
        return points - torch.stack((across * near * wider, down * near * higher), dim=3)

    def _stills(self, n: int) -> Tensor:
        """Indices of stills (n,): any person, then any picture of theirs."""
        return torch.multinomial(self.still_chances, n, replacement=True, generator=self.random)

    def _shown(self, mouth: Tensor) -> Tensor:
        """Mouths for the references of `mouth` (n, 4): rarely the same, at times shut, mostly smiling, else any."""
        n = len(mouth)
        _, elsewhere = self.speech(n)
        smile = torch.stack((0.1 + 0.9 * self._uniform(n), self._uniform(n), torch.zeros(n), torch.ones(n)), dim=1)
        shown = elsewhere[:, 1]
        chance = self._uniform(n)[:, None]
        for below, choice in ((0.75, smile), (0.25, torch.zeros(1)), (0.05, mouth)):
            shown = torch.where(chance < below, choice, shown)
        return shown

    def _real(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        first, n_frames = self.clip_spans[:, torch.multinomial(self.clip_chances, n, True, generator=self.random)]
        frame = (self._uniform(n) * n_frames).long()
        near = frame + self._integers(2 * NEAR_FRAMES + 1, 2, n) - NEAR_FRAMES  # the head has hardly moved
        near = first + torch.minimum(near.clamp(min=0), n_frames - 1)
        frame = first + frame
        unlike = (self.gaps[near] - self.gaps[frame]).abs()
        other = torch.where(unlike[0] > unlike[1], near[0], near[1])  # of two, the mouth that is less like it
        points, moved = self._views(n)
        faces, references = (self.crops[chosen].float() / 255 for chosen in (frame, other))
        return self.roughened(self.mel[frame]), sample(faces, points), sample(references, moved)

    def _views(self, n: int) -> tuple[Tensor, Tensor]:
        """Crop coordinates (n, 96, 96, 2) of the target's pixels and of the reference's.

        A view is shifted, scaled, turned, mirrored and smoothly bent, which makes other faces of few; the reference's
        is the same or a little beside it, as another frame's would be. Some heads turn and nod: the middle of the face
        moves and its outline stays, one cheek narrows and the other widens. All of GRID look into the camera.
        """
        at = ((torch.arange(FACE_PX) + 0.5) / FACE_PX - 0.5) * 2
        y, x = torch.meshgrid(at, at, indexing="ij")
        plain = torch.stack((x, y), dim=2)[None]
        bend = F.interpolate(self._normal(n, 2, 5, 5) * BEND, FACE_PX, mode="bicubic", align_corners=True)
        mirror = torch.where(self._uniform(n) < 0.5, -1.0, 1.0).view(-1, 1, 1)
        turn = TURN * self._uniform(n).pow(3) * torch.where(self._uniform(n) < 0.5, -1.0, 1.0)
        middle_moves = torch.stack((turn, NOD * self._normal(n).clamp(-3, 3)), dim=1).view(n, 1, 1, 2)
        first = self._affine(n, 1.0)
        eye = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        beside = torch.where((self._uniform(n) < 0.9).view(-1, 1, 1), torch.zeros(1), self._affine(n, 0.35) - eye)
        views = []
        for affine in (first, first + beside):
            homogeneous = torch.cat((plain, torch.ones_like(plain[..., :1])), dim=3)
            points = homogeneous @ affine[:, None] + bend.permute(0, 2, 3, 1)
            points = torch.cat((points[..., :1] * mirror[..., None], points[..., 1:]), dim=3)
            points = points + middle_moves * (1 - points.square()).clamp(min=0)
            views.append(points * (BOX * CROP_PX / 2) + CROP_PX / 2 - 0.5)
        return views[0], views[1]

    def _affine(self, n: int, strength: float) -> Tensor:
        """Random maps (n, 3, 2) near the identity, in units of half a box."""
        scale = self._normal(n, 2) * 0.04 * strength
        turn, shear = self._normal(n) * 0.06 * strength, self._normal(n) * 0.03 * strength
        shift = self._normal(n, 2) * 0.045 * strength
        rows = torch.stack(
            (1 + scale[:, 0], turn + shear, -turn, 1 + scale[:, 1], shift[:, 0], shift[:, 1] + 0.02 * strength), dim=1
        )
        return rows.view(n, 3, 2)

    def _recoloured(self, pictures: Tensor) -> Tensor:
        """Another light, camera and skin for each pair (n, 2, 3, 96, 96); noise and sharpness for each pair, too."""
        n = len(pictures)
        gamma = torch.exp(self._normal(n, 1, 1, 1, 1) * 0.25)
        gain = torch.exp(self._normal(n, 1, 1, 1, 1) * 0.3 - 0.1 + self._normal(n, 1, 3, 1, 1) * 0.07)
        out = pictures.clamp(1e-3, 1) ** gamma * gain
        grey = out.mean(dim=2, keepdim=True)
        colourful = (1 + self._normal(n, 1, 1, 1, 1) * 0.25).clamp(0, 1.6) * (self._uniform(n, 1, 1, 1, 1) >= GREY)
        out = torch.lerp(grey, out, colourful)
        slope = (torch.linspace(-1, 1, FACE_PX).view(1, 1, 1, 1, -1) * self._normal(n, 1, 1, 1, 1)) * 0.12
        out = out * (1 + slope)
        soft = F.avg_pool2d(F.pad(out.flatten(0, 1), (1, 1, 1, 1), mode="replicate"), 3, 1).view_as(out)
        return torch.lerp(soft, out, 0.5 + self._uniform(n, 1, 1, 1, 1) * 0.9).clamp(0, 1)

    def roughened(self, mel: Tensor) -> Tensor:
        """Other throats, levels, microphones and rooms for sound (n, 1, 80, 16): tract, gain, equaliser, noise."""
        n = len(mel)
        mel = with_tract(mel, torch.exp(self._normal(n) * THROATS).clamp(0.72, 1.4))
        decibels = mel / MEL_PER_DB + self._uniform(n, 1, 1, 1) * 30 - 20
        decibels = decibels + F.interpolate(self._normal(n, 1, 5) * 3, 80, mode="linear", align_corners=True)[..., None]
        floor = self._uniform(n, 1, 1, 1) * 45 - 60
        tilt = torch.linspace(0, -15, 80).view(1, 1, 80, 1) * self._uniform(n, 1, 1, 1)
        noise = floor + tilt + self._normal(n, 1, 80, MEL_COLUMNS) * 2.5
        nepers = 0.2303  # per dB of power
        noisy = torch.logaddexp(decibels * nepers, noise * nepers) / nepers
        out = torch.where(self._uniform(n, 1, 1, 1) < 0.7, noisy, decibels)
        return (out * MEL_PER_DB).clamp(-4, 4)

    def _silence(self, n: int) -> Tensor:
        tilt = torch.linspace(0, 1, 80).view(1, 1, 80, 1) * (self._uniform(n, 1, 1, 1) * 2 - 1.5)
        level = -0.5 - 4.0 * self._uniform(n, 1, 1, 1)
        return (level + tilt + self._normal(n, 1, 80, MEL_COLUMNS) * 0.2).clamp(-4, 4)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random)

    def _integers(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=self.random)

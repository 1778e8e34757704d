"""Material for training the demo generator: face crops and sound of GRID clips, stills to animate, synthetic speech.

    python -m gpu_lipsync.tools.demo_material --clips FOLDER --stills FOLDER --speech FOLDER --out material.pt

Crops are 128 px: the box the product would crop, and a sixth of it more on each side, so that training can move, scale
and turn the 96 px it shows the network.
"""

import argparse
import random
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.audio import load_audio, log_mel, mel_windows
from gpu_lipsync.models.face_detector import CenterFace, load_face_detector
from gpu_lipsync.tools.demo_stills import GRID_STILLS, PORTRAIT, PUBLIC_DOMAIN_STILLS, path_of, read_portrait
from gpu_lipsync.tools.espeak import Espeak
from gpu_lipsync.tools.real_speech import Talk, fit, guess_mouth
from gpu_lipsync.tools.synthetic_speech import random_talk
from gpu_lipsync.tools.synthetic_talkers import CROP_PX, Faces, shut

N_TALKS = 560  # about 50 minutes
N_FITTED = 200  # of them, to guess the mouths of real speech
PUBLIC_DOMAIN_SPEECH = ("jfk_11s_44k1_stereo.flac", "ljspeech_7.7s_22k_mono.wav")
MARGIN = 1 / 6  # of the box, on each side
FPS = 25
SMOOTHING_FRAMES = 3.0
# GRID's own speaker numbers where the file names have them; the others by the clip.
SAME_PERSON = {"bbaf2n": "s1", "swiz3n": "s26", "id2_vcd_swwp2s": "pwij3p"}
HELD_OUT = ("s33", "sbwe5n", "lbax4n")
MAX_CLIPS_PER_PERSON = 5


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Frames of one talking person: crops (N, 3, 128, 128) uint8 RGB, eyes (N, 2, 2) in crop pixels (x, y), mel
    (N, 1, 80, 16) float32.
    """

    name: str
    person: str
    held_out: bool
    crops: Tensor
    eyes: Tensor
    mel: Tensor


def crop_and_eyes(frames: Tensor, detector: CenterFace, face: int = 0) -> tuple[Tensor, Tensor]:
    """Crops and eyes of one face, counted best first, of each frame (N, 3, H, W) uint8, steadied over time."""
    found = [detection[face] for chunk in frames.split(8) for detection in detector.detect(chunk)]
    faces = smooth_over_time(torch.stack(found))
    x1, y1, x2, y2 = faces[:, :4].unbind(1)
    height = y2 - y1
    y1, y2 = y1 - 0.03 * height, y2 + 0.06 * height  # as the product: S3FD-like, and the default pad below
    width, height = x2 - x1, y2 - y1
    corner = torch.stack((x1 - MARGIN * width, y1 - MARGIN * height), dim=1)
    size = torch.stack((width, height), dim=1) * (1 + 2 * MARGIN)
    crops = sample_boxes(frames, corner, size)
    eyes = faces[:, 5:9].view(-1, 2, 2)
    return crops, (eyes - corner[:, None]) / size[:, None] * CROP_PX


def sample_boxes(frames: Tensor, corner: Tensor, size: Tensor) -> Tensor:
    """Bilinear crops of CROP_PX² of (N, 3, H, W) uint8, from corner and size (N, 2) in pixels."""
    at = (torch.arange(CROP_PX) + 0.5) / CROP_PX
    x = corner[:, :1] + size[:, :1] * at
    y = corner[:, 1:] + size[:, 1:] * at
    grid_x = (2 * x / frames.shape[3] - 1)[:, None, :].expand(-1, CROP_PX, -1)
    grid_y = (2 * y / frames.shape[2] - 1)[:, :, None].expand(-1, -1, CROP_PX)
    grid = torch.stack((grid_x, grid_y), dim=3)
    crops = [
        F.grid_sample(f[None].float(), g[None], align_corners=False, padding_mode="border")
        for f, g in zip(frames, grid, strict=True)
    ]
    return torch.cat(crops).round().clamp(0, 255).to(torch.uint8)


def smooth_over_time(values: Tensor) -> Tensor:
    """Gaussian over dim 0, edges held."""
    radius = int(3 * SMOOTHING_FRAMES)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / SMOOTHING_FRAMES) ** 2)
    padded = F.pad(values.T[:, None], (radius, radius), mode="replicate")
    return F.conv1d(padded, (taps / taps.sum())[None, None])[:, 0].T


def read_frames(path: Path) -> Tensor:
    """All frames of a video or a still, (N, 3, H, W) uint8 RGB."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def grid_person(path: Path) -> str:
    """Whose clip: the speaker number in the name, or else the sentence that only this person said here."""
    found = re.match(r"grid_(s\d+|rizkiarm)_(.+)", path.stem)
    if found is None:
        raise ValueError(f"{path} is not named like a GRID clip")
    speaker, sentence = found.groups()
    return speaker if speaker != "rizkiarm" else SAME_PERSON.get(sentence, sentence)


def read_grid(folder: Path, detector: CenterFace) -> list[Clip]:
    """At most MAX_CLIPS_PER_PERSON clips of each person."""
    clips: list[Clip] = []
    for path in sorted(folder.glob("grid_*.mpg")):
        person = grid_person(path)
        if sum(clip.person == person for clip in clips) >= MAX_CLIPS_PER_PERSON:
            continue
        crops, eyes = crop_and_eyes(read_frames(path), detector)
        mel = mel_windows(load_audio(path), FPS)
        n = min(len(mel) - 2, len(crops))  # the last windows repeat the end of the sound
        held_out = person in HELD_OUT
        clip = Clip(name=path.stem, person=person, held_out=held_out, crops=crops[:n], eyes=eyes[:n], mel=mel[:n])
        clips.append(clip)
    return clips


def read_stills(clips: list[Clip], folder: Path, detector: CenterFace) -> Faces:
    """Every still of demo_stills, as it is."""
    by_name = {clip.name: clip for clip in clips}
    crops, eyes = [], []
    for still in GRID_STILLS:
        clip = by_name[Path(still.file).stem]
        crops.append(clip.crops[still.frame])
        eyes.append(clip.eyes[still.frame])
    for still in PUBLIC_DOMAIN_STILLS:
        picture = read_portrait() if still.file == PORTRAIT else read_frames(path_of(still, folder))
        crop, eye = crop_and_eyes(picture, detector, still.face)
        crops.append(crop[0])
        eyes.append(eye[0])
    stills = (*GRID_STILLS, *PUBLIC_DOMAIN_STILLS)
    return Faces(
        crops=torch.stack(crops).float() / 255,
        corners=torch.tensor([still.corners for still in stills]),
        eyes=torch.stack(eyes),
        sags=torch.tensor([still.sags for still in stills]),
    )


def make_talks(seed: int) -> list[Talk]:
    """Log-mel (80, T) and mouth (4, m) of synthetic speech, in half precision."""
    engine, rng = Espeak(), random.Random(seed)
    talks = (random_talk(engine, rng) for _ in range(N_TALKS))
    return [(log_mel(talk.waveform).half(), talk.mouth.half()) for talk in talks]


def read_real_talks(clips: Path, speech: Path, talks: list[Talk]) -> list[Talk]:
    """Recordings of the people who are not held out, and of the speech folder, with mouths guessed from the sound."""
    weights = fit(talks[:N_FITTED])
    taken: Counter[str] = Counter()
    files = []
    for path in sorted(clips.glob("grid_*.mpg")):
        taken[grid_person(path)] += 1
        if grid_person(path) not in HELD_OUT and taken[grid_person(path)] <= MAX_CLIPS_PER_PERSON:
            files.append(path)
    mels = [log_mel(load_audio(path)) for path in (*files, *(speech / name for name in PUBLIC_DOMAIN_SPEECH))]
    return [(mel.half(), guess_mouth(mel, weights).half()) for mel in mels]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder with grid_*.mpg")
    parser.add_argument("--stills", type=Path, required=True, help="folder with the pictures of demo_stills.py")
    parser.add_argument("--speech", type=Path, required=True, help=f"folder with {', '.join(PUBLIC_DOMAIN_SPEECH)}")
    parser.add_argument("--out", type=Path, required=True, help="file to write, for train_demo")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic speech")
    arguments = parser.parse_args()
    detector = load_face_detector()
    clips = read_grid(arguments.clips, detector)
    stills = read_stills(clips, arguments.stills, detector)
    talks = make_talks(arguments.seed)
    material = {
        "clips": [vars(clip) for clip in clips],
        "stills": asdict(shut(stills)),
        "originals": stills.crops,
        "talks": talks,
        "real_talks": read_real_talks(arguments.clips, arguments.speech, talks),
    }
    torch.save(material, arguments.out)
    for clip in clips:
        print(f"{clip.name}: {clip.person}, {len(clip.crops)} frames{' (held out)' * clip.held_out}")
    print(f"{len(stills.crops)} stills, {len(talks)} synthetic talks, {len(material['real_talks'])} real ones")


if __name__ == "__main__":
    main()

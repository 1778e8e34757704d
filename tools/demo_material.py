"""Material for training the demo generator: face crops and sound of GRID clips, stills to animate, synthetic speech.

    python -m gpu_lipsync.tools.demo_material --clips FOLDER --stills FOLDER --speech FOLDER --packages FOLDER \
        --out material.pt

Crops are `face_crops`'.
"""

import argparse
import random
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import resample

from gpu_lipsync.audio import SAMPLE_RATE_HZ, load_audio, log_mel, mel_windows
from gpu_lipsync.models.face_detector import CenterFace, load_face_detector
from gpu_lipsync.models.face_mesh import FaceMesh, load_face_mesh
from gpu_lipsync.tools.demo_stills import GRID_STEP, PACKAGED_STILLS, PUBLIC_DOMAIN_STILLS, read_packaged, still_path
from gpu_lipsync.tools.espeak import Espeak
from gpu_lipsync.tools.face_crops import crops_and_landmarks
from gpu_lipsync.tools.face_landmarks import EYES, lip_edges
from gpu_lipsync.tools.filmed_mouth import filmed_mouth
from gpu_lipsync.tools.flite import VOICES, Flite
from gpu_lipsync.tools.real_speech import align, at_pace, grid_sentence
from gpu_lipsync.tools.recordings import RECORDINGS, UNUSUAL_WORDS, path_of, text_of
from gpu_lipsync.tools.synthetic_speech import mouth_track, random_flite_talk, random_talk
from gpu_lipsync.tools.synthetic_talkers import Faces, shut
from gpu_lipsync.tools.talks import lips_ahead

N_TALKS = 560  # of espeak-ng: about 50 minutes
N_FLITE_TALKS = 480  # about 45 minutes
PACES = (0.8, 0.9, 1.0, 1.12, 1.25)  # each recording also slower and deeper, faster and higher: other voices
FPS = 25
Talk = tuple[Tensor, Tensor, str]  # log-mel (80, T), mouth (4, m), both in half precision; whose voice

# GRID's own speaker numbers where the file names have them; the others by the clip.
SAME_PERSON = {"bbaf2n": "s1", "swiz3n": "s26", "id2_vcd_swwp2s": "pwij3p"}
HELD_OUT = ("s33", "sbwe5n", "lbax4n")
MAX_CLIPS_PER_PERSON = 5


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Frames of one talking person.

    Attributes:
        name: of its file.
        person: who it is.
        held_out: whether training must not see it.
        crops: (N, 3, 128, 128) uint8 RGB.
        landmarks: (N, 468, 3), x and y in crop pixels.
        mel: (N, 1, 80, 16) float32.
    """

    name: str
    person: str
    held_out: bool
    crops: Tensor
    landmarks: Tensor
    mel: Tensor


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


def read_grid(folder: Path, detector: CenterFace, mesh: FaceMesh) -> list[Clip]:
    """At most MAX_CLIPS_PER_PERSON clips of each person."""
    clips: list[Clip] = []
    for path in sorted(folder.glob("grid_*.mpg")):
        person = grid_person(path)
        if sum(clip.person == person for clip in clips) >= MAX_CLIPS_PER_PERSON:
            continue
        crops, landmarks = crops_and_landmarks(path.name, read_frames(path), detector, mesh)
        mel = mel_windows(load_audio(path), FPS)
        n = min(len(mel) - 2, len(crops))  # the last windows repeat the end of the sound
        clip = Clip(
            name=path.stem,
            person=person,
            held_out=person in HELD_OUT,
            crops=crops[:n],
            landmarks=landmarks[:n],
            mel=mel[:n],
        )
        clips.append(clip)
    return clips


def read_stills(clips: list[Clip], folder: Path, detector: CenterFace, mesh: FaceMesh) -> tuple[Faces, list[str]]:
    """Every still of demo_stills, as it is, and who it shows."""
    crops, landmarks, people = [], [], []
    for clip in clips:
        if not clip.held_out:
            crops.append(clip.crops[::GRID_STEP])
            landmarks.append(clip.landmarks[::GRID_STEP])
            people += [clip.person] * len(crops[-1])
    pictures = [(f"{s.file} {s.face}", s.face, read_frames(still_path(s, folder))) for s in PUBLIC_DOMAIN_STILLS]
    pictures += [(name, 0, read_packaged(name)) for name in PACKAGED_STILLS]
    for person, face, picture in pictures:
        crop, points = crops_and_landmarks(person, picture, detector, mesh, face)
        crops.append(crop)
        landmarks.append(points)
        people.append(person)
    points = torch.cat(landmarks)[..., :2]
    corners, lips = lip_edges(points)
    eyes = torch.stack([points[:, eye].mean(dim=1) for eye in EYES], dim=1)
    return Faces(crops=torch.cat(crops).float() / 255, corners=corners, eyes=eyes, lips=lips), people


def make_talks(seed: int) -> list[Talk]:
    """Synthetic speech; espeak-ng's many voices count as one, since they are made alike."""
    espeak, flite, rng = Espeak(), Flite(), random.Random(seed)
    talks = [(random_talk(espeak, rng), "espeak") for _ in range(N_TALKS)]
    for i in range(N_FLITE_TALKS):
        voice = VOICES[i % len(VOICES)]
        talks.append((random_flite_talk(flite, voice, rng), voice))
    return [(log_mel(talk.waveform).half(), lips_ahead(talk.mouth.half()), voice) for talk, voice in talks]


def read_grid_talks(clips: list[Clip], grid: Path) -> list[Talk]:
    """What the people who are not held out said, with mouths as seen and as the phonemes ask, at every pace."""
    seen, talks = [clip for clip in clips if not clip.held_out], []
    for clip in seen:
        waveform = load_audio(grid / f"{clip.name}.mpg")
        person = torch.cat([other.landmarks for other in seen if other.person == clip.person])
        for pace, mel, mouth in _at_every_pace(waveform, align(waveform, grid_sentence(clip.name))):
            mouth = filmed_mouth(clip.landmarks, person, FPS * pace, mouth)
            talks.append((mel, mouth.half(), clip.person))
    return talks


def read_recordings(folders: tuple[Path, ...]) -> list[Talk]:
    """The speech of RECORDINGS with the mouths of its phonemes, at every pace."""
    talks: list[Talk] = []
    for recording in RECORDINGS:
        waveform = load_audio(path_of(recording.file, folders))
        phonemes = align(waveform, text_of(recording, folders), UNUSUAL_WORDS)
        for _, mel, mouth in _at_every_pace(waveform, phonemes):
            talks.append((mel, lips_ahead(mouth.half()), recording.voice))
    return talks


def _at_every_pace(waveform: Tensor, phonemes: list[tuple[float, str]]) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Each of PACES, the sound's log-mel in half precision, and the mouth of its phonemes."""
    for pace in PACES:
        paced = at_pace(resample(waveform, round(SAMPLE_RATE_HZ * pace), SAMPLE_RATE_HZ), phonemes, pace)
        yield pace, log_mel(torch.from_numpy(paced.samples) / 32768).half(), torch.from_numpy(mouth_track(paced))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder with grid_*.mpg")
    parser.add_argument("--stills", type=Path, required=True, help="folder with the pictures of demo_stills.py")
    parser.add_argument("--speech", type=Path, required=True, help="folder with the recordings that are in no package")
    parser.add_argument("--packages", type=Path, required=True, help="folder with the packages of recordings.py")
    parser.add_argument("--out", type=Path, required=True, help="file to write, for train_demo")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic speech")
    arguments = parser.parse_args()
    detector, mesh = load_face_detector(), load_face_mesh()
    clips = read_grid(arguments.clips, detector, mesh)
    stills, people = read_stills(clips, arguments.stills, detector, mesh)
    material = {
        "clips": [vars(clip) for clip in clips],
        "stills": {name: value.half() for name, value in asdict(shut(stills)).items()},
        "originals": {name: value.half() for name, value in asdict(stills).items()},
        "gaps": (stills.lips[:, 1] - stills.lips[:, 0]).amax(dim=1),
        "people": people,
        "talks": make_talks(arguments.seed),
        "real_talks": read_grid_talks(clips, arguments.clips) + read_recordings((arguments.speech, arguments.packages)),
    }
    torch.save(material, arguments.out)
    for clip in clips:
        print(f"{clip.name}: {clip.person}, {len(clip.crops)} frames{' (held out)' * clip.held_out}")
    n_made, n_real = len(material["talks"]), len(material["real_talks"])
    print(f"{len(stills.crops)} stills, {n_made} synthetic talks, {n_real} real ones")


if __name__ == "__main__":
    main()

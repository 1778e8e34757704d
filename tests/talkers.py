"""A real face whose mouth does as told, for tests of what judges mouths."""

from functools import lru_cache
from typing import Any

import av
import torch
from torch import Tensor, nn

from gpu_lipsync.faces import crop_faces
from gpu_lipsync.models import load_face_mesh
from gpu_lipsync.tools.face_landmarks import EYES, lip_edges
from gpu_lipsync.tools.looks import ROUNDNESS, Looks
from gpu_lipsync.tools.synthetic_talkers import CROP_PX, Faces, animate, pixel_grid, shut
from gpu_lipsync.tools.talks import COLUMNS_PER_S, TRACK_HZ
from gpu_lipsync.tracking.mouth_landmarks import Contexts, find_contexts, find_landmarks
from tests.places import FACE

BOX = torch.tensor([[176, 106, 343, 344]])  # of the face in the first frame, as the product would cut it out


def sample_frame() -> Tensor:
    """(1, 3, 512, 512) uint8."""
    with av.open(str(FACE)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()


@lru_cache
def _sample_face() -> Faces:
    frame, mesh = sample_frame(), load_face_mesh()
    points = find_landmarks(frame, BOX, mesh)[..., :2] * CROP_PX - 0.5  # a pixel's middle is at its number there
    corners, lips = lip_edges(points)
    eyes = torch.stack([points[:, eye].mean(dim=1) for eye in EYES], dim=1)
    crop = nn.functional.interpolate(crop_faces(frame, BOX), CROP_PX, mode="bilinear", align_corners=False)
    return Faces(crops=crop, corners=corners, eyes=eyes, lips=lips)


def sample_faces(n: int) -> Faces:
    """The sample's face, `n` times."""
    return _sample_face()[torch.zeros(n, dtype=torch.long)]


def speaking(openings: Tensor, roundness: float = ROUNDNESS, lean: float = 0.0) -> Tensor:
    """The sample's face (N, 3, 96, 96) in [0, 1], its mouth open by `openings` (N,) in [0, 1]; 0 is shut.

    `roundness` and `lean` are those of `Looks`.
    """
    n = len(openings)
    looks = Looks(
        amplitude=torch.full((n,), 0.7),
        roundness=torch.full((n,), roundness),
        lean=torch.full((n,), lean),
        teeth_light=torch.full((n,), 1.2),
        inside_light=torch.full((n,), 0.5),  # the landmarks, which judge, take some of a light tongue for lip
        teeth_height=torch.full((n,), 0.3),
        lower_height=torch.zeros(n),
    )
    mouth = torch.stack((openings, *torch.tensor([0.2, 0.0, 0.5])[:, None].expand(3, n)), dim=1)
    return animate(sample_faces(n), mouth, looks=looks, points=pixel_grid(n, 96))


def surroundings(n: int) -> Contexts:
    """What the landmark network sees of the sample's face, `n` times."""
    one = find_contexts(sample_frame(), BOX, load_face_mesh())
    return Contexts(one.images.expand(n, -1, -1, -1), one.to_face.expand(n, -1, -1))


def talk(number: int, seconds: float, voice: str = "a") -> tuple[Tensor, Tensor, str]:
    """Sound and mouth that say which talk this is, and when; and whose voice it is."""
    columns, moments = torch.arange(int(seconds * COLUMNS_PER_S)), torch.arange(int(seconds * TRACK_HZ))
    return (number * 1000 + columns).expand(80, -1).float(), (number * 10000 + moments).expand(4, -1).float(), voice


def small_material() -> dict[str, Any]:
    """What demo_material writes, of two people: one with a clip and two stills, one with a still."""
    originals, rng = sample_faces(3), torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (20, 3, 128, 128), dtype=torch.uint8, generator=rng)
    clip = {"person": "a", "held_out": False, "crops": crops, "landmarks": torch.rand(20, 468, 3, generator=rng)}
    clip["mel"] = torch.zeros(20, 1, 80, 16)
    return {
        "clips": [clip, {**clip, "person": "kept out", "held_out": True}],
        "stills": vars(shut(originals)),
        "originals": vars(originals),
        "gaps": torch.tensor([0.1, 0.3, 0.2]),
        "people": ["a", "a", "b"],
        "talks": [_audible(talk(0, 1.0, "espeak"))],
        "real_talks": [_audible(talk(1, 2.0)), _audible(talk(2, 0.5, "b"))],
    }


def _audible(talk: tuple[Tensor, Tensor, str]) -> tuple[Tensor, Tensor, str]:
    """One of `talk`, its numbers as small as log-mel and mouths are."""
    mel, mouth, voice = talk
    return mel / 1000 - 2, mouth / 20000, voice

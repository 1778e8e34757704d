"""Faces filmed, and the same faces with their mouths drawn by the tools."""

from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.faces import crop_faces
from gpu_lipsync.models import load_face_detector, load_face_mesh
from gpu_lipsync.tools.face_landmarks import EYES, lip_edges
from gpu_lipsync.tools.inner_lips import N_LIP_POINTS, UPPER_SHARE
from gpu_lipsync.tools.looks import ROUNDNESS, Looks
from gpu_lipsync.tools.synthetic_talkers import CROP_PX, Faces, animate, pixel_grid, shut
from gpu_lipsync.tracking.mouth_landmarks import find_landmarks

EVERY = 3  # frames


def filmed(path: Path) -> Faces:
    """The speaker's faces."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][::EVERY]
    frames = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    boxes = torch.stack([faces[0] for faces in load_face_detector().detect(frames)])[:, :4].round().long()
    points = find_landmarks(frames, boxes, load_face_mesh())[..., :2] * CROP_PX - 0.5
    corners, lips = lip_edges(points)
    eyes = torch.stack([points[:, eye].mean(dim=1) for eye in EYES], dim=1)
    crops = F.interpolate(crop_faces(frames, boxes), CROP_PX, mode="bilinear", align_corners=False)
    return Faces(crops=crops, corners=corners, eyes=eyes, lips=lips)


def gaps(faces: Faces) -> Tensor:
    """Half mouth widths between the lips, (N,)."""
    return (faces.lips[:, 1] - faces.lips[:, 0]).amax(dim=1)


def drawn(faces: Faces, gap: Tensor, **looks: Tensor) -> Faces:
    """The same faces with their lips `gap` (N,) apart, half of their teeth showing, and `looks` (N,) instead of usual
    ones.
    """
    n, shut_faces = len(gap), shut(faces)
    plain = {
        name: torch.full((n,), value) for name, value in (("amplitude", 1.0), ("roundness", ROUNDNESS), ("lean", 0.0))
    }
    usual = vars(Looks.alike(n))
    mouth = torch.stack((gap, *torch.tensor([0.2, 0.0, 0.5])[:, None].expand(3, n)), dim=1)
    crops = animate(shut_faces, mouth, looks=Looks(**usual | plain | looks), points=pixel_grid(n))
    arch = (1 - torch.linspace(-1, 1, N_LIP_POINTS) ** 2) ** ROUNDNESS
    lips = shut_faces.lips + torch.tensor([-UPPER_SHARE, 1 - UPPER_SHARE])[:, None] * gap[:, None, None] * arch
    return Faces(crops=crops, corners=faces.corners, eyes=faces.eyes, lips=lips)

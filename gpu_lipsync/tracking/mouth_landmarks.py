"""Faces by landmarks: where their mouths are, and how open; for source and generated faces alike.

A context is a face seen upright and square with its surroundings, as the landmark network wants it, laid by parts of
the face that no jaw moves. A generated face is put into the source's context, so both are seen the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.models.face_mesh import MESH_PX, FaceMesh
from gpu_lipsync.ops import upload

# Landmark numbers of the face mesh.
UPPER_LIP, LOWER_LIP = 13, 14  # the lips' inner edges, in the middle
UPPER_EDGE, LOWER_EDGE = 0, 17  # their outer edges there
MOUTH_CORNERS = (78, 308)
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners
FOREHEAD, NOSE_BASE = 10, 2
RIGHT_CHEEK, LEFT_CHEEK = 234, 454
SURROUNDINGS = 1.5  # of a face's size: what the network was trained to see
TALL = 1.6  # a face's height over that from its nose's base up
AT_A_TIME = 16  # frames: as floats they take four times the room
GENERATED_ROWS = 0.5  # from here down, as part of the face's height, a mouth is the generator's


@dataclass(frozen=True)
class Contexts:
    """Source faces to be judged.

    Attributes:
        images: (N, 3, 192, 192) uint8 RGB.
        to_face: (N, 2, 3) float32: from homogeneous pixels of `images` to the face box, (0, 0) to (1, 1).
    """

    images: Tensor
    to_face: Tensor

    @staticmethod
    def joined(parts: Sequence["Contexts"]) -> "Contexts":
        """One after the other."""
        return Contexts(torch.cat([p.images for p in parts]), torch.cat([p.to_face for p in parts]))

    def split(self, size: int) -> list["Contexts"]:
        """At most `size` at a time."""
        parts = zip(self.images.split(size), self.to_face.split(size), strict=True)
        return [Contexts(images, to_face) for images, to_face in parts]

    def with_mouths(self, faces: Tensor) -> Tensor:
        """The contexts as float images, the lower half of each box replaced by that of `faces`.

        Args:
            faces: (N, 3, 96, 96) RGB in [0, 1], one for each context.

        Returns:
            (N, 3, 192, 192) in [0, 1].
        """
        images = self.images.float() / 255
        at = _apply(self.to_face, _pixels(images.device))
        inside = ((at > 0) & (at < 1)).all(dim=3) & (at[..., 1] > GENERATED_ROWS)
        placed = F.grid_sample(faces, at * 2 - 1, align_corners=False, padding_mode="border")
        return torch.where(inside[:, None], placed, images)


def find_contexts(frames: Tensor, boxes: Tensor, mesh: FaceMesh, *, tilts: Tensor | None = None) -> Contexts:
    """Look at each frame's face twice: as its box lies, then upright.

    Args:
        frames: (N, 3, H, W) uint8 RGB.
        boxes: (N, 4) x1 y1 x2 y2, pixels, any device.
        mesh: the landmark network, on the frames' device.
        tilts: (N,) degrees that the boxes are turned by round their middles, clockwise as seen; by default none is.
    """
    boxes = boxes.float() if boxes.device == frames.device else upload(boxes.float(), frames.device)
    angles = torch.zeros(len(boxes)) if tilts is None else tilts.float().deg2rad()
    across = upload(torch.stack((angles.cos(), angles.sin()), dim=1), frames.device)
    size = boxes[:, 2:] - boxes[:, :2]
    middle, side = boxes[:, :2] + size / 2, SURROUNDINGS * size.amax(dim=1)
    plain = _placed(middle, across * side[:, None])
    seen = mesh(_view(frames, plain))[..., :2]
    upright = _upright(_apply(plain, seen))
    from_middle = torch.cat((upright[:, :, :2], upright[:, :, 2:] - middle[:, :, None]), dim=2)
    back = torch.cat((_axes(across).transpose(1, 2), torch.zeros_like(across)[:, :, None]), dim=2)
    to_face = _apply(back, from_middle.transpose(1, 2)).transpose(1, 2) / size[:, :, None]
    to_face[:, :, 2] += 0.5
    images = (_view(frames, upright) * 255).round().to(torch.uint8)
    return Contexts(images, to_face)


def find_landmarks(frames: Tensor, boxes: Tensor, mesh: FaceMesh, *, tilts: Tensor | None = None) -> Tensor:
    """Landmarks (N, 468, 3): x and y as parts of the box, from (0, 0) to (1, 1), depth in pixels of the network's view.

    Args:
        frames: (N, 3, H, W) uint8 RGB.
        boxes: (N, 4) x1 y1 x2 y2, pixels.
        mesh: the landmark network, on the frames' device.
        tilts: (N,) as `find_contexts` takes them.
    """
    found = []
    tilts = torch.zeros(len(boxes)) if tilts is None else tilts
    parts = zip(*(of.split(AT_A_TIME) for of in (frames, boxes, tilts)), strict=True)
    for frame, box, tilt in parts:
        contexts = find_contexts(frame, box, mesh, tilts=tilt)
        seen = mesh(contexts.images.float() / 255)
        found.append(torch.cat((_apply(contexts.to_face, seen[..., :2]), seen[..., 2:]), dim=2))
    return torch.cat(found)


def lips_apart(landmarks: Tensor) -> Tensor:
    """The gap between the lips over the distance between the eyes' outer corners, both in space.

    Args:
        landmarks: (N, 468, 3) of the face mesh.

    Returns:
        (N,) float32: 0 shut, about 0.3 wide open.
    """
    gap = (landmarks[:, LOWER_LIP] - landmarks[:, UPPER_LIP]).norm(dim=1)
    return gap / (landmarks[:, LEFT_EYE] - landmarks[:, RIGHT_EYE]).norm(dim=1)


def _upright(points: Tensor) -> Tensor:
    """Maps (N, 2, 3) from context pixels to frame pixels, by landmarks (N, 468, 2) that do not move with the jaw."""
    across = points[:, LEFT_EYE] - points[:, RIGHT_EYE]
    across = across / across.norm(dim=1, keepdim=True)
    down = torch.stack((-across[:, 1], across[:, 0]), dim=1)
    width = ((points[:, LEFT_CHEEK] - points[:, RIGHT_CHEEK]) * across).sum(dim=1)
    height = TALL * ((points[:, NOSE_BASE] - points[:, FOREHEAD]) * down).sum(dim=1)
    middle = (points[:, LEFT_CHEEK] + points[:, RIGHT_CHEEK]) / 2
    along = (middle - points[:, FOREHEAD]) * across
    centre = points[:, FOREHEAD] + across * along.sum(dim=1, keepdim=True) + down * (height / 2)[:, None]
    return _placed(centre, across * (SURROUNDINGS * torch.maximum(width, height))[:, None])


def _placed(centre: Tensor, side: Tensor) -> Tensor:
    """Maps (N, 2, 3) from context pixels to frame pixels: a square round `centre`, its upper side along `side`."""
    axes = _axes(side) / MESH_PX
    return torch.cat((axes, (centre - axes.sum(dim=2) * MESH_PX / 2)[:, :, None]), dim=2)


def _axes(side: Tensor) -> Tensor:
    """(N, 2, 2): `side` (N, 2), and the same turned by a quarter to the right."""
    return torch.stack((side, torch.stack((-side[:, 1], side[:, 0]), dim=1)), dim=2)


def _apply(maps: Tensor, points: Tensor) -> Tensor:
    """Points (N or 1, ..., 2) x y through maps (N, 2, 3).

    No matrix product: a GPU may be told to do those in TF32, which knows a position of 1920 to within a pixel.
    """
    across, down, origin = maps[(slice(None), *[None] * (points.dim() - 2))].unbind(dim=-1)
    return across * points[..., :1] + (down * points[..., 1:] + origin)


def _pixels(device: torch.device) -> Tensor:
    """Where the middles of a context's pixels lie, x y, (1, 192, 192, 2)."""
    at = torch.arange(MESH_PX, dtype=torch.float32, device=device) + 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack((x, y), dim=2)[None]


def _view(frames: Tensor, maps: Tensor) -> Tensor:
    """Frames seen through maps (N, 2, 3) from context pixels: (N, 3, 192, 192) float in [0, 1]."""
    height, width = frames.shape[2:]
    x, y = _apply(maps, _pixels(frames.device)).unbind(dim=3)
    at = torch.stack((x / width, y / height), dim=3) * 2 - 1
    return F.grid_sample(frames.float() / 255, at, align_corners=False, padding_mode="border").clamp(0, 1)

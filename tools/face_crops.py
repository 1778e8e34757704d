"""Crops of faces for the demo generator's material, and the landmarks of what is in them.

Crops are 128 px: the box the product would crop, and a sixth of it more on each side, so that training can move, scale
and turn the 96 px it shows the network.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.models.face_detector import CenterFace
from gpu_lipsync.models.face_mesh import FaceMesh
from gpu_lipsync.tools.synthetic_talkers import CROP_PX
from gpu_lipsync.tracking.mouth_landmarks import find_landmarks

MARGIN = 1 / 6  # of the box, on each side
SMOOTHING_FRAMES = 3.0


def crops_and_landmarks(
    name: str, frames: Tensor, detector: CenterFace, mesh: FaceMesh, face: int = 0
) -> tuple[Tensor, Tensor]:
    """Crops and landmarks of one face, counted best first, of each frame (N, 3, H, W) uint8, the box steadied.

    Raises:
        ValueError: a frame of what is called `name` does not show that many faces.
    """
    seen = [detection for chunk in frames.split(8) for detection in detector.detect(chunk)]
    for i, faces in enumerate(seen):
        if len(faces) <= face:
            raise ValueError(f"{name}: frame {i} shows {len(faces)} faces, {face + 1} are needed; leave it out")
    boxes = smooth_over_time(torch.stack([faces[face] for faces in seen])[:, :4])
    x1, y1, x2, y2 = boxes.unbind(1)
    height = y2 - y1
    # About as the product, whose default pad is below; a little above besides.
    boxes = torch.stack((x1, y1 - 0.03 * height, x2, y2 + 0.06 * height), dim=1)
    corner, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    crops = sample_boxes(frames, corner - MARGIN * size, size * (1 + 2 * MARGIN))
    landmarks = find_landmarks(frames, boxes, mesh)
    # In crops a pixel's middle is at its number, in the landmarks' network half a pixel on.
    landmarks[..., :2] = (landmarks[..., :2] + MARGIN) / (1 + 2 * MARGIN) * CROP_PX - 0.5
    return crops, landmarks


def sample_boxes(frames: Tensor, corner: Tensor, size: Tensor) -> Tensor:
    """Bilinear crops of CROP_PX² of (N, 3, H, W) uint8, from corner and size (N, 2) in pixels.

    Of a large face whole blocks of pixels are averaged first, as the product does, lest a crop be single ones of them.
    """
    block = max(1, int(size.amin()) // CROP_PX)
    reduced = frames.float() if block == 1 else F.avg_pool2d(frames.float(), block)
    corner, size = corner / block, size / block
    at = (torch.arange(CROP_PX) + 0.5) / CROP_PX
    x = corner[:, :1] + size[:, :1] * at
    y = corner[:, 1:] + size[:, 1:] * at
    grid_x = (2 * x / reduced.shape[3] - 1)[:, None, :].expand(-1, CROP_PX, -1)
    grid_y = (2 * y / reduced.shape[2] - 1)[:, :, None].expand(-1, -1, CROP_PX)
    grid = torch.stack((grid_x, grid_y), dim=3)
    crops = [
        F.grid_sample(f[None], g[None], align_corners=False, padding_mode="border")
        for f, g in zip(reduced, grid, strict=True)
    ]
    return torch.cat(crops).round().clamp(0, 255).to(torch.uint8)


def smooth_over_time(values: Tensor) -> Tensor:
    """Gaussian over dim 0, edges held."""
    radius = int(3 * SMOOTHING_FRAMES)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / SMOOTHING_FRAMES) ** 2)
    padded = F.pad(values.T[:, None], (radius, radius), mode="replicate")
    return F.conv1d(padded, (taps / taps.sum())[None, None])[:, 0].T

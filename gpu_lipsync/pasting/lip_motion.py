"""How lips and chin of a generated face moved from the source's, by the landmarks of both.

A generated lip is soft, and the source shows the same lip sharp, but elsewhere. Landmarks of both faces say where, and
what is between them follows: the upper lip with the upper one's landmarks, the lower with the lower one's and the
chin's. So the source's detail can be laid over the lip that was made.

Reference: S. L. Barnes, "A Technique for Maximizing Details in Numerical Weather Map Analysis", 1964: values known at
points, spread by Gaussian weights, and what that misses at the points spread again.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from gpu_lipsync.blend_kernels import Motion
from gpu_lipsync.models.face_mesh import MESH_PX, FaceMesh
from gpu_lipsync.models.wav2lip import FACE_SIZE
from gpu_lipsync.ops import on_host, remembered, resize, resize_window, upload
from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.process.cores import map_on_cores

# Landmark numbers of the face mesh, each lip's from corner to corner, its inner edge first.
UPPER_LIP = (
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    *(62, 76, 184, 183, 74, 42, 73, 41, 72, 38, 11, 12, 302, 268, 303, 271, 304, 272, 408, 407, 306, 292),
    *(186, 92, 165, 391, 322, 410),  # the skin above
)
LOWER_LIP = (
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    *(77, 96, 90, 89, 180, 179, 85, 86, 16, 15, 315, 316, 404, 403, 320, 319, 307, 325),
)
N_INNER_EDGE = 11
CHIN = (
    *(57, 287, 43, 273, 106, 335, 182, 406, 83, 313, 18, 202, 422, 204, 424, 194, 418, 201, 421, 200, 212, 432),
    *(211, 431, 262, 32, 208, 428, 199, 171, 396, 175, 152, 148, 377, 176, 400, 149, 378, 150, 379, 136, 365, 172, 397),
    *(58, 288, 132, 361),
)
NOSE_AND_CHEEKS = (  # which lie still
    *(2, 97, 326, 98, 327, 164, 167, 393, 203, 423, 206, 426, 216, 436, 205, 425, 50, 280),
)
GROUPS = (UPPER_LIP, LOWER_LIP + CHIN, NOSE_AND_CHEEKS)
MARGIN_PX = 12  # around a face's 96 px: what the network expects, though it knows more than repeated edges
SPREAD_PX = 3.5  # of a landmark's shift, in pixels of 96: about from one to the next
EDGE_SPREAD_PX = 2.5  # likewise of how high an edge lies
FAR = 0.15  # of a landmark's weight, what no shift at all has: skin far from all of them stays
PASSES = 3
TOP_PX = 40  # what is above no mouth moves
STEP_PX = 4  # shifts change slowly: they are found at every fourth of 96 pixels
TREMBLE_PX = 0.3  # a shift of which half is taken: two looks at what lies still differ by about that
CPU_PIECE = 4  # faces that a core looks at at once: what is made of more leaves its cache
PARTED_PX = 2.0  # a gap between the source's lips
EDGE_PX = 1.5  # of such lips, in which teeth show


@torch.inference_mode()
def find_lip_motion(made: Tensor, sources: Tensor, mesh: FaceMesh, *, window: Window | None = None) -> Motion:
    """How lips and chin moved.

    Args:
        made: (B, 3, 96, 96) float32 RGB in [0, 1], generated faces; one with NaN or infinity has moved anyhow.
        sources: likewise, what they were made from, or (1, 3, 96, 96) where that is one face.
        mesh: the landmark network, on their device.
        window: the part of `made` that is made; by default everything.
    """
    if not on_host(made):
        return _motion(made, sources, mesh, window)
    pieces = [(made[i : i + CPU_PIECE], sources[i : i + CPU_PIECE]) for i in range(0, len(made), CPU_PIECE)]
    if len(sources) == 1:
        pieces = [(piece, sources) for piece, _ in pieces]
    motions = map_on_cores(lambda piece: _motion(*piece, mesh, window), pieces)
    return Motion(torch.cat([motion.shift for motion in motions]), torch.cat([motion.shown for motion in motions]))


def _motion(made: Tensor, sources: Tensor, mesh: FaceMesh, window: Window | None) -> Motion:
    faces = torch.cat((made, sources))
    if window is not None:
        y1, y2, x1, x2 = window
        faces[: len(made)] = sources
        faces[: len(made), :, y1:y2, x1:x2] = made[:, :, y1:y2, x1:x2]
    now, then = _landmarks(faces.nan_to_num_(0.0).clamp_(0.0, 1.0), mesh).split((len(made), len(sources)))
    shift = _steadied(then - now)
    n_upper, _, n_still = map(len, GROUPS)
    of_upper = _spread(*(torch.cat((of[:, :n_upper], of[:, -n_still:]), dim=1) for of in (shift, now)))
    of_lower = _spread(shift[:, n_upper:], now[:, n_upper:])
    (above, below), (above_then, below_then) = (_inner_edges(points, n_upper) for points in (now, then))
    between = (above + below) / 2
    parted = ((below_then - above_then) / PARTED_PX).clamp(0, 1)
    y = _centres(FACE_SIZE, made.device)[:, None]
    # How far from the gap between the lips, which edges that cross have none of.
    away = torch.maximum(torch.minimum(above, between) - y, y - torch.maximum(below, between))
    shift = torch.where((y < between)[:, None], of_upper, of_lower)
    return Motion(shift, (away - EDGE_PX * parted + 0.5).clamp(0, 1)[:, None])


def _steadied(shift: Tensor) -> Tensor:
    """Shifts (n, k, 2) of GROUPS without what the network's looks tremble by, which is much the same for near points.

    In six clips the second difference of a chin from frame to frame, sideways, is 0.34 px of 96 as seen and 0.13 so.
    """
    upper, lower, still = shift.split([len(group) for group in GROUPS], dim=1)
    nose = still.mean(dim=1, keepdim=True)
    lips = [lip - nose for lip in (upper, lower)]
    # No lip goes sideways as a whole, nor does the chin.
    lips = [torch.cat((lip[..., :1] - lip[..., :1].mean(dim=1, keepdim=True), lip[..., 1:]), dim=2) for lip in lips]
    steadied = torch.cat((*lips, torch.zeros_like(still)), dim=1)
    length = steadied.square().sum(dim=2, keepdim=True)
    return steadied * (length / (length + TREMBLE_PX**2))


def _landmarks(faces: Tensor, mesh: FaceMesh) -> Tensor:
    """Those of GROUPS, (n, k, 2) x y in pixels of the faces (n, 3, 96, 96)."""
    seen = resize(pad(faces, [MARGIN_PX] * 4, mode="replicate"), (MESH_PX, MESH_PX))
    return mesh(seen)[:, _numbers(faces.device), :2] * ((FACE_SIZE + 2 * MARGIN_PX) / MESH_PX) - MARGIN_PX


@remembered(4)
def _numbers(device: torch.device) -> Tensor:
    return upload(torch.tensor([number for group in GROUPS for number in group]), device)


def _spread(shifts: Tensor, points: Tensor) -> Tensor:
    """Shifts (n, k, 2) of `points` (n, k, 2), in pixels, at every pixel, (n, 2, 96, 96), in parts of the sides."""
    n_columns, n_rows = FACE_SIZE // STEP_PX, (FACE_SIZE - TOP_PX) // STEP_PX
    columns, rows = (_centres(n, points.device) * STEP_PX for n in (n_columns, n_rows))
    from_columns = _nearness(columns[:, None] - points[:, None, :, 0], SPREAD_PX)
    from_rows = _nearness(rows[:, None] - (points[:, None, :, 1] - TOP_PX), SPREAD_PX)
    among = _nearness((points[:, :, None] - points[:, None]).norm(dim=3), SPREAD_PX)
    around = among.sum(dim=2, keepdim=True) + FAR
    total = shifts
    for _ in range(PASSES - 1):
        shifts = shifts - among @ shifts / around
        total = total + shifts
    weighed = torch.cat((total, torch.ones_like(total[..., :1])), dim=2)
    weighed = (from_rows[:, :, None] * from_columns[:, None]).flatten(1, 2) @ weighed
    found = weighed[..., :2] / ((weighed[..., 2:] + FAR) * FACE_SIZE)
    low = found.mT.contiguous().unflatten(2, (n_rows, n_columns))
    size = (FACE_SIZE - TOP_PX, FACE_SIZE)
    return pad(resize_window(low, size, Window(0, size[0], 0, size[1]), mode="bilinear"), [0, 0, TOP_PX, 0])


def _inner_edges(points: Tensor, n_upper: int) -> tuple[Tensor, Tensor]:
    """How high the inner edges of the upper and the lower lip are in every column, (n, 1, 96) each."""
    x = _centres(FACE_SIZE, points.device)
    edges = []
    for first in (0, n_upper):
        edge = points[:, first : first + N_INNER_EDGE]
        away = (x[:, None] - edge[:, None, :, 0]) / EDGE_SPREAD_PX
        weights = (-0.5 * away.square()).softmax(dim=2)  # far beyond the corners too: as high as they are
        edges.append((weights @ edge[:, :, 1:]).mT)
    return edges[0], edges[1]


def _nearness(away: Tensor, spread: float) -> Tensor:
    return (-0.5 * (away / spread).square()).exp()


def _centres(n: int, device: torch.device) -> Tensor:
    """Of n pixels, (n,)."""
    return torch.arange(n, dtype=torch.float32, device=device) + 0.5

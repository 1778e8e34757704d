"""From a detector's candidates to faces: suppression, then box voting. On the host, where loops are cheap."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CANDIDATE_SCORE = 0.35  # candidates below have no say
FACE_SCORE = 0.5  # a face's best candidate is above
SUPPRESSION_IOU = 0.3
VOTING_IOU = 0.6

Array = NDArray[np.float32]


def iou_matrix(boxes: Array, others: Array) -> Array:
    """Intersection over union of each of (n, 4) x1 y1 x2 y2 boxes with each of (m, 4): (n, m) in [0, 1]."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:4], others[None, :, 2:4])
    shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    area, other_area = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others))
    union: Array = np.maximum(area[:, None] + other_area[None] - shared, np.finfo(np.float32).tiny)
    result: Array = shared / union
    return result


def vote(candidates: Tensor, *, min_score: float = FACE_SCORE) -> list[Tensor]:
    """Faces among the candidates of each frame.

    Each face is the mean, weighted by the squared score, of all candidates that agree with its best one: half the
    jitter of the best one alone.

    Args:
        candidates: (B, K, 15) float32 on the host, best first: x1 y1 x2 y2 score, then five landmarks' x y.
        min_score: of a face's best candidate; a face already known may be taken for one at CANDIDATE_SCORE.

    Returns:
        One (n, 15) tensor per frame, best first, laid out likewise; the score is the best candidate's. The boxes are
        moved to where S3FD puts them (Wav2Lip was trained on its crops): top 3 % of the height up, bottom 1 % down.
    """
    return [torch.from_numpy(_vote_frame(frame, min_score)) for frame in candidates.numpy()]


def _vote_frame(candidates: Array, min_score: float) -> Array:
    candidates = candidates[candidates[:, 4] > CANDIDATE_SCORE]
    overlap = iou_matrix(candidates, candidates)
    weight = candidates[:, 4] ** 2
    faces, free = [], np.ones(len(candidates), bool)
    for best in range(len(candidates)):
        if not free[best] or candidates[best, 4] <= min_score:
            continue
        free &= overlap[best] < SUPPRESSION_IOU
        voters = overlap[best] > VOTING_IOU
        face = np.average(candidates[voters], axis=0, weights=weight[voters])
        face[4] = candidates[best, 4]
        height = face[3] - face[1]
        face[1], face[3] = face[1] - 0.03 * height, face[3] + 0.01 * height
        faces.append(face)
    return np.asarray(faces, np.float32).reshape(-1, candidates.shape[1])

"""The mouth of filmed speakers over time: between the one that is seen and the one that what they say asks for."""

import torch
from torch import Tensor

from gpu_lipsync.tools.face_landmarks import UPPER_INNER
from gpu_lipsync.tools.sound_variety import quiet
from gpu_lipsync.tools.talks import TRACK_HZ, lips_ahead
from gpu_lipsync.tracking.mouth_landmarks import LEFT_EYE, LOWER_LIP, MOUTH_CORNERS, RIGHT_EYE, UPPER_LIP

LOUD_OPENING = 0.75  # of the widest: a person's clearly open mouth
LEAST_RANGE = 0.15  # half mouth widths: who opens less than this all the time is not magnified
LIPS_PARTED = 0.03
SPREAD, ROUNDED = 0.10, 0.14  # wider and narrower than usual, as part of the width, that count as 1
SPOKEN_SHARE = 0.6  # of a filmed speaker's mouth, the rest as seen: who mumbles, and when, no sound tells
PARTED = 0.1  # half mouth widths between lips that are open in a pause
SHUT_BELOW = 0.06  # the phonemes' opening below which the lips are shut, whatever 25 frames a second caught of it


def filmed_mouth(landmarks: Tensor, person: Tensor, fps: float, spoken: Tensor) -> Tensor:
    """Mouth (4, n) at TRACK_HZ of a filmed speaker, between the one seen and, lips ahead, the one of the phonemes.

    Arguments as for `seen_mouth`.
    """
    ahead = lips_ahead(spoken)
    return torch.lerp(seen_mouth(landmarks, person, fps, spoken)[:, : ahead.shape[1]], ahead, SPOKEN_SHARE)


def seen_mouth(landmarks: Tensor, person: Tensor, fps: float, spoken: Tensor) -> Tensor:
    """Mouth (4, m) at TRACK_HZ of a filmed speaker: open, spread and round as seen, teeth and closures as spoken.

    Args:
        landmarks: (N, 468, 3) of the clip's frames.
        person: (M, 468, 3) of everything there is of the speaker: people open their mouths more and less, which no
            sound tells.
        fps: frames a second.
        spoken: (4, m), the mouth of the clip's phonemes.
    """
    gap, width = _gap_and_width(landmarks)
    usual_gap, usual_width = _gap_and_width(person)
    shut, wide = usual_gap.quantile(0.05), usual_gap.quantile(0.95)
    scale = LOUD_OPENING / (wide - shut - LIPS_PARTED).clamp(min=LEAST_RANGE)
    change = width / usual_width.median() - 1
    seen = torch.stack(((gap - shut - LIPS_PARTED) * scale, change / SPREAD, -change / ROUNDED)).clamp(0, 1)
    # Frame i is on screen from i / fps on; its middle is what it shows.
    at = ((torch.arange(spoken.shape[1]) / TRACK_HZ) * fps - 0.5).clamp(0, len(landmarks) - 1)
    left = at.long().clamp(max=len(landmarks) - 2)
    mouth = torch.lerp(seen[:, left], seen[:, left + 1], at - left)
    mouth[0] *= (spoken[0] / SHUT_BELOW).clamp(0, 1)
    return torch.cat((mouth, spoken[3:] * (mouth[:1] / 0.15).clamp(0, 1)))


def shown_with_its_sound(mel: Tensor, landmarks: Tensor) -> Tensor:
    """Which frames (N,) of a clip are shown with its sound windows mel (N, 1, 80, 16), by its landmarks (N, 468, 3).

    Who waits to speak with parted lips says nothing by them: such a frame would teach that lips stay as they are in
    silence, where they are to rest.
    """
    gap = landmarks[:, LOWER_LIP, 1] - landmarks[:, UPPER_LIP, 1]
    left, right = landmarks[:, MOUTH_CORNERS, 0].unbind(dim=1)
    return ~quiet(mel) | (gap < PARTED * (right - left) / 2)


def _gap_and_width(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Between the lips, in half mouth widths, and the mouth's width over the eyes' distance; each (N,)."""

    def apart(first: int, second: int) -> Tensor:
        return (landmarks[:, first] - landmarks[:, second])[:, :2].norm(dim=1)

    width = apart(UPPER_INNER[0], UPPER_INNER[-1])
    return 2 * apart(UPPER_LIP, LOWER_LIP) / width, width / apart(LEFT_EYE, RIGHT_EYE)

"""How heads are held: the generator knows upright ones, so those that are not are turned until they are.

A detection's box has upright sides however the head is held. With the tilt it changes as the one around an ellipse
does that is turned about its middle. In 32 frames and pictures that were turned by 15 to 45 degrees its middle stayed
where it was (standard deviation 0.01 to 0.045 of the sides), its diagonal as long (0.015 to 0.05), and the eyes and the
mouth told the angle within 2 to 5 degrees; on faces on their side they are some 12 degrees short of it, and beyond
that sometimes on a face that is not there.
"""

import math

import numpy as np

from gpu_lipsync.tracking.tracked_box import ACROSS, CENTRE, MOUTH, SIZE, Box, Boxes, Floats

# Degrees. What a generator was trained on is tilted by some ten either way, and so are the heads of most clips (23 of
# 25), which are shown to it as they are. From 25 on its mouths opened less and were smeared. Between the two the turn
# comes in by and by, so that nothing jumps.
LEFT_ALONE_DEG, TURNED_FULLY_DEG = 10, 20
USUAL_ASPECT = 1.4  # an upright box's height over its width: 1.27 to 1.5 in 32 frames and pictures
UPRIGHT_WITHIN_DEG = 60  # seen: up to 42 of a head turned aside, 47 of one tilted by 40, 79 to 81 of one on its side


def across(eyes: Floats, mouth: Floats) -> Floats:
    """The ways across faces, (n, 2): that between the eyes, and square to that from the eyes to the mouth.

    Of a head turned aside the eyes are close to each other, and the latter counts for more.

    Args:
        eyes: (n, 2, 2), x y of each, the one on the left of an upright picture first.
        mouth: (n, 2, 2), x y of its corners.
    """
    down = mouth.mean(axis=1) - eyes.mean(axis=1)
    square: Floats = np.stack((down[:, 1], -down[:, 0]), axis=1)
    return eyes[:, 1] - eyes[:, 0] + square


def tilts_of(boxes: Boxes) -> Floats:
    """By how many degrees clockwise (as seen) the heads are to be turned back: (n,)."""
    x, y = boxes[:, ACROSS].T
    degrees = np.degrees(np.arctan2(y, x))
    beyond = (np.abs(degrees) - LEFT_ALONE_DEG).clip(0) / (TURNED_FULLY_DEG - LEFT_ALONE_DEG)
    left: Floats = np.sign(degrees) * np.minimum(np.abs(degrees), beyond * TURNED_FULLY_DEG)
    return left


def upright_sizes(boxes: Boxes, degrees: Floats) -> Floats:
    """What the boxes' sizes (n, 2) would be if the heads, turned by so many degrees (n,), were upright.

    Of the ellipse inside a box that is turned by t, with semi-axes a and b, the box's half sides are those of which
    w^2 = a^2 cos^2 t + b^2 sin^2 t and h^2 = a^2 sin^2 t + b^2 cos^2 t. Their sum does not change. Their difference is
    all of b^2 - a^2 at 0 degrees and none of it at 45, so there the usual face's counts, the more the less it tells.
    """
    width, height = boxes[:, SIZE].T ** 2
    usual = (USUAL_ASPECT**2 - 1) / (USUAL_ASPECT**2 + 1) * (width + height)
    tells = np.cos(np.radians(2 * degrees))
    taller = (height - width) * tells + usual * (1 - tells**2)
    sizes = np.stack((width + height - taller, width + height + taller), axis=1) / 2
    return np.where(degrees[:, None] == 0, boxes[:, SIZE], np.sqrt(sizes.clip(0)))


class HeadTilts:
    """How the faces of a clip lie."""

    def __init__(self) -> None:
        self._n_seen = [0, 0, 0, 0]  # by quarters that they have to be turned clockwise

    def see(self, box: Box) -> None:
        """Take note of a face: the mouth is below an upright one's middle."""
        beside, below = ((box[MOUTH] - box[CENTRE]) / box[SIZE]).tolist()
        degrees = math.degrees(math.atan2(beside, below))
        upright = abs(degrees) < UPRIGHT_WITHIN_DEG
        self._n_seen[0 if upright else round(degrees / 90) % 4] += 1

    def advice(self, name: str, *, rotated: bool) -> str | None:
        """What to tell the user of the clip `name`, `rotated` by the run; None where all is as it should be."""
        quarters = max(range(4), key=self._n_seen.__getitem__)
        if quarters and rotated:
            return f"the face in {name} {'is upside down' if quarters == 2 else 'lies on its side'}: leave out --rotate"
        if quarters == 2:
            turn = "turn the clip first (ffmpeg -i IN -vf hflip,vflip OUT)"
            return f"the face in {name} is upside down, where mouths are found less surely: {turn}"
        return None

"""A face as it is followed: a row of numbers that can be averaged and moved on."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Detections: TypeAlias = NDArray[np.float32]  # (n, 15), best first: as `CenterFace.detect` has them
Floats: TypeAlias = NDArray[np.float64]
Box: TypeAlias = Floats  # (8,): one face
Boxes: TypeAlias = Floats  # (n, 8)

# x y of the middle, width and height, x y of the mouth's middle, in pixels; x y of the way across the face, from its
# right eye to its left: (1, 0) times some length where it is upright.
CENTRE, SIZE, MOUTH, ACROSS = slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)

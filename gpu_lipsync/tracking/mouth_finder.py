"""Where a followed face's mouth is: as the detector sees it in every frame, put right by landmarks seen in a few.

The detector places the corners of mouths too high on small faces and under moustaches, by up to 0.07 of the box's
height above the middle of the lips, and on each face by about the same: over a clip its standard deviation is 0.004 to
0.013 (12 clips). A small mask would lie on the moustache. So the landmark network looks at a few frames of each track,
and what it finds there holds for all of it, the mouth's width with it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor

from gpu_lipsync.decoding.frame_layout import RGB, FrameLayout
from gpu_lipsync.models.face_mesh import FaceMesh
from gpu_lipsync.ops.boxes import Rect
from gpu_lipsync.pasting.tilted import rotated
from gpu_lipsync.process.device import HostCopy
from gpu_lipsync.tracking.head_tilt import tilts_of, upright_sizes
from gpu_lipsync.tracking.mouth_landmarks import LOWER_EDGE, MOUTH_CORNERS, UPPER_EDGE, find_landmarks
from gpu_lipsync.tracking.smoothing import Point
from gpu_lipsync.tracking.tracked_box import CENTRE, MOUTH, SIZE, Box

# Per segment: looks that find something, of as many at all. Smoothing waits half a second, by which time a sample every
# fifth frame has shown three; a face may be turned away, or still be coming into the picture.
LOOKS, MOST_LOOKS = 3, 12
CUT_OFF = 0.03  # of the box's sides beyond the frame's edge: what is seen of such a face is little to go by
ROOM = 2.2  # of the box's longer side: what the network sees of a face that is tilted
AT_MOST = 0.12  # of the box's sides: landmarks farther from the detector's mouth are of something else


@dataclass(frozen=True)
class _Sight:
    """Of a mouth, in parts of the box's sides, which are the head's own axes if it is tilted: off to the right and
    down, half as wide; was the whole face there?
    """

    right: float
    down: float
    half: float
    whole: bool
    frame: int


class MouthFinder:
    """Corrections of the mouth's place, and its width, for each segment of a track."""

    def __init__(self, mesh: FaceMesh | None, layout: FrameLayout = RGB) -> None:
        """Without a network mouths are where the detector has them."""
        self._mesh, self._layout = mesh, layout
        self._n_looks: Counter[int] = Counter()
        self._seen: dict[int, list[_Sight]] = {}

    def look(self, picture: Tensor, segment: int, box: Box, *, frame: int) -> None:
        """Find the mouth of the face at `box` in a frame's picture (1, ...) uint8 in the layout given, unless enough is
        known.
        """
        (cx, cy), (width, height) = box[CENTRE], box[SIZE]
        frame_height, frame_width = self._layout.size(picture)
        beyond = (width / 2 - min(cx, frame_width - cx)) / width, (height / 2 - min(cy, frame_height - cy)) / height
        whole, seen = max(beyond) <= CUT_OFF, self._seen.get(segment, [])
        enough = sum(sight.whole for sight in seen) == LOOKS or (not whole and bool(seen))
        if self._mesh is None or enough or self._n_looks[segment] == MOST_LOOKS:
            return
        self._n_looks[segment] += 1
        reach = ROOM / 2 * max(width, height)
        x1, x2 = max(0, int(cx - reach)), min(frame_width, int(cx + reach))
        y1, y2 = max(0, int(cy - reach)), min(frame_height, int(cy + reach))
        window = torch.tensor([[x1, y1, x2, y2]])
        part = self._layout.part(picture, window)
        left, top, right, bottom = part.within(window)[0].tolist()
        tilts = tilts_of(box[None])
        ((tilt,), (size,)) = tilts, upright_sizes(box[None], tilts)
        corner = box[CENTRE] - size / 2 - (x1, y1)
        face = torch.tensor(np.concatenate((corner, corner + size))[None], dtype=torch.float32)
        seen_part = part.rgb[:, :, top:bottom, left:right]
        points = find_landmarks(seen_part, face, self._mesh, tilts=torch.from_numpy(tilts))[0]
        # One by one: a tuple as index is uploaded, which the host waits for.
        first, second = (points[corner, 0] for corner in MOUTH_CORNERS)
        twice = torch.stack((first + second, points[UPPER_EDGE, 1] + points[LOWER_EDGE, 1], second - first))
        x, y, half = np.array(HostCopy(twice).wait().tolist()) / 2
        off = np.array((x, y)) - 0.5 - rotated(box[MOUTH] - box[CENTRE], -tilt) / size
        if np.abs(off).max() <= AT_MOST:
            sight = _Sight(float(off[0]), float(off[1]), float(half), whole, frame)
            self._seen.setdefault(segment, []).append(sight)

    def corrected(self, mouth: Point, box: Rect, segment: int, *, known: int) -> Point:
        """A mouth x y, in pixels, of an upright face in a box, put where the segment's looks have it, those up to the
        frame `known`.
        """
        sights = self._sights(segment, known)
        if not sights:
            return mouth
        right, down = median(sight.right for sight in sights), median(sight.down for sight in sights)
        return mouth[0] + right * box.width, mouth[1] + down * box.height

    def half_width(self, segment: int, *, known: int) -> float:
        """Half the width of the segment's mouth at its widest, as part of the box's, by looks up to the frame `known`;
        0 where nothing was found.
        """
        return max((sight.half for sight in self._sights(segment, known)), default=0.0)

    def _sights(self, segment: int, known: int) -> list[_Sight]:
        """Those that count: of the whole face, if there are any."""
        seen = [sight for sight in self._seen.get(segment, []) if sight.frame <= known]
        return [sight for sight in seen if sight.whole] or seen

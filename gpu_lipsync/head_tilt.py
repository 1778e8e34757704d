"""Which way up faces are: the detector finds those on their side too, the generator knows upright ones only."""

from __future__ import annotations

import math

from gpu_lipsync.face_paths import Box

UPRIGHT_WITHIN_DEG = 60  # seen: up to 42 of a head turned aside, 47 of one tilted by 40, 79 to 81 of one on its side
_TURNS = {2: "hflip,vflip", 3: "transpose=2"}  # quarters clockwise: FFmpeg's filters


class HeadTilts:
    """How the faces of a clip lie."""

    def __init__(self) -> None:
        self._n_seen = [0, 0, 0, 0]  # by quarters that they have to be turned clockwise

    def see(self, box: Box) -> None:
        """Take note of a face: the mouth is below an upright one's middle."""
        across, down = ((box[4:] - box[:2]) / box[2:4]).tolist()
        degrees = math.degrees(math.atan2(across, down))
        upright = abs(degrees) < UPRIGHT_WITHIN_DEG
        self._n_seen[0 if upright else round(degrees / 90) % 4] += 1

    def advice(self, name: str, *, rotated: bool) -> str | None:
        """What to tell the user of the clip `name`, `rotated` by the run; None where most faces are upright."""
        quarters = max(range(4), key=self._n_seen.__getitem__)
        if not quarters:
            return None
        lies = "is upside down" if quarters == 2 else "lies on its side"
        turn = f"turn the clip first (ffmpeg -i IN -vf {_TURNS.get(quarters, 'transpose=1')} OUT)"
        if rotated:
            turn = f"leave out --rotate, or {turn}"
        elif quarters == 1:
            turn = "add --rotate"
        return f"the face in {name} {lies}, and gets no mouth that fits: {turn}"

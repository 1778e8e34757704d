"""What a frame's faces are to the one that is followed."""

from typing import NamedTuple

from gpu_lipsync.tracking.tracked_box import Box, Detections


class Match(NamedTuple):
    """Which of a frame's faces continues the track, if one does.

    Attributes:
        box: None if none lies near enough and is of like size, or all that do are others'.
        contested: it may as well be that of another who was beside it.
        hidden: where it should be is another.
    """

    box: Box | None = None
    contested: bool = False
    hidden: bool = False


class Missed(NamedTuple):
    """A frame in which the face was not seen.

    Attributes:
        faces: that were seen, (n, 15).
        hidden: another is where it should be.
        elsewhere: somebody who was not beside it is somewhere else: a short shot, perhaps, of something else.
    """

    frame: int
    faces: Detections
    hidden: bool
    elsewhere: bool

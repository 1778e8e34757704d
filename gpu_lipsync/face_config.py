"""How faces are found and followed. No torch here: the command line is parsed before it is imported."""

from dataclasses import dataclass
from typing import Literal

from gpu_lipsync.config_checks import Sides, require_kinds
from gpu_lipsync.errors import ConfigError

HALF_WINDOW_S = 0.25
MODE_FACTORS = {"light": 1.5, "medium": 2.0, "strong": 3.0}  # of the window, with temporal_smooth
NO_BOX = (-1, -1, -1, -1)
MIN_BOX_PX = 16  # a smaller face has no mouth to speak of

Rect = tuple[int, int, int, int]  # x1 y1 x2 y2 in pixels, end exclusive


@dataclass(frozen=True, kw_only=True)
class FaceConfig:
    """Fields are the command's flags of like names.

    Raises:
        ConfigError: a value is out of its range.
    """

    pads: Sides = (0, 10, 0, 0)  # top bottom left right, added to a detected box, pixels
    box: Sides = NO_BOX  # top bottom left right: the box of every frame, pixels; all -1: detect
    det_batch_size: int = 16  # an upper bound; tracking.py says when fewer are taken
    det_stride: int = 5  # frames from one detection to the next, at 25 a second and more
    smooth: bool = True
    temporal_smooth: bool = False  # over a longer time: experimental, not recommended
    smooth_window: int = 3  # frames that temporal_smooth widens the window by
    smooth_mode: Literal["light", "medium", "strong"] = "medium"

    def __post_init__(self) -> None:
        """Refuse only what can never work."""
        require_kinds(self)
        for name in ("det_batch_size", "det_stride"):
            if getattr(self, name) < 1:
                raise ConfigError(f"face_{name} is {getattr(self, name)}; use 1 or more")
        if not 1 <= self.smooth_window <= 31:
            raise ConfigError(f"smooth_window is {self.smooth_window}; use 1 to 31")
        if self.smooth_mode not in MODE_FACTORS:
            raise ConfigError(f"smooth_mode is {self.smooth_mode!r}; use one of {', '.join(MODE_FACTORS)}")
        top, bottom, left, right = self.box
        if self.has_box and (min(top, left) < 0 or bottom <= top or right <= left):
            raise ConfigError(
                f"box {self.box} holds nothing; give top bottom left right in pixels, bottom > top >= 0, "
                "right > left >= 0"
            )
        if self.has_box and min(bottom - top, right - left) < MIN_BOX_PX:
            raise ConfigError(
                f"box {self.box} is {right - left}x{bottom - top} pixels; give the whole face, "
                f"{MIN_BOX_PX}x{MIN_BOX_PX} or more, as top bottom left right"
            )

    @property
    def has_box(self) -> bool:
        """Whether the box is given, so that no face need be found."""
        return tuple(self.box) != NO_BOX

    def stride(self, fps: float) -> int:
        """Frames from one detection to the next; below 25 a second as long a time as there: a head moves as far."""
        return max(1, round(self.det_stride * min(1.0, fps / 25)))

    def half_window(self, fps: float) -> int:
        """Frames before and after a frame that its box is smoothed over; 0: not at all."""
        frames = HALF_WINDOW_S * fps if self.smooth else 0.0
        if self.temporal_smooth:
            frames = HALF_WINDOW_S * fps * MODE_FACTORS[self.smooth_mode] + self.smooth_window // 2
        return round(frames)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of these settings."""
        if not self.temporal_smooth:
            return ()
        if self.has_box:
            return ("--temporal_smooth has no effect with --box, which is the same in every frame",)
        effect = "it smooths the face box, and flattens quick turns and nods"
        return (f"--temporal_smooth is experimental and not recommended: {effect}",)

"""How faces are found and followed. No torch here: the command line is parsed before it is imported."""

from dataclasses import dataclass
from typing import Literal, get_args

from gpu_lipsync.config_checks import Sides, require, require_choice, require_count, require_kinds
from gpu_lipsync.errors import ConfigError

HALF_WINDOW_S = 0.25
SmoothMode = Literal["light", "medium", "strong"]
# Of the window, with temporal_smooth.
MODE_FACTORS: dict[SmoothMode, float] = {"light": 1.5, "medium": 2.0, "strong": 3.0}
NO_BOX = (-1, -1, -1, -1)
MIN_BOX_PX = 16  # a smaller face has no mouth to speak of


@dataclass(frozen=True, kw_only=True)
class FaceConfig:
    """Fields are the command's flags of like names.

    Raises:
        ConfigError: a value is out of its range.
    """

    pads: Sides = (0, 10, 0, 0)  # top bottom left right, added to a detected box, pixels
    box: Sides = NO_BOX  # top bottom left right: the box of every frame, pixels; all -1: detect
    det_batch_size: int = 16  # an upper bound; `FaceTracker` says when fewer are taken
    det_stride: int = 5  # frames from one detection to the next, at 25 a second and more
    smooth: bool = True
    temporal_smooth: bool = False  # over a longer time: experimental, not recommended
    smooth_window: int = 3  # temporal_smooth adds half of it, rounded down, before and after
    smooth_mode: SmoothMode = "light"

    def __post_init__(self) -> None:
        """Refuse only what can never work."""
        require_kinds(self)
        for name in ("det_batch_size", "det_stride"):
            require_count(f"face_{name}", getattr(self, name))
        require(1 <= self.smooth_window <= 31, "smooth_window", self.smooth_window, "1 to 31")
        require_choice("smooth_mode", self.smooth_mode, get_args(SmoothMode))
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

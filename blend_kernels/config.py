"""The settings of a blend."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

BlendMethod = Literal["ellipse", "multiscale", "edge_aware", "guided", "hd", "original"]


@dataclass(frozen=True, kw_only=True)
class BlendConfig:
    """How a generated mouth is put into a face; checks itself.

    Raises:
        ValueError: a value is out of its range.
    """

    method: BlendMethod = "ellipse"
    mouth_region_size: float = 0.6  # the ellipse's size, relative to the face: 1 is its whole width
    blur_intensity: int = 51  # feather: Gaussian kernel, pixels, odd
    sharpen_mouth: bool = False
    sharpen_amount: float = 0.5
    keep_detail: bool = False  # the face's own, where the generator hardly changed it; off, a mode is its formula alone

    def __post_init__(self) -> None:
        if self.method not in get_args(BlendMethod):
            raise ValueError(f"method must be one of {', '.join(get_args(BlendMethod))}, got {self.method!r}")
        for name in ("mouth_region_size", "sharpen_amount"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise ValueError(f"{name} must be a number, got {value!r}")
        for name in ("sharpen_mouth", "keep_detail"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if not 0.1 <= self.mouth_region_size <= 1.0:
            raise ValueError(f"mouth_region_size must be 0.1 to 1.0, got {self.mouth_region_size}")
        whole = isinstance(self.blur_intensity, Integral) and not isinstance(self.blur_intensity, bool)
        if not whole or not 1 <= self.blur_intensity <= 201:
            raise ValueError(f"blur_intensity must be a whole number, 1 to 201, got {self.blur_intensity}")
        if self.blur_intensity % 2 == 0:
            raise ValueError(f"blur_intensity must be odd, got {self.blur_intensity}")
        if not 0 <= self.sharpen_amount <= 5:
            raise ValueError(f"sharpen_amount must be 0 to 5, got {self.sharpen_amount}")


def odd_kernel(size: int) -> int:
    """A kernel of even size made one larger, as the predecessor did; what BlendConfig is to refuse stays as it is."""
    return size + 1 if isinstance(size, Integral) and 0 < size < 202 and size % 2 == 0 else size

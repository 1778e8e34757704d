"""The colour matrices of video: what luma and chroma are made of."""

from typing import Literal

YuvMatrix = Literal["bt601", "bt709", "bt2020"]

_SHARES: dict[YuvMatrix, tuple[float, float]] = {  # of red and blue in luma, by the ITU-R recommendations
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
LUMA_BLACK, LUMA_LEVELS = 16, 219  # limited range: Y in 16..235, Cb and Cr in 16..240
CHROMA_GREY, CHROMA_LEVELS = 128, 224

Rows = tuple[tuple[float, ...], ...]


def chroma_shares(matrix: YuvMatrix) -> Rows:
    """What Cb and Cr, each in -0.5..0.5, add to red, green and blue in 0..1: three rows of two.

    Raises:
        ValueError: an unknown matrix.
    """
    red, green, blue = _shares(matrix)
    of_blue, of_red = 2 * (1 - blue), 2 * (1 - red)
    return (0.0, of_red), (-of_blue * blue / green, -of_red * red / green), (of_blue, 0.0)


def luma_row(matrix: YuvMatrix) -> Rows:
    """Levels of Y above black, limited range, for each level of red, green and blue: one row of three.

    Raises:
        ValueError: an unknown matrix.
    """
    return (tuple(LUMA_LEVELS / 255 * share for share in _shares(matrix)),)


def chroma_rows(matrix: YuvMatrix) -> Rows:
    """Levels of Cb and Cr above grey, limited range, for each level of red, green and blue: two rows of three.

    Raises:
        ValueError: an unknown matrix.
    """
    red, green, blue = _shares(matrix)
    blueness, redness = CHROMA_LEVELS / 510 / (1 - blue), CHROMA_LEVELS / 510 / (1 - red)
    return (
        (-blueness * red, -blueness * green, blueness * (1 - blue)),
        (redness * (1 - red), -redness * green, -redness * blue),
    )


def _shares(matrix: YuvMatrix) -> tuple[float, float, float]:
    """Of red, green and blue in luma."""
    if matrix not in _SHARES:
        raise ValueError(f"matrix must be one of {', '.join(_SHARES)}, got {matrix!r}")
    red, blue = _SHARES[matrix]
    return red, 1.0 - red - blue, blue

"""How a video stream says what its numbers mean as colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpu_lipsync.ops.yuv_matrix import YuvMatrix

UNSPECIFIED = 2
_MATRIX_NUMBERS: dict[YuvMatrix, int] = {"bt601": 6, "bt709": 1}
# What is not tagged is taken for BT.601, as swscale and most players do.
_MATRICES: dict[int, YuvMatrix] = {1: "bt709", UNSPECIFIED: "bt601", 5: "bt601", 6: "bt601"}
_FULL_RANGE = 2  # of AVColorRange
_HDR_CURVES = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class Colours:
    """Matrix, primaries and transfer curve of a stream in limited range.

    Attributes:
        matrix: between RGB and the stream's planes.
        primaries: number in ITU-T H.273, which FFmpeg uses too.
        transfer: the same.
    """

    matrix: YuvMatrix
    primaries: int
    transfer: int

    @property
    def matrix_number(self) -> int:
        """The matrix in ITU-T H.273; two of them are BT.601's."""
        return _MATRIX_NUMBERS[self.matrix]


BT709 = Colours("bt709", 1, 1)


def hdr_curve(transfer: int) -> str | None:
    """Name of a transfer curve of high dynamic range; None for any other."""
    return _HDR_CURVES.get(transfer)


def plain_colours(frame: Any) -> Colours | None:
    """Of an av.VideoFrame in 8-bit 4:2:0, limited range, BT.601 or BT.709: what can be written as it was read.

    None if it has to be converted.
    """
    matrix = _MATRICES.get(int(frame.colorspace))
    plain = frame.format.name == "yuv420p" and frame.color_range != _FULL_RANGE and not hdr_curve(frame.color_trc)
    return Colours(matrix, int(frame.color_primaries), int(frame.color_trc)) if matrix and plain else None

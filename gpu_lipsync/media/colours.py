"""How a video stream says what its numbers mean as colours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from gpu_lipsync.ops.yuv_matrix import YuvMatrix

HdrCurve = Literal["PQ", "HLG"]

UNSPECIFIED = 2
FULL_RANGE = 2  # of AVColorRange
HD_LINES = 720  # from here on Chromium takes what is not tagged for BT.709, below for BT.601 (mpv draws other lines)
KEPT_FORMAT = "yuv420p"  # FFmpeg's name of 8-bit 4:2:0
_STAYING = {KEPT_FORMAT, "yuv420p10le"}  # a tenth of the work that converting to RGB and back would be
_MATRICES: dict[int, YuvMatrix] = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
# Numbers of matrices in ITU-T H.273: those that FFmpeg's scaler converts, and what is nearest to some of the others.
_READABLE, _NEAREST = {1, 2, 4, 5, 6, 7, 9}, {10: 9}
_NUMBERS: dict[YuvMatrix, int] = {"bt709": 1, "bt601": 6}
_WIDE_PRIMARIES = {9, 11, 12}  # BT.2020's and P3's; others are BT.709's but for a shade
_HDR_CURVES: dict[int, HdrCurve] = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class Colours:
    """Matrix, primaries and transfer curve of a stream in limited range.

    Attributes:
        matrix: between RGB and the stream's planes.
        number: of the matrix in ITU-T H.273; two are BT.601's, and that of a stream which does not say is UNSPECIFIED.
        primaries: number in ITU-T H.273, which FFmpeg uses too.
        transfer: the same.
    """

    matrix: YuvMatrix
    number: int
    primaries: int
    transfer: int


BT709 = Colours("bt709", 1, 1, 1)


def hdr_curve(transfer: int) -> HdrCurve | None:
    """Name of a transfer curve of high dynamic range; None for any other."""
    return _HDR_CURVES.get(transfer)


def plain_colours(frame: Any) -> Colours | None:
    """Of an av.VideoFrame in 4:2:0 of 8 or 10 bits, limited range, BT.601 or BT.709: what can be written as it was
    read, or with two bits less. None if it has to be converted.
    """
    number = int(frame.colorspace)
    matrix = matrix_of(number, frame.height)
    kept = frame.format.name in _STAYING and frame.color_range != FULL_RANGE
    if matrix not in _NUMBERS or not kept or hdr_curve(frame.color_trc):
        return None
    return Colours(matrix, number, int(frame.color_primaries), int(frame.color_trc))


def in_readable_matrix(frame: Any) -> Any:
    """The same av.VideoFrame; where it is tagged with a matrix that FFmpeg's scaler refuses (YCgCo, ICtCp, IPT and
    others), as one that does not say, and constant luminance as plain BT.2020.
    """
    number = int(frame.colorspace)
    if not frame.format.is_rgb and number not in _READABLE:
        frame.colorspace = _NEAREST.get(number, UNSPECIFIED)
    return frame


def tagged_at(height: int, colours: Colours) -> Colours:
    """What to write of pictures of that height: those that do not say count as another matrix's at some, where they
    have been turned upright; these say.
    """
    silent = colours.number == UNSPECIFIED and guessed_matrix(height) != colours.matrix
    return replace(colours, number=_NUMBERS[colours.matrix]) if silent else colours


def rgb_colours(frame: Any) -> Colours:
    """What RGB made of an av.VideoFrame is written as: only the matrix has been changed, not what its colours mean."""
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    wide = primaries in _WIDE_PRIMARIES and not hdr_curve(transfer)
    return replace(BT709, primaries=primaries, transfer=transfer) if wide else BT709


def is_untagged_hd(frame: Any) -> bool:
    """Whether an av.VideoFrame is taken for BT.709 by its size alone. FFmpeg and decord would take it for BT.601."""
    return is_yuv(frame) and int(frame.colorspace) == UNSPECIFIED and guessed_matrix(frame.height) == "bt709"


def is_yuv(frame: Any) -> bool:
    """Whether an av.VideoFrame holds luma and chroma."""
    return not frame.format.is_rgb and len(frame.format.components) >= 3


def matrix_of(number: int, height: int) -> YuvMatrix | None:
    """Of a number in ITU-T H.273, or of pictures of that height which do not say; None for one not known here."""
    return guessed_matrix(height) if number == UNSPECIFIED else _MATRICES.get(number)


def swscale_matrix(number: int) -> str:
    """FFmpeg's scaler's name of the matrix of HDR pictures, which are BT.2020 unless they say otherwise."""
    return _MATRICES.get(number, "bt2020")


def guessed_matrix(height: int) -> YuvMatrix:
    """Of pictures that do not say."""
    return "bt709" if height >= HD_LINES else "bt601"

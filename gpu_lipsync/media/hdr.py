"""Pictures of high dynamic range, which phones film by default, as those of BT.709 that browsers show.

What a display of HDR shows with 203 candela a square metre, its white of text, is a little below white here. Up to 92,
where most skin lies, colours are the same as there; from there to 1000 they are rolled off. FFmpeg's filters look that
up in a table, in float.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_lipsync.media.colours import FULL_RANGE, HdrCurve, is_yuv, swscale_matrix

_WHITE, _PEAK = 203.0, 1000.0  # cd/m2: of graphics (ITU-R BT.2408), and of HLG's nominal display (BT.2100)
_SDR_GAMMA = 2.4  # ITU-R BT.1886
_HALD_LEVEL = 8  # 64 steps an axis: random colours are 0.5 to 0.6 levels off in the mean; with 36 0.6 to 1.0
# x and y of red, green, blue; white is D65 for all. Numbers of ITU-T H.273: BT.709, BT.2020, P3 of displays.
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)
# PQ, SMPTE ST 2084
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# HLG, ARIB STD-B67
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073

_Floats = NDArray[np.float64]


class SdrConversion:
    """Turns av.VideoFrames with an HDR curve into BT.709 of 8 bits.

    Args:
        curve: of the clip.
    """

    def __init__(self, curve: HdrCurve) -> None:
        self._curve: HdrCurve = curve
        self._graph: Any = None
        self._built_for: tuple[object, ...] = ()
        self._n_pushed = 0

    def __call__(self, frame: Any, pixel_format: str, *, width: int, height: int) -> Any:
        """The frame in FFmpeg's rgb24, or in a YUV format in limited range, and that size."""
        primaries = int(frame.color_primaries)
        matrix = swscale_matrix(int(frame.colorspace)) if is_yuv(frame) else None
        full = frame.color_range == FULL_RANGE
        wanted = (frame.width, frame.height, frame.format.name, primaries, matrix, full, pixel_format, width, height)
        if wanted != self._built_for:  # with the first, and in clips that change on the way
            self._graph, self._built_for, self._n_pushed = self._built(frame, *wanted[3:]), wanted, 0
        stamp, frame.pts = frame.pts, self._n_pushed  # of clips played again it begins anew, and filters wait for none
        self._n_pushed += 1
        try:
            self._graph.push(frame, at=0)
        finally:
            frame.pts = stamp
        return self._graph.pull()

    def _built(
        self, frame: Any, primaries: int, matrix: str | None, full: bool, pixel_format: str, width: int, height: int
    ) -> Any:
        import av

        graph = av.filter.Graph()
        tick = Fraction(1, 25)  # any: pictures are counted
        picture = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=tick)
        coded = "" if matrix is None else f":in_color_matrix={matrix}:in_range={'full' if full else 'limited'}"
        resized = graph.add("scale", f"{width}:{height}:flags=bicubic+accurate_rnd{coded}")
        exact = graph.add("format", "gbrpf32le")
        side = _HALD_LEVEL**3
        table = graph.add_buffer(width=side, height=side, format=av.VideoFormat("gbrpf32le"), time_base=tick)
        looked_up = graph.add("haldclut", "clut=first:interp=tetrahedral")
        out_range = "full" if pixel_format == "rgb24" else "limited"
        written = graph.add("scale", f"out_color_matrix=bt709:out_range={out_range}:flags=bicubic+accurate_rnd")
        last = graph.add("format", pixel_format)
        graph.link_nodes(picture, resized, exact, looked_up, written, last, graph.add("buffersink"))
        table.link_to(looked_up, 0, 1)
        graph.configure()
        clut = av.VideoFrame.from_ndarray(_hald_clut(self._curve, primaries), format="gbrpf32le")
        clut.pts, clut.time_base = 0, tick
        table.push(clut)
        table.push(None)
        return graph


def to_sdr(signal: _Floats, curve: HdrCurve, primaries: int) -> _Floats:
    """HDR colours as colours of BT.709.

    Args:
        signal: (..., 3) non-linear RGB, 0 to 1.
        curve: what they are coded with.
        primaries: number in ITU-T H.273; those that are not known count as BT.2020's.

    Returns:
        (..., 3) non-linear RGB of BT.709, 0 to 1.

    Reference: ITU-R BT.2100 for the light that PQ and HLG stand for, BT.2390 (5.4.1, on the largest of the three, which
        keeps hues) for the roll-off, BT.1886.
    """
    weights, to_bt709 = _luminance_and_bt709(primaries)
    light = np.maximum(_light(signal, curve, weights) @ to_bt709.T, 0.0)
    largest = light.max(axis=-1, keepdims=True)
    rolled = _rolled_off(largest) / np.maximum(largest, 1e-9)
    sdr: _Floats = np.clip(light * rolled / _WHITE, 0.0, 1.0) ** (1 / _SDR_GAMMA)
    return sdr


@lru_cache(maxsize=2)
def _hald_clut(curve: HdrCurve, primaries: int) -> NDArray[np.float32]:
    """The table as FFmpeg's haldclut takes it: (512, 512, 3), red fastest, then green, then blue."""
    steps = np.linspace(0.0, 1.0, _HALD_LEVEL**2)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    side = _HALD_LEVEL**3
    table = to_sdr(np.stack([red, green, blue], axis=-1).reshape(side, side, 3), curve, primaries)
    return table.astype(np.float32)


def _light(signal: _Floats, curve: HdrCurve, weights: _Floats) -> _Floats:
    """cd/m2 of a display of 1000 (HLG), or those that are meant (PQ)."""
    if curve == "PQ":
        return _pq_light(signal)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _C) / _A) + _B) / 12)
    luminance = (scene @ weights)[..., None]
    light: _Floats = _PEAK * luminance**0.2 * scene
    return light


def _pq_light(signal: _Floats) -> _Floats:
    root = signal ** (1 / _M2)
    light: _Floats = 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    return light


def _pq_signal(light: _Floats | float) -> _Floats:
    root = (np.asarray(light) / 10_000) ** _M1
    signal: _Floats = ((_C1 + _C2 * root) / (1 + _C3 * root)) ** _M2
    return signal


def _rolled_off(light: _Floats) -> _Floats:
    """Of 0 to 1000 cd/m2, 0 to 203: the same up to the knee, a Hermite spline in PQ's terms from there."""
    peak = _pq_signal(_PEAK)
    white = _pq_signal(_WHITE) / peak
    knee = 1.5 * white - 0.5
    at = np.minimum(_pq_signal(light) / peak, 1.0)
    t = np.maximum(at - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return np.where(at < knee, light, _pq_light(spline * peak))


def _luminance_and_bt709(primaries: int) -> tuple[_Floats, _Floats]:
    """What each primary adds to luminance, (3,), and the matrix to BT.709's, (3, 3)."""
    to_xyz = _xyz_of(_PRIMARIES.get(primaries, _PRIMARIES[9]))
    return to_xyz[1], np.linalg.inv(_xyz_of(_PRIMARIES[1])) @ to_xyz


def _xyz_of(primaries: tuple[tuple[float, float], ...]) -> _Floats:
    """The matrix from linear RGB to CIE XYZ (SMPTE RP 177)."""
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in (*primaries, _D65)]).T
    basis, white = columns[:, :3], columns[:, 3]
    matrix: _Floats = basis * np.linalg.solve(basis, white)
    return matrix

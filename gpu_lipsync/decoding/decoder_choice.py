"""Which decoder reads a clip: those that may are asked in turn, and the first that can is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from gpu_lipsync.config import DecoderName
from gpu_lipsync.decoding.decoders import (
    Decoder,
    DecoderUnavailableError,
    NoCudaBuildError,
    Rescued,
    TorchcodecDecoder,
    require_same_picture,
)
from gpu_lipsync.decoding.decord_decoder import DecordDecoder
from gpu_lipsync.decoding.nvdec import NvdecDecoder
from gpu_lipsync.decoding.planar_decoder import PlanarDecoder
from gpu_lipsync.decoding.pyav_decoder import PyavDecoder
from gpu_lipsync.errors import ConfigError, MediaError
from gpu_lipsync.media.video_info import VideoInfo

_DECORD_AHEAD_BYTES = 512 << 20  # 10 s of 720p


def choose_decoder(
    info: VideoInfo, wanted: DecoderName, device: torch.device, notes: list[str], *, as_decoded: bool = False
) -> Decoder:
    """The first decoder that can read a clip.

    Args:
        info: the clip.
        wanted: the kind of decoder, or auto.
        device: where frames are to be; decoders that decode there come first.
        notes: is added to: why another decoder than the first does it, and what that finds as it decodes.
        as_decoded: frames may stay 4:2:0.

    Raises:
        ConfigError: the decoder `wanted` cannot.
        MediaError: none can.
    """
    reasons: list[DecoderUnavailableError] = []

    def tell(note: str) -> None:
        if note not in notes:  # however often the clip is played
            notes.append(note)

    for candidate in _candidates(info, wanted, device, tell, as_decoded=as_decoded):
        try:
            decoder = candidate.build()
            if candidate.doubtful:
                require_same_picture(decoder, info)
            if candidate.stops_at_damage and wanted == "auto":
                decoder = Rescued(decoder, info, tell)
        except DecoderUnavailableError as error:
            # Its traceback leads here, to `reasons`, and to whatever decoder is chosen: a circle that would outlive it.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            reasons.append(error)
            continue
        # All of them or nothing: that a decoder is not built for GPUs is no news, but explains what is.
        if any(wanted != "auto" or not isinstance(reason, NoCudaBuildError) for reason in reasons):
            notes.append(f"decoding with {decoder.name}: {_joined(reasons)}")
        return decoder
    if wanted == "auto":
        raise MediaError(f"no decoder can read {info.path} ({_joined(reasons)}); re-encode it as H.264")
    raise ConfigError(f"--decoder {wanted} cannot read {info.path} ({_joined(reasons)}); use --decoder auto")


def _joined(reasons: list[DecoderUnavailableError]) -> str:
    return "; ".join(map(str, reasons))


class _Candidate(NamedTuple):
    """A decoder that may be taken.

    Attributes:
        may: whether it is asked at all here.
        doubtful: whether it is to show first that its picture is FFmpeg's.
    """

    name: DecoderName
    build: Callable[[], Decoder]
    may: bool = True
    doubtful: bool = False
    stops_at_damage: bool = False


def _candidates(
    info: VideoInfo, wanted: DecoderName, device: torch.device, tell: Callable[[str], None], *, as_decoded: bool
) -> list[_Candidate]:
    """Those that may be taken, in the order in which they are asked."""
    on_gpu, cpu, by_name = device.type == "cuda", torch.device("cpu"), wanted != "auto"
    turned = bool(info.rotation)  # of the ways in which that is said, decord knows one
    ahead = None if by_name else _DECORD_AHEAD_BYTES
    planar = as_decoded and PlanarDecoder.can_read(info)
    all_of_them = (
        _Candidate("pyav", lambda: PlanarDecoder(info, tell), may=planar),
        _Candidate(
            "decord", lambda: DecordDecoder(info, device=device), may=on_gpu, doubtful=True, stops_at_damage=True
        ),
        _Candidate("pyav", lambda: NvdecDecoder(info, device, tell), may=on_gpu, doubtful=True),
        _Candidate(
            "torchcodec",
            lambda: TorchcodecDecoder(info, device=device, on_host=by_name),
            may=on_gpu or wanted == "torchcodec",
            doubtful=True,
            stops_at_damage=True,
        ),
        _Candidate(
            "decord",
            lambda: DecordDecoder(info, device=cpu, max_ahead_bytes=ahead),
            doubtful=turned,
            stops_at_damage=True,
        ),
        _Candidate("pyav", lambda: PyavDecoder(info, tell)),
    )
    return [candidate for candidate in all_of_them if candidate.may and wanted in ("auto", candidate.name)]

"""Which decoder reads a clip: those that may are asked in turn, and the first that can is taken."""

from __future__ import annotations

from collections.abc import Callable

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

    for build, doubtful, stops in _candidates(info, wanted, device, tell, as_decoded=as_decoded):
        try:
            decoder = build()
            if doubtful:
                require_same_picture(decoder, info)
            if stops and wanted == "auto":
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


def _candidates(
    info: VideoInfo, wanted: DecoderName, device: torch.device, tell: Callable[[str], None], *, as_decoded: bool
) -> list[tuple[Callable[[], Decoder], bool, bool]]:
    """What builds each decoder that may be taken, in the order in which they are asked; whether it is to show that its
    picture is FFmpeg's; and whether it stops at damage.
    """
    on_gpu, cpu, by_name = device.type == "cuda", torch.device("cpu"), wanted != "auto"
    turned = bool(info.rotation)  # of the ways in which that is said, decord knows one
    ahead = None if by_name else _DECORD_AHEAD_BYTES
    torchcodec = on_gpu or wanted == "torchcodec"
    table: tuple[tuple[DecoderName, bool, Callable[[], Decoder], bool, bool], ...] = (
        ("pyav", as_decoded and PlanarDecoder.can_read(info), lambda: PlanarDecoder(info, tell), False, False),
        ("decord", on_gpu, lambda: DecordDecoder(info, device=device), True, True),
        ("pyav", on_gpu, lambda: NvdecDecoder(info, device, tell), True, False),
        ("torchcodec", torchcodec, lambda: TorchcodecDecoder(info, device=device, on_host=by_name), True, True),
        ("decord", True, lambda: DecordDecoder(info, device=cpu, max_ahead_bytes=ahead), turned, True),
        ("pyav", True, lambda: PyavDecoder(info, tell), False, False),
    )
    return [(build, doubtful, stops) for name, may, build, doubtful, stops in table if may and wanted in ("auto", name)]

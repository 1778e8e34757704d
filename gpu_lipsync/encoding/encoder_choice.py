"""Which encoder writes the output: NVENC where it opens, else libx264."""

from __future__ import annotations

import errno
from pathlib import Path

import torch

from gpu_lipsync.config import EncodeConfig
from gpu_lipsync.encoding.encoders import PyavBackend, X264Backend, cannot_write
from gpu_lipsync.encoding.nvenc import NvencBackend
from gpu_lipsync.encoding.streams import StreamShape
from gpu_lipsync.errors import EncodeError, first_line
from gpu_lipsync.process.lack_of_memory import is_lack_of_memory

# ITU-T H.264, table A-1: MaxFS of the levels up to 5.2, the highest that decoders in hardware commonly have.
_MACROBLOCK_PX, _MACROBLOCKS_OF_LEVEL_5_2 = 16, 36864


def open_backend(
    path: Path, shape: StreamShape, config: EncodeConfig, device: torch.device, notes: list[str], *, target: Path
) -> PyavBackend:
    """Open the encoder asked for on `path`, or libx264 with a note that says why.

    `target` is the output's final name, by which errors call it.
    """
    import av
    from av.codec.codec import UnknownCodecError  # an FFmpeg built without it; no av.FFmpegError

    wanted = config.encoder
    macroblocks = -(-shape.width // _MACROBLOCK_PX) * -(-shape.height // _MACROBLOCK_PX)
    if macroblocks > _MACROBLOCKS_OF_LEVEL_5_2:
        height, width = shape.written_size
        notes.append(
            f"frames of {width}x{height} are more than most phones and hardware players take (H.264 level 6); "
            "--resize_factor 2 halves their sides"
        )
    if config.crf == 0:
        notes.append("crf 0 is lossless H.264 (High 4:4:4 Predictive), which browsers and phones do not play")
    if wanted == "h264_nvenc" and device.type != "cuda":
        raise EncodeError(f"encoder h264_nvenc needs a CUDA device, got {device}; use --encoder auto or libx264")
    # FFmpeg's NVENC is reported to crash on detailed pictures in CUDA's memory at the finest quantisers.
    risky = config.crf == 0 and wanted == "auto"
    if risky and device.type == "cuda":
        notes.append("encoding with libx264: h264_nvenc may fail at crf 0; --encoder h264_nvenc tries it")
    if wanted != "libx264" and device.type == "cuda" and not risky:
        try:
            return NvencBackend(path, shape, config, device)
        except (av.FFmpegError, UnknownCodecError) as error:
            reason = first_line(error)
            if getattr(error, "errno", None) == errno.ENOSYS:  # FFmpeg's one word for all of these
                reason = "this GPU has no NVENC, or not for such pictures, or its driver is older than FFmpeg wants"
            if wanted == "h264_nvenc":
                raise EncodeError(f"h264_nvenc does not open here ({reason}); use --encoder libx264") from error
            notes.append(f"encoding with libx264: h264_nvenc does not open here ({reason})")
        except RuntimeError as error:  # PyTorch's, of memory for its pictures: smaller batches would not give any
            if wanted == "h264_nvenc" or not is_lack_of_memory(error):
                raise
            notes.append("encoding with libx264: the device has no memory left for h264_nvenc")
    try:
        return X264Backend(path, shape, config, device)
    except UnknownCodecError as error:
        raise EncodeError("this PyAV's FFmpeg has no libx264; install `av` from the package index") from error
    except (av.FFmpegError, OSError) as error:
        raise cannot_write(target, error) from error


def encoder_errors() -> tuple[type[Exception], ...]:
    """What FFmpeg's encoders and muxers raise in PyAV: OSErrors in part only."""
    import av

    return (OSError, av.FFmpegError)

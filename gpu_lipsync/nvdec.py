"""NVDEC through PyAV's own FFmpeg: pictures are decoded on the device and stay there. Has not run on hardware yet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from gpu_lipsync.decoders import DecoderUnavailableError, PyavDecoder, coded_size
from gpu_lipsync.errors import MediaError
from gpu_lipsync.ops.yuv import YuvMatrix, nv12_to_rgb
from gpu_lipsync.video_info import VideoInfo

# By AVColorSpace and AVColorRange; what is not tagged is taken for BT.601, limited range, as swscale and players do.
_MATRICES: dict[int, YuvMatrix] = {1: "bt709", 9: "bt2020", 10: "bt2020"}
_FULL_RANGE = 2


class NvdecDecoder(PyavDecoder):
    """FFmpeg with its CUDA decoder; the conversion to RGB and the rotation are PyTorch's.

    Nothing is needed from the system but the driver. Frames lost to damage are held as on the CPU.

    Args:
        info: the clip.
        device: where it decodes.

    Raises:
        DecoderUnavailableError: no driver, a codec or bit depth that this GPU does not decode to NV12, or an odd side.
    """

    def __init__(self, info: VideoInfo, device: torch.device) -> None:
        import av
        from av.codec.hwaccel import HWAccel

        self._device = device
        self._info = info
        self._hardware: Any = None
        self._coded_width, self._coded_height = coded_size(info)
        if self._coded_width % 2 or self._coded_height % 2:
            raise DecoderUnavailableError(f"NVDEC through PyAV: no odd sides ({info.width}x{info.height})")
        try:
            if device.type == "cuda":
                index = torch.cuda.current_device() if device.index is None else device.index
                self._hardware = HWAccel("cuda", device=str(index), allow_software_fallback=False, is_hw_owned=True)
            self._matrix: YuvMatrix = "bt601"
            self._full_range = False
            next(self._frames(0, 1))  # whether NVDEC takes this stream is known after the first frame only
        except (MediaError, av.FFmpegError, NotImplementedError, RuntimeError, StopIteration) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise DecoderUnavailableError(f"NVDEC through PyAV on {device.type}: {reason}") from error
        self.name = f"NVDEC through PyAV {av.__version__} on {device.type}"

    def _kept(self, frame: Any) -> Tensor:
        """NV12 (H * 3 // 2, W) of a decoded picture, copied: the decoder writes the next one over it."""
        kind = (frame.sw_format or frame.format).name
        if kind != "nv12" or (frame.width, frame.height) != (self._coded_width, self._coded_height):
            raise MediaError(
                f"{self._info.path} becomes {frame.width}x{frame.height} {kind} on the way, where NVDEC has to stay "
                f"with {self._coded_width}x{self._coded_height} nv12; pass --decoder decord, or re-encode it"
            )
        self._matrix = _MATRICES.get(frame.colorspace, "bt601")
        self._full_range = frame.color_range == _FULL_RANGE
        kept = torch.empty((frame.height * 3 // 2, frame.width), dtype=torch.uint8, device=self._device)
        stream = torch.cuda.current_stream(self._device) if kept.is_cuda else None
        if stream is not None:
            stream.wait_stream(torch.cuda.default_stream(self._device))  # on which FFmpeg puts the picture there
        # By capsule: PyAV does not take the stream that `torch.from_dlpack` would hand it.
        luma, chroma = (from_dlpack(plane.__dlpack__()) for plane in frame.planes)
        kept[: frame.height].copy_(luma)
        kept[frame.height :].copy_(chroma.flatten(1))
        if stream is not None:
            stream.synchronize()  # the host, which is this decoding thread alone, before it lets go of the picture
        return kept

    def _rgb(self, kept: Tensor) -> Tensor:
        return nv12_to_rgb(kept, matrix=self._matrix, full_range=self._full_range)

"""PyAV on the CPU with pictures left as the codec made them, for `Yuv420Frames`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_lipsync.colours import UNSPECIFIED, Colours, plain_colours
from gpu_lipsync.decoders import DecoderUnavailableError
from gpu_lipsync.frame_layout import FrameLayout, Yuv420Frames
from gpu_lipsync.pyav_decoder import PyavDecoder
from gpu_lipsync.video_info import VideoInfo


class PlanarDecoder(PyavDecoder):
    """Batches of (n, H * 3 // 2, W) uint8, as `ops.yuv420` has them.

    Args:
        info, tell: as for PyavDecoder.

    Raises:
        DecoderUnavailableError: the clip is not 8-bit 4:2:0 in plain colours, has an odd side, or is not shown
            as it is coded.
    """

    def __init__(self, info: VideoInfo, tell: Callable[[str], None] | None = None) -> None:
        if info.colours is None or not self.can_read(info):
            raise DecoderUnavailableError(f"{info.path.name} is not 4:2:0 that can stay as it is")
        super().__init__(info, tell)
        self.name += ", 4:2:0"
        self.colours: Colours = info.colours
        self.layout: FrameLayout = Yuv420Frames(info.colours.matrix)

    @staticmethod
    def can_read(info: VideoInfo) -> bool:
        """Whether the clip's frames can stay as they are coded."""
        as_coded = not (info.rotation or info.mirrored)
        return info.colours is not None and as_coded and not (info.width % 2 or info.height % 2)

    def _kept(self, frame: Any) -> Any:
        if (frame.width, frame.height) != (self._coded_width, self._coded_height) or self._differs(frame):
            from av.video.reformatter import ColorRange, Colorspace, Interpolation

            return frame.reformat(
                width=self._coded_width,
                height=self._coded_height,
                format="yuv420p",
                # What is not tagged swscale takes for BT.601, where the clip may count as BT.709 for its size.
                src_colorspace=self._space if frame.colorspace == UNSPECIFIED else None,
                # FFmpeg's scaler counts matrices in its own way, and leaves pictures alone if told of one it lacks.
                dst_colorspace=Colorspace.ITU709 if self.colours.matrix == "bt709" else Colorspace.ITU601,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
                threads=1,
            )
        return frame

    def _differs(self, frame: Any) -> bool:
        """Whether a frame's colours are not those of the first: rare, but streams may change on the way."""
        colours = plain_colours(frame)
        return colours is None or colours.matrix != self.colours.matrix

    def _batch(self, kept: list[Any]) -> Tensor:
        height, width = self._coded_height, self._coded_width
        batch = torch.empty((len(kept), height * 3 // 2, width), dtype=torch.uint8)
        for rows, frame in zip(batch.numpy(), kept, strict=True):
            chroma = rows[height:].reshape(2, height // 2, width // 2)
            for plane, out in zip(frame.planes, (rows[:height], *chroma), strict=True):
                lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                out[:] = lines[: len(out), : out.shape[1]]
        return batch

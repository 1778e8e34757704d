"""PyAV on the CPU with pictures left 4:2:0, as the codec made them, for `Yuv420Frames`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu_lipsync.decoding.decoders import DecoderUnavailableError
from gpu_lipsync.decoding.frame_layout import FrameLayout, Yuv420Frames
from gpu_lipsync.decoding.pyav_decoder import PyavDecoder
from gpu_lipsync.media.colours import BT709, KEPT_FORMAT, UNSPECIFIED, Colours, plain_colours, tagged_at
from gpu_lipsync.media.video_info import VideoInfo


class PlanarDecoder(PyavDecoder):
    """Batches of (n, H * 3 // 2, W) uint8, as `ops.yuv420` has them; planes are turned and mirrored as metadata says,
    ten bits become eight, HDR becomes SDR.

    Args:
        info, tell: as for PyavDecoder.

    Raises:
        DecoderUnavailableError: the clip is not 4:2:0 in plain colours, or has an odd side.
    """

    def __init__(self, info: VideoInfo, tell: Callable[[str], None] | None = None) -> None:
        if not self.can_read(info):
            raise DecoderUnavailableError(f"{info.path.name} is not 4:2:0 that can stay as it is")
        super().__init__(info, tell)
        self.name += ", 4:2:0"
        self.colours: Colours = BT709 if info.colours is None else tagged_at(info.height, info.colours)
        self.layout: FrameLayout = Yuv420Frames(self.colours.matrix)

    @staticmethod
    def can_read(info: VideoInfo) -> bool:
        """Whether the clip's frames can stay 4:2:0, or have to be converted and can become it."""
        return (info.colours is not None or info.hdr is not None) and not (info.width % 2 or info.height % 2)

    def _kept(self, frame: Any) -> Any:
        if self._to_sdr is not None:
            return self._to_sdr(frame, KEPT_FORMAT, width=self._coded_width, height=self._coded_height)
        if not self._is_like_first(frame):
            from av.video.reformatter import ColorRange, Colorspace, Interpolation

            return frame.reformat(
                width=self._coded_width,
                height=self._coded_height,
                format=KEPT_FORMAT,
                # What is not tagged swscale takes for BT.601, where the clip may count as BT.709 for its size.
                src_colorspace=self._space if frame.colorspace == UNSPECIFIED else None,
                # FFmpeg's scaler counts matrices in its own way, and leaves pictures alone if told of one it lacks.
                dst_colorspace=Colorspace.ITU709 if self.colours.matrix == "bt709" else Colorspace.ITU601,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
                threads=1,
            )
        return frame if frame.format.name == KEPT_FORMAT else frame.reformat(format=KEPT_FORMAT, threads=1)

    def _is_like_first(self, frame: Any) -> bool:
        """Whether a frame has the size and the colours of the first; streams may change on the way, if rarely."""
        colours = plain_colours(frame)
        same = colours is not None and colours.matrix == self.colours.matrix
        return same and (frame.width, frame.height) == (self._coded_width, self._coded_height)

    def _batch(self, kept: list[Any]) -> Tensor:
        height, width = self._info.height, self._info.width
        batch = torch.empty((len(kept), height * 3 // 2, width), dtype=torch.uint8)
        for rows, frame in zip(batch.numpy(), kept, strict=True):
            chroma = rows[height:].reshape(2, height // 2, width // 2)
            for plane, out in zip(frame.planes, (rows[:height], *chroma), strict=True):
                coded = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
                upright = coded[::-1] if self._info.mirrored else coded
                out[:] = np.rot90(upright, self._info.rotation // 90)
        return batch

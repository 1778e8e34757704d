"""RGB to the planes that video encoders take."""

import torch
from torch import Tensor
from torch.nn import functional

# ITU-R BT.709, limited range: Y in 16..235, Cb and Cr in 16..240.
_KR, _KB = 0.2126, 0.0722


def rgb_to_yuv420(frames: Tensor) -> Tensor:
    """Convert RGB frames to planar 4:2:0, BT.709, limited range; chroma is the mean of its four pixels.

    Half the bytes of RGB, which is what has to leave the device where no encoder runs on it.

    Args:
        frames: (B, 3, H, W) uint8 RGB, H and W even.

    Returns:
        (B, H * 3 // 2, W) uint8: H rows of Y, then the Cb plane and the Cr plane, as FFmpeg's yuv420p.

    Raises:
        ValueError: wrong shape or dtype, or an odd side.

    Reference: swscale's rgb24 to yuv420p with accurate_rnd, within 1 level (2 in chroma, whose siting differs).
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
        raise ValueError(f"frames must be (B, 3, H, W) uint8, got {tuple(frames.shape)}, {frames.dtype}")
    n, _, height, width = frames.shape
    if height % 2 or width % 2:
        raise ValueError(f"both sides must be even for 4:2:0, got {width}x{height}")
    red, green, blue = frames.float().unbind(1)
    luma = _KR * red + (1.0 - _KR - _KB) * green + _KB * blue
    chroma_blue = (blue - luma) * (112.0 / 255.0 / (1.0 - _KB)) + 128.0
    chroma_red = (red - luma) * (112.0 / 255.0 / (1.0 - _KR)) + 128.0
    chroma = functional.avg_pool2d(torch.stack((chroma_blue, chroma_red), dim=1), 2)
    planes = torch.cat(
        ((luma * (219.0 / 255.0) + 16.0).reshape(n, -1), chroma.reshape(n, -1)),
        dim=1,
    )
    return planes.round_().clamp_(0, 255).to(torch.uint8).view(n, height * 3 // 2, width)

"""The generator's convolutions in the form that takes a CPU the least time: under two thirds of PyTorch's own.

The same sums in another order: in float32 mouths differ by less than 0.05 levels.
"""

import torch
from torch import nn

from gpu_lipsync.models.onednn import OnednnBlock, has_onednn
from gpu_lipsync.models.subpixel import OnePixelBlock, SubpixelBlock
from gpu_lipsync.models.wav2lip import FACE_SIZE, ConvBlock, Wav2Lip
from gpu_lipsync.models.winograd import WinogradBlock

# Below, the transforms and their memory traffic cost what the fewer multiplications save (64 channels at 96 px break
# even, 64 at 24 px gain a tenth).
LEAST_CHANNELS = 128
SUBPIXEL_SIDES_PX = (3, 6)  # of the input; above, PyTorch's transposed convolution is as fast and then faster


def speed_up_on_cpu(generator: Wav2Lip) -> Wav2Lip:
    """Replace, in place, the blocks of a folded generator in float32 or bfloat16 that another form computes faster.

    The published names of their weights are gone then: for inference, not for saving.
    """
    for level, stack in enumerate(generator.face_encoder_blocks):
        _replace(stack, side_px=max(1, FACE_SIZE >> level))
    _replace(generator.audio_encoder)
    for level, stack in enumerate(generator.face_decoder_blocks):
        _replace(stack, side_px=max(1, FACE_SIZE >> (len(generator.face_decoder_blocks) - 1 - level)))
    _replace(generator.output_block, side_px=FACE_SIZE)
    return generator


def _replace(stack: nn.Module, *, side_px: int | None = None) -> None:
    """`side_px` of the results; None where they are not square."""
    for name, block in list(stack.named_children()):
        if isinstance(block, ConvBlock):
            conv = block.conv_block[0]
            assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
            faster: nn.Module | None = None
            if conv.weight.dtype != torch.bfloat16:  # where oneDNN's layouts would gain a thirtieth at most
                faster = _fewer_products(conv, residual=block.residual, side_px=side_px)
            elif has_onednn():
                faster = OnednnBlock(conv, residual=block.residual)
            if faster is not None:
                setattr(stack, name, faster)


def _fewer_products(conv: nn.Conv2d | nn.ConvTranspose2d, *, residual: bool, side_px: int | None) -> nn.Module | None:
    """The same in float32, if multiplying less takes less time there."""
    assert conv.bias is not None
    weight, bias = conv.weight.detach(), conv.bias.detach()
    if side_px is None or min(weight.shape[:2]) < LEAST_CHANNELS:
        return None
    if isinstance(conv, nn.ConvTranspose2d):
        if conv.stride == (1, 1):
            return OnePixelBlock(weight, bias)
        return SubpixelBlock(weight, bias) if side_px // 2 in SUBPIXEL_SIDES_PX else None
    if not residual:
        return None
    return WinogradBlock(weight, bias, tile=4 if side_px % 4 == 0 else 2)

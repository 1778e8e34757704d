"""The generator's convolutions in the form that takes a CPU the least time in float32: two thirds of PyTorch's own.

The same sums in another order: mouths differ by a hundredth of a level at most.
"""

from torch import nn

from gpu_lipsync.models.subpixel import OnePixelBlock, SubpixelBlock
from gpu_lipsync.models.wav2lip import FACE_SIZE, ConvBlock, Wav2Lip
from gpu_lipsync.models.winograd import WinogradBlock

# Below, the transforms and their memory traffic cost what the fewer multiplications save (64 channels at 96 px break
# even, 64 at 24 px gain a tenth).
LEAST_CHANNELS = 128
SUBPIXEL_SIDES_PX = (3, 6)  # of the input; above, PyTorch's transposed convolution is as fast and then faster


def speed_up_on_cpu(generator: Wav2Lip) -> Wav2Lip:
    """Replace, in place, the blocks of a folded float32 generator that another form computes faster.

    The published names of their weights are gone then: for inference, not for saving.
    """
    for level, stack in enumerate(generator.face_encoder_blocks):
        _replace(stack, side_px=max(1, FACE_SIZE >> level))
    for level, stack in enumerate(generator.face_decoder_blocks):
        _replace(stack, side_px=max(1, FACE_SIZE >> (len(generator.face_decoder_blocks) - 1 - level)))
    return generator


def _replace(stack: nn.Module, *, side_px: int) -> None:
    for name, block in list(stack.named_children()):
        assert isinstance(block, ConvBlock)
        faster = _faster(block, side_px)
        if faster is not None:
            setattr(stack, name, faster)


def _faster(block: ConvBlock, side_px: int) -> nn.Module | None:
    """The same for results of that side, if there is a faster way."""
    conv = block.conv_block[0]
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and conv.bias is not None
    weight, bias = conv.weight.detach(), conv.bias.detach()
    if min(weight.shape[:2]) < LEAST_CHANNELS:
        return None
    if isinstance(conv, nn.ConvTranspose2d):
        if conv.stride == (1, 1):
            return OnePixelBlock(weight, bias)
        return SubpixelBlock(weight, bias) if side_px // 2 in SUBPIXEL_SIDES_PX else None
    if not block.residual:
        return None
    return WinogradBlock(weight, bias, tile=4 if side_px % 4 == 0 else 2, residual=True)

"""The Wav2Lip generator: 0.2 s of sound and a face in, the same face saying that sound out.

Written from the architecture of Prajwal et al., "A Lip Sync Expert Is All You Need for Speech to Lip Generation In the
Wild", arXiv 2008.10010. Parameter names and shapes are those of the published checkpoints (36.3 M parameters).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpu_lipsync.ops.boxes import Window
from gpu_lipsync.process.cores import map_on_cores

FACE_SIZE = 96
MEL_SHAPE = (1, 80, 16)
# Larger batches free and fault in blocks of tens of MB per layer on a CPU: 128 at once takes twice as long per frame.
CPU_MICRO_BATCH = 8


class Layer(NamedTuple):
    """One convolution of the tables below; `out` counts channels at full width."""

    out: int
    kernel: int = 3
    stride: int | tuple[int, int] = 1
    padding: int = 1
    residual: bool = False
    transposed: bool = False


def _same(channels: int, times: int) -> tuple[Layer, ...]:
    return (Layer(channels, residual=True),) * times


def _down(channels: int, residuals: int) -> tuple[Layer, ...]:
    return (Layer(channels, stride=2), *_same(channels, residuals))


def _up(channels: int, residuals: int) -> tuple[Layer, ...]:
    return (Layer(channels, stride=2, transposed=True), *_same(channels, residuals))


FACE_ENCODER: tuple[tuple[Layer, ...], ...] = (
    (Layer(16, kernel=7, padding=3),),  # 96 px
    _down(32, 2),  # 48
    _down(64, 3),  # 24
    _down(128, 2),  # 12
    _down(256, 2),  # 6
    _down(512, 1),  # 3
    (Layer(512, padding=0), Layer(512, kernel=1, padding=0)),  # 1
)
AUDIO_ENCODER: tuple[Layer, ...] = (  # 80 mel bands × 16 columns down to 1 × 1
    Layer(32),
    *_same(32, 2),
    Layer(64, stride=(3, 1)),
    *_same(64, 2),
    Layer(128, stride=3),
    *_same(128, 2),
    Layer(256, stride=(3, 2)),
    *_same(256, 1),
    Layer(512, padding=0),
    Layer(512, kernel=1, padding=0),
)
FACE_DECODER: tuple[tuple[Layer, ...], ...] = (
    (Layer(512, kernel=1, padding=0),),  # 1 px
    (Layer(512, padding=0, transposed=True), *_same(512, 1)),  # 3
    _up(512, 2),  # 6
    _up(384, 2),  # 12
    _up(256, 2),  # 24
    _up(128, 2),  # 48
    _up(64, 2),  # 96
)


class ConvBlock(nn.Module):
    """Convolution, batch norm unless it is folded in, the input added where `layer.residual`, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, layer: Layer, folded: bool) -> None:
        super().__init__()
        conv: nn.Module
        if layer.transposed:
            extra = 1 if layer.stride == 2 else 0
            conv = nn.ConvTranspose2d(
                channels_in, channels_out, layer.kernel, layer.stride, layer.padding, output_padding=extra
            )
        else:
            conv = nn.Conv2d(channels_in, channels_out, layer.kernel, layer.stride, layer.padding)
        self.conv_block = nn.Sequential(conv) if folded else nn.Sequential(conv, nn.BatchNorm2d(channels_out))
        self.residual = layer.residual

    def forward(self, features: Tensor) -> Tensor:
        out = self.conv_block(features)
        if self.residual:
            out += features  # in place: a new block of memory for each layer costs more than the sum
        return F.relu(out, inplace=True)


class Wav2Lip(nn.Module):
    """The generator.

    Args:
        width: factor on every channel count; 1 is the published network.
        folded: without batch norm, which `gpu_lipsync.models.weights` folds into the convolutions; for inference.
    """

    def __init__(self, width: float = 1.0, *, folded: bool = False) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(1, round(channels * width))

        def stack(channels_in: int, layers: tuple[Layer, ...]) -> nn.Sequential:
            blocks = []
            for layer in layers:
                blocks.append(ConvBlock(channels_in, scaled(layer.out), layer=layer, folded=folded))
                channels_in = scaled(layer.out)
            return nn.Sequential(*blocks)

        face_inputs = (6, *(scaled(block[-1].out) for block in FACE_ENCODER[:-1]))
        self.face_encoder_blocks = nn.ModuleList(
            stack(n, layers) for n, layers in zip(face_inputs, FACE_ENCODER, strict=True)
        )
        self.audio_encoder = stack(1, AUDIO_ENCODER)
        skips = [scaled(block[-1].out) for block in reversed(FACE_ENCODER)]
        after = [scaled(block[-1].out) + skip for block, skip in zip(FACE_DECODER, skips, strict=True)]
        decoder_inputs = (scaled(AUDIO_ENCODER[-1].out), *after[:-1])
        self.face_decoder_blocks = nn.ModuleList(
            stack(n, layers) for n, layers in zip(decoder_inputs, FACE_DECODER, strict=True)
        )
        last = scaled(32)
        to_rgb = nn.Conv2d(last, 3, 1)
        self.output_block = nn.Sequential(
            ConvBlock(after[-1], last, layer=Layer(32), folded=folded), to_rgb, nn.Sigmoid()
        )

    def forward(
        self, mel: Tensor, faces: Tensor, reference: Tensor | None = None, *, window: Window | None = None
    ) -> Tensor:
        """Generate faces that say `mel`. The lower half of `faces` is hidden from the network here.

        Args:
            mel: (B, 1, 80, 16) log-mel windows in [-4, 4].
            faces: (B, 3, 96, 96) RGB in [0, 1]; their upper half tells the network the pose. Or (1, 3, 96, 96), which
                says all of `mel` and is encoded once.
            reference: as many RGB in [0, 1], the person's looks; `faces` themselves when None, as in use. Training
                gives another frame of the same person, lest the network copy the mouth it should make.
            window: the part of the result that is wanted, all of it when None. The last layers, which are half of the
                work, are then computed around it alone.

        Returns:
            (B, 3, 96, 96) float32 RGB in [0, 1], 0 outside `window`. Any B: a CPU works in parts that fit
            its caches.

        Raises:
            ValueError: `mel`, `faces` or `reference` of another shape.
        """
        plane = (3, FACE_SIZE, FACE_SIZE)
        if mel.shape[1:] != MEL_SHAPE or faces.shape[1:] != plane or len(faces) not in (1, len(mel)):
            raise ValueError(
                f"expected mel (B, 1, 80, 16) and faces (B, 3, 96, 96) or one, got {mel.shape = }, {faces.shape = }"
            )
        reference = faces if reference is None else reference
        if reference.shape != faces.shape:
            raise ValueError(f"expected reference like faces, got {reference.shape = }, {faces.shape = }")
        learns = torch.is_grad_enabled() and any(t.requires_grad for t in (mel, faces, reference, *self.parameters()))
        if self.training or learns or faces.device.type != "cpu" or len(mel) == 1:
            return self._decode(mel, self._encode(faces, reference), window)
        size = min(CPU_MICRO_BATCH, -(-len(mel) // torch.get_num_threads()))
        if len(faces) == 1:
            encoded = self._encode(faces, reference)
            return torch.cat(map_on_cores(lambda part: self._decode(part, encoded, window), mel.split(size)))
        parts = zip(mel.split(size), faces.split(size), reference.split(size), strict=True)
        return torch.cat(
            map_on_cores(lambda part: self._decode(part[0], self._encode(part[1], part[2]), window), parts)
        )

    def _encode(self, faces: Tensor, reference: Tensor) -> list[Tensor]:
        """Features of each level, the largest first."""
        dtype = next(self.parameters()).dtype
        upper = faces[:, :, : FACE_SIZE // 2]
        masked = F.pad(upper, (0, 0, 0, FACE_SIZE - FACE_SIZE // 2))
        pair = torch.cat((_swap_red_and_blue(masked), _swap_red_and_blue(reference)), dim=1)
        features = pair.to(dtype=dtype, memory_format=torch.channels_last)
        encoded: list[Tensor] = []
        for block in self.face_encoder_blocks:
            features = block(features)
            encoded.append(features)
        return encoded

    def _decode(self, mel: Tensor, encoded: list[Tensor], window: Window | None) -> Tensor:
        out = self.audio_encoder(mel.to(dtype=encoded[0].dtype, memory_format=torch.channels_last))
        parts = _parts_needed(window or Window(0, FACE_SIZE, 0, FACE_SIZE))
        top = left = 0  # of `out`, in its level's plane
        for block, part, features in zip(self.face_decoder_blocks, parts, reversed(encoded), strict=True):
            made, skip = _cut(block(out), part, 2 * top, 2 * left), _cut(features, part)
            if len(skip) != len(made):  # of one face for all; left as a view it would turn the planes' layout
                skip = skip.expand(len(made), -1, -1, -1).contiguous(memory_format=torch.channels_last)
            out, top, left = torch.cat((made, skip), dim=1), part[0], part[2]
        # As loaded, `to_rgb` is float32: in half precision the sigmoid would come out in steps of a whole level.
        last, to_rgb, squash = self.output_block
        logits = to_rgb(last(out).to(to_rgb.weight.dtype))
        # Beyond half precision's range lies infinity, of which a sigmoid makes a colour: NaN is found out.
        rgb = _swap_red_and_blue(torch.where(logits.isfinite(), squash(logits), torch.nan)).float()
        if window is None:
            return rgb
        left_over = (window[2], FACE_SIZE - window[3], window[0], FACE_SIZE - window[1])
        return F.pad(_cut(rgb, window, top, left), left_over)


def _parts_needed(window: Window) -> list[Window]:
    """Of each decoder block's result, what makes the window right: it, and what the layers after see around it."""
    parts, side = [_grown(window, 1, 1, FACE_SIZE)], FACE_SIZE  # the last convolution sees one pixel to each side
    for block in reversed(FACE_DECODER[1:]):
        side = max(1, side // 2)
        around = len(block) - 1  # convolutions after the transposed one, whose last row and column need one more
        rows_from, rows_to, columns_from, columns_to = _grown(parts[0], around, around + 1, FACE_SIZE)
        halves = Window(rows_from // 2, -(-rows_to // 2), columns_from // 2, -(-columns_to // 2))
        # Small planes cost little, and the first ones are not halves of each other.
        parts.insert(0, _grown(halves, 0, 0, side) if side > 6 else Window(0, side, 0, side))
    return parts


def _grown(window: Window, before: int, after: int, side: int) -> Window:
    """Enlarged as far as the plane goes, to an even number of pixels (planes of 12 px or more are even themselves)."""
    spans: list[int] = []
    for start, stop in (window[:2], window[2:]):
        start, stop = max(0, start - before), min(side, stop + after)
        if (stop - start) % 2:
            start, stop = (start, stop + 1) if stop < side else (start - 1, stop)
        spans += [start, stop]
    return Window(*spans)


def _cut(plane: Tensor, part: Window, top: int = 0, left: int = 0) -> Tensor:
    """`part` of a plane of which `plane` begins at (top, left)."""
    return plane[:, :, part[0] - top : part[1] - top, part[2] - left : part[3] - left]


def _swap_red_and_blue(image: Tensor) -> Tensor:
    """RGB to BGR and back: the published weights were trained on OpenCV's order. The only place that knows."""
    return image.flip(1)

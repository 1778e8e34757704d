"""Wav2Lip's forward pass as published (arXiv 2008.10010; K. R. Prajwal's code names the layers), layer by layer, from
the facts alone: which stride and padding each convolution has, which of them adds its input, what is joined to what.
"""

from itertools import count

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

State = dict[str, Tensor]
Step = int | tuple[int, int]
# Stride and padding of the convolution that begins each block; the others of a block are 3x3 and add their input.
FACE_BLOCKS: list[tuple[Step, int]] = [(1, 3), (2, 1), (2, 1), (2, 1), (2, 1), (2, 1), (1, 0)]
AUDIO_LAYERS: list[tuple[Step, int, bool]] = [  # and whether it adds its input
    (1, 1, False), (1, 1, True), (1, 1, True), ((3, 1), 1, False), (1, 1, True), (1, 1, True), (3, 1, False),
    (1, 1, True), (1, 1, True), ((3, 2), 1, False), (1, 1, True), (1, 0, False), (1, 0, False),
]  # fmt: skip


def published_wav2lip(state: State, mel: Tensor, faces: Tensor) -> Tensor:
    """Mouths (B, 3, 96, 96) of mel (B, 1, 80, 16) and faces (B, 3, 96, 96) RGB, by a state dict with batch norms."""
    bgr = faces.flip(1)  # as OpenCV read the pictures that it was trained on
    masked = bgr.clone()
    masked[:, :, 48:] = 0
    x = torch.cat((masked, bgr), dim=1)
    seen = []
    for i, (stride, padding) in enumerate(FACE_BLOCKS):
        for j in _layers(state, f"face_encoder_blocks.{i}"):
            name = f"face_encoder_blocks.{i}.{j}"
            last = i == len(FACE_BLOCKS) - 1  # two convolutions to a single pixel, the second 1x1
            x = _block(state, name, x, *((stride, padding, False) if j == 0 or last else (1, 1, True)))
        seen.append(x)
    x = mel
    for i, (step, around, adds) in enumerate(AUDIO_LAYERS):
        x = _block(state, f"audio_encoder.{i}", x, step, around, adds)
    for i in range(7):
        for j in _layers(state, f"face_decoder_blocks.{i}"):
            name = f"face_decoder_blocks.{i}.{j}"
            if i == 0:
                x = _block(state, name, x, 1, 0, False)
            elif j == 0:
                x = _enlarged(state, name, x, *((1, 0, 0) if i == 1 else (2, 1, 1)))
            else:
                x = _block(state, name, x, 1, 1, True)
        x = torch.cat((x, seen.pop()), dim=1)
    x = _block(state, "output_block.0", x, 1, 1, False)
    return F.conv2d(x, state["output_block.1.weight"], state["output_block.1.bias"]).sigmoid().flip(1)


def _layers(state: State, block: str) -> list[int]:
    found = []
    for j in count():
        if f"{block}.{j}.conv_block.0.weight" not in state:
            return found
        found.append(j)
    raise AssertionError


def _block(state: State, name: str, x: Tensor, stride: Step, padding: int, adds_input: bool) -> Tensor:
    conv = f"{name}.conv_block.0."
    y = F.conv2d(x, state[f"{conv}weight"], state[f"{conv}bias"], stride, padding)
    y = _normalised(state, f"{name}.conv_block.1.", y)
    return F.relu(y + x if adds_input else y)


def _enlarged(state: State, name: str, x: Tensor, stride: int, padding: int, more: int) -> Tensor:
    conv = f"{name}.conv_block.0."
    y = F.conv_transpose2d(x, state[f"{conv}weight"], state[f"{conv}bias"], stride, padding, more)
    return F.relu(_normalised(state, f"{name}.conv_block.1.", y))


def _normalised(state: State, name: str, y: Tensor) -> Tensor:
    mean, variance, weight, bias = (state[f"{name}{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(y, mean, variance, weight, bias)

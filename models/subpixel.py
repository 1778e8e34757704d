"""Transposed 3×3 convolutions as matrix products, for few pixels and many channels on a CPU.

There the filters are most of what is read, and PyTorch's own way first rearranges all of them at every call.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class SubpixelBlock(nn.Module):
    """Transposed convolution 3×3, stride 2, padding 1, output padding 1, then ReLU: twice the sides. For inference.

    The four pixels of the result over one of the input see 1, 2, 2 and 4 of the filter's taps: four matrix products.

    Args:
        weight: (in, out, 3, 3) float32.
        bias: (out,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        here, before, after = 1, 0, 2  # taps: an even pixel sees one input pixel, an odd one sees that and the next

        def taps(*places: tuple[int, int]) -> Tensor:
            return torch.cat([weight[:, :, row, column] for row, column in places]).contiguous()

        self.bias: Tensor
        self.register_buffer("bias", bias)
        self.register_buffer("even_even", taps((here, here)))
        self.register_buffer("even_odd", taps((here, after), (here, before)))
        self.register_buffer("odd_even", taps((after, here), (before, here)))
        self.register_buffer("odd_odd", taps((after, after), (after, before), (before, after), (before, before)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, 2H, 2W), channels-last."""
        batch, n_in, height, width = features.shape
        padded = F.pad(features, (0, 1, 0, 1)).permute(0, 2, 3, 1)
        here, right = padded[:, :-1, :-1], padded[:, :-1, 1:]
        below, across = padded[:, 1:, :-1], padded[:, 1:, 1:]
        seen = torch.cat((here, right, below, across), dim=3).view(-1, 4 * n_in)
        down = torch.cat((here, below), dim=3).view(-1, 2 * n_in)
        out = features.new_empty(batch, height, 2, width, 2, len(self.bias))
        products = ((seen[:, :n_in], "even_even"), (seen[:, : 2 * n_in], "even_odd"), (down, "odd_even"))
        for i, (pixels, name) in enumerate((*products, (seen, "odd_odd"))):
            product = torch.addmm(self.bias, pixels, getattr(self, name))
            out[:, :, i // 2, :, i % 2] = product.view(batch, height, width, -1)
        return out.relu_().view(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


class OnePixelBlock(nn.Module):
    """Transposed convolution 3×3, stride 1, no padding, of a single pixel, then ReLU: 3×3 pixels. For inference.

    Args:
        weight: (in, out, 3, 3) float32.
        bias: (out,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        n_in, n_out = weight.shape[:2]
        self.n_out = n_out
        self.matrix: Tensor
        self.bias: Tensor
        self.register_buffer("matrix", weight.permute(0, 2, 3, 1).reshape(n_in, 9 * n_out).contiguous())
        self.register_buffer("bias", bias.repeat(9))

    def forward(self, features: Tensor) -> Tensor:
        """(B, in, 1, 1) to (B, out, 3, 3), channels-last."""
        out = torch.addmm(self.bias, features.flatten(1), self.matrix)
        return out.relu_().view(-1, 3, 3, self.n_out).permute(0, 3, 1, 2)

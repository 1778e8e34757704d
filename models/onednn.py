"""A convolution, a sum and ReLU as one oneDNN operation on a CPU, its filter laid out once and not at every call.

PyTorch's own convolution lays the filter out anew at each call, for the generator a quarter of the time in bfloat16,
and passes over the result again for the sum and for ReLU; in a thread of its own it does not even use oneDNN for 1×1
filters. The operations used here are those that `torch.compile` puts in the place of frozen convolutions. They are
private: a PyTorch without them goes the plain way.
"""

import torch
from torch import Tensor, nn

_MAX_LAYOUTS = 2  # kept of a filter: that for full batches, and that for the last one
_OPERATIONS = (
    "_convolution_pointwise",
    "_convolution_transpose_pointwise",
    "_reorder_convolution_weight",
    "_reorder_convolution_transpose_weight",
    "_is_mkldnn_bf16_supported",
)


def has_onednn() -> bool:
    """Whether this PyTorch has what `OnednnConv` needs in bfloat16, and the CPU what that needs (AVX-512 at least)."""
    ops = torch.ops.mkldnn
    has_all = torch.backends.mkldnn.is_available() and all(hasattr(ops, name) for name in _OPERATIONS)
    return has_all and bool(ops._is_mkldnn_bf16_supported())


def memory_format(device: torch.device) -> torch.memory_format:
    """For networks of depthwise filters: planes on CUDA, for their sake; interleaved channels on a CPU, where they are
    faster.
    """
    return torch.contiguous_format if device.type == "cuda" else torch.channels_last


class OnednnConv(nn.Module):
    """Convolution or transposed convolution, a sum if there is something to add, ReLU if wanted. For inference.

    Args:
        conv: with a bias, in the precision of the features; a transposed one cannot add.
        relu: whether what is negative becomes 0 in the end.
    """

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, *, relu: bool) -> None:
        super().__init__()
        assert conv.bias is not None and not isinstance(conv.padding, str)
        self.weight, self.bias = conv.weight, conv.bias
        self.transposed, self._activation = isinstance(conv, nn.ConvTranspose2d), "relu" if relu else "none"
        extra = [list(conv.output_padding)] if self.transposed else []
        self._geometry = (list(conv.padding), *extra, list(conv.stride), list(conv.dilation), conv.groups)
        # By the shape of the features: one made for another shape may be such that only oneDNN's reference code takes
        # it, forty times slower. Threads may both make one; either will do.
        self._layouts: dict[torch.Size, Tensor] = {}

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(B, in, H, W), channels-last, to (B, out, H', W') likewise; `added` is shaped like the result."""
        ops = torch.ops.mkldnn
        features = features.contiguous(memory_format=torch.channels_last)
        filters = self._layouts.get(features.shape)
        if filters is None:
            filters = self._laid_out(features.shape)
        given = (filters, self.bias, *self._geometry)
        out: Tensor
        if added is not None:
            activation = None if self._activation == "none" else self._activation
            out = ops._convolution_pointwise.binary(features, added, *given, "add", 1.0, activation, [], None)
        elif self.transposed:
            out = ops._convolution_transpose_pointwise(features, *given, self._activation, [], "")
        else:
            out = ops._convolution_pointwise(features, *given, self._activation, [], "")
        return out

    def _laid_out(self, shape: torch.Size) -> Tensor:
        ops = torch.ops.mkldnn
        lay_out = ops._reorder_convolution_transpose_weight if self.transposed else ops._reorder_convolution_weight
        filters: Tensor = lay_out(self.weight, *self._geometry, list(shape))
        if len(self._layouts) >= _MAX_LAYOUTS:
            self._layouts = {}
        self._layouts[shape] = filters
        return filters


class OnednnBlock(nn.Module):
    """One of the generator's blocks: convolution, its input added where `residual`, ReLU."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, *, residual: bool) -> None:
        super().__init__()
        self.conv, self.residual = OnednnConv(conv, relu=True), residual

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.conv(features, features if self.residual else None)
        return out

"""CenterFace: a one-stage face detector small enough for every fifth frame of a clip, on a CPU as well.

A MobileNetV2 trunk and a feature pyramid predict, for each 4×4 cell of the image, how likely a face is centred there
and its size, centre offset and five landmarks. The network and the choice of the best cells run on the device in a
fixed number of operations; what depends on the values (suppression, voting) runs on the host after one copy.

Reference: Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019.
"""

from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.errors import CheckpointError
from gpu_lipsync.models.box_voting import vote
from gpu_lipsync.models.onednn import OnednnConv, has_onednn, memory_format
from gpu_lipsync.models.shipped import read_weights

WEIGHTS_NAME = "centerface.safetensors"
WEIGHTS_SHA256 = "b380253fccf75fd1a193405f8e1e76916aae7741cf6bb61c990c03b5ecaeb571"
LONG_SIDE_PX = 640
# A fifth of the time (14 against 72 ms a 720p frame, two threads) for boxes no less steady; faces down to 25 px at that
# size are found, so below a fifteenth of the frame's long side a caller should look again at LONG_SIDE_PX.
CPU_LONG_SIDE_PX = 384
CELL_PX = 4  # the heads' stride
SIZE_MULTIPLE = 32  # the trunk halves five times
N_CANDIDATES = 256  # cells kept per frame; a face 300 px high fills about 60 of them
N_VALUES = 15  # of a detection: x1 y1 x2 y2 score, then x y of both eyes, nose, both mouth corners
# Expansion 6; (channels, blocks, stride of the first) of each stage after the first, which has 16 channels.
STAGES = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
LATERAL_STAGES = (3, 1, 0)  # at 1/16, 1/8 and 1/4 of the image: what the pyramid adds on its way up
PYRAMID_CHANNELS = 24


class Convolution(nn.Conv2d):
    """A convolution that keeps the size but for its stride, then a sum if there is what to add, ReLU if wanted.

    One that filters each channel for itself runs in float32 on CUDA, whatever the precision around it: PyTorch has a
    kernel of its own for that, on planes. In half precision, or on interleaved channels, cuDNN takes over and plans
    each layer anew for every thread and every batch size, 0.14 s a time on an H100: 1.5 s for the network where all
    else takes 0.05 s and the work itself 0.005 s.
    """

    def __init__(
        self, n_in: int, n_out: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        super().__init__(n_in, n_out, kernel, stride, padding=kernel // 2, groups=groups)
        self.relu = relu

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        if features.is_cuda and self.groups > 1 and features.dtype != torch.float32:
            assert self.bias is not None
            out = self._conv_forward(features.float(), self.weight.float(), self.bias.float()).to(features.dtype)
        else:
            out = super().forward(features)
        if added is not None:
            out.add_(added)
        return F.relu_(out) if self.relu else out


class InvertedResidual(nn.Module):
    """Widen (unless `expand` is 1), filter each channel, narrow; add the input where the shapes agree."""

    def __init__(self, n_in: int, n_out: int, *, stride: int, expand: int = 6) -> None:
        super().__init__()
        hidden = n_in * expand
        self.widen = Convolution(n_in, hidden) if expand != 1 else None
        self.depthwise = Convolution(hidden, hidden, kernel=3, stride=stride, groups=hidden)
        self.narrow = Convolution(hidden, n_out, relu=False)
        self.residual = stride == 1 and n_in == n_out

    def forward(self, features: Tensor) -> Tensor:
        hidden = features if self.widen is None else self.widen(features)
        narrow: Tensor = self.narrow(self.depthwise(hidden), features if self.residual else None)
        return narrow


class CenterFace(nn.Module):
    """The network, with batch norm folded into the convolutions, and its decoding.

    Attributes:
        long_side_px: frames are reduced to at most this before the network sees them.
    """

    def __init__(self, long_side_px: int) -> None:
        super().__init__()
        self.long_side_px = long_side_px
        self.stem = Convolution(3, 32, kernel=3, stride=2)
        self.first = InvertedResidual(32, 16, stride=1, expand=1)
        self.stages = nn.ModuleList()
        n_in = 16
        for n_out, n_blocks, stride in STAGES:
            blocks = [
                InvertedResidual(n_in if i == 0 else n_out, n_out, stride=stride if i == 0 else 1)
                for i in range(n_blocks)
            ]
            self.stages.append(nn.Sequential(*blocks))
            n_in = n_out
        self.top = Convolution(n_in, PYRAMID_CHANNELS)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 2, 2) for _ in LATERAL_STAGES)
        self.laterals = nn.ModuleList(Convolution(STAGES[stage][0], PYRAMID_CHANNELS) for stage in LATERAL_STAGES)
        self.fuse = Convolution(PYRAMID_CHANNELS, PYRAMID_CHANNELS, kernel=3)
        self.heads = Convolution(PYRAMID_CHANNELS, N_VALUES, relu=False)

    def forward(self, images: Tensor) -> Tensor:
        """Heads of the network.

        Args:
            images: (B, 3, H, W) float RGB in [0, 255], H and W multiples of 32.

        Returns:
            (B, 15, H/4, W/4): heat as a logit; log height and width in cells; vertical and horizontal centre offset in
            cells; five landmarks, vertical then horizontal, as parts of the box from its top left corner.
        """
        features = self.first(self.stem(images))
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        features = self.top(features)
        for up, lateral, level in zip(self.ups, self.laterals, LATERAL_STAGES, strict=True):
            features = F.relu_(up(features)).add_(lateral(levels[level]))
        heads: Tensor = self.heads(self.fuse(features))
        return heads

    @torch.inference_mode()
    def candidates(self, frames: Tensor, *, long_side_px: int | None = None) -> Tensor:
        """The most likely cells of each frame, decoded: a fixed number of operations, and no value is looked at.

        Args:
            frames: (B, 3, H, W) uint8 RGB, on the module's device.
            long_side_px: frames are reduced to at most this; default: the module's.

        Returns:
            (B, K, 15) float32 on the device, K = 256 or as many cells as small frames have, most likely first, laid out
            as in `detect`; neighbouring cells that see the same face are all there, for the voting.
        """
        images = self._shrink(frames, long_side_px or self.long_side_px)
        scale_y, scale_x = frames.shape[2] / images.shape[2], frames.shape[3] / images.shape[3]
        heads = self(images).float()
        n_columns = heads.shape[3]
        cells = heads.flatten(2)
        logits, index = cells[:, 0].topk(min(N_CANDIDATES, cells.shape[2]), dim=1)
        best = cells.gather(2, index[:, None].expand(-1, N_VALUES, -1))
        height, width = best[:, 1].exp() * (CELL_PX * scale_y), best[:, 2].exp() * (CELL_PX * scale_x)
        row = index.div(n_columns, rounding_mode="floor")
        top = (row + best[:, 3] + 0.5) * (CELL_PX * scale_y) - height / 2
        left = (index - row * n_columns + best[:, 4] + 0.5) * (CELL_PX * scale_x) - width / 2
        landmarks_y = top[:, None] + best[:, 5::2] * height[:, None]
        landmarks_x = left[:, None] + best[:, 6::2] * width[:, None]
        box = torch.stack((left, top, left + width, top + height, logits.sigmoid()), dim=2)
        landmarks = torch.stack((landmarks_x, landmarks_y), dim=3).transpose(1, 2).flatten(2)
        return torch.cat((box, landmarks), dim=2)

    def detect(self, frames: Tensor) -> list[Tensor]:
        """Faces of each frame.

        Args:
            frames: (B, 3, H, W) uint8 RGB, on the module's device.

        Returns:
            One (n, 15) float32 host tensor per frame, best first: x1 y1 x2 y2 score, then x y of both eyes, nose, both
            mouth corners, in frame pixels. Boxes are not clipped: those of a face cut by the edge reach beyond it.
        """
        return vote(self.candidates(frames).cpu())

    def _shrink(self, frames: Tensor, long_side_px: int) -> Tensor:
        """Reduce to at most `long_side_px` and to multiples of 32, in the module's precision and layout."""
        size = network_size(frames.shape[2], frames.shape[3], long_side_px)
        if not frames.is_cuda:  # the CPU has a fast antialiased resize for bytes, CUDA has none
            frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
        images = frames.to(self.stem.weight.dtype, memory_format=memory_format(frames.device))
        return F.interpolate(images, size, mode="bilinear", antialias=True) if frames.is_cuda else images


def network_size(height: int, width: int, long_side_px: int) -> tuple[int, int]:
    """Height and width of what the network sees of a frame: at most `long_side_px`, multiples of 32."""
    scale = min(1.0, long_side_px / max(height, width))
    rows, columns = (max(1, round(side * scale / SIZE_MULTIPLE)) * SIZE_MULTIPLE for side in (height, width))
    return rows, columns


def load_face_detector(
    device: str | torch.device = "cpu", path: str | Path | None = None, *, dtype: torch.dtype = torch.float32
) -> CenterFace:
    """Build the detector with its weights, ready to run.

    Args:
        device: where it runs.
        path: a .safetensors file made by tools/convert_centerface.py; default: the one that ships.
        dtype: precision of the network; its input, decoding and results are float32 all the same. bfloat16 moves a
            box by a thousandth of the face's height, and by six at most.

    Raises:
        CheckpointError: the weights are missing, damaged or another network's.
        ResourceError: the host is short of memory, threads or open files.
    """
    weights = read_weights(
        Path(str(files("gpu_lipsync.checkpoints") / WEIGHTS_NAME)) if path is None else Path(path),
        "face detector",
        way_out="reinstall the package, or run tools/convert_centerface.py",
        sha256=WEIGHTS_SHA256 if path is None else None,
    )
    with torch.device("meta"):  # no time spent on random numbers that are replaced at once
        detector = CenterFace(CPU_LONG_SIDE_PX if torch.device(device).type == "cpu" else LONG_SIDE_PX)
    placed = {name: tensor.to(device=device, dtype=dtype) for name, tensor in weights.items()}
    try:
        detector.load_state_dict(placed, assign=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path or WEIGHTS_NAME} holds another network than CenterFace; pass weights made by "
            "tools/convert_centerface.py"
        ) from error
    detector = detector.to(memory_format=memory_format(torch.device(device))).eval().requires_grad_(False)
    return _fused(detector) if torch.device(device).type == "cpu" and dtype == torch.bfloat16 else detector


def _fused(detector: CenterFace) -> CenterFace:
    """The same with its convolutions in oneDNN's hands, where there is one, which in float32 gains nothing."""
    if has_onednn():
        for module in list(detector.modules()):
            for name, conv in list(module.named_children()):
                if isinstance(conv, Convolution):
                    setattr(module, name, OnednnConv(conv, relu=conv.relu))
    return detector

"""Face Mesh: 468 landmarks of a face, lips in and out among them; for finding and judging mouths, not for making them.

A small residual network of depthwise convolutions sees one face, upright, with a quarter of its size around it.

Reference: Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", arXiv 1907.06724.
"""

from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.models.onednn import OnednnConv, has_onednn, memory_format
from gpu_lipsync.models.shipped import read_weights

WEIGHTS_NAME = "face_mesh.safetensors"
WEIGHTS_SHA256 = "2c7c99cd49803a8b8e7e65c4fdf0edd4b10bf79c6e6f1d8b82bf17944d781231"
MESH_PX = 192
N_LANDMARKS = 468
STEM_CHANNELS = 16
STAGES = (32, 64, 128, 128, 128)  # channels after each halving; every stage has two blocks more, as has the stem
BLOCKS_PER_STAGE = 2
HEAD_CHANNELS = 32


class Block(nn.Module):
    """Filter each channel, mix, add the input (halved and padded with empty channels where they differ), PReLU."""

    def __init__(self, n_in: int, n_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.extra = n_out - n_in
        padding = 1 if stride == 1 else 0
        self.depthwise: nn.Conv2d | OnednnConv = nn.Conv2d(n_in, n_in, 3, stride, padding=padding, groups=n_in)
        self.mix: nn.Conv2d | OnednnConv = nn.Conv2d(n_in, n_out, 1)
        self.act = nn.PReLU(n_out)

    def forward(self, features: Tensor) -> Tensor:
        skip = features
        if self.stride == 2:
            skip = F.pad(F.max_pool2d(features, 2), (0, 0, 0, 0, 0, self.extra))
            features = _pad_for_halving(features)
        out: Tensor = self.act(self._mixed(self.depthwise(features), skip))
        return out

    def _mixed(self, features: Tensor, skip: Tensor) -> Tensor:
        if isinstance(self.mix, OnednnConv):
            added: Tensor = self.mix(features, skip.contiguous(memory_format=torch.channels_last))
            return added
        mixed: Tensor = self.mix(features)
        return mixed + skip


class HalfPReLU(nn.Module):
    """PReLU in bfloat16 on a CPU, where PyTorch's own takes eight times as long."""

    def __init__(self, act: nn.PReLU) -> None:
        super().__init__()
        self.less = nn.Parameter((act.weight.float() - 1).to(act.weight.dtype)[:, None, None], requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        return features.addcmul_(features.clamp(max=0), self.less)  # nobody else's: a convolution's result


class FaceMesh(nn.Module):
    """The network, without the branch that tells whether there is a face."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, STEM_CHANNELS, 3, 2), nn.PReLU(STEM_CHANNELS))
        blocks = [Block(STEM_CHANNELS, STEM_CHANNELS) for _ in range(BLOCKS_PER_STAGE)]
        channels = STEM_CHANNELS
        for n_out in STAGES:
            blocks.append(Block(channels, n_out, stride=2))
            blocks += [Block(n_out, n_out) for _ in range(BLOCKS_PER_STAGE)]
            channels = n_out
        self.trunk = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Conv2d(channels, HEAD_CHANNELS, 1),
            nn.PReLU(HEAD_CHANNELS),
            Block(HEAD_CHANNELS, HEAD_CHANNELS),
            nn.Conv2d(HEAD_CHANNELS, N_LANDMARKS * 3, 3),
        )

    def forward(self, faces: Tensor) -> Tensor:
        """Landmarks of upright faces.

        Args:
            faces: (B, 3, 192, 192) float RGB in [0, 1], the face in the middle and about two thirds as wide and tall.

        Returns:
            (B, 468, 3): x, y in pixels of `faces`, and depth in the same unit, nearer is smaller.

        Raises:
            ValueError: another shape.
        """
        if faces.shape[1:] != (3, MESH_PX, MESH_PX):
            raise ValueError(f"faces must be (B, 3, {MESH_PX}, {MESH_PX}), got {faces.shape = }")
        faces = faces.to(next(self.stem.parameters()).dtype, memory_format=memory_format(faces.device))
        # A place is more than half precision can tell: the trunk's features are not.
        features = self.trunk(self.stem(_pad_for_halving(faces))).float()
        return self.head(features).reshape(-1, N_LANDMARKS, 3)


def _pad_for_halving(features: Tensor) -> Tensor:
    """One pixel right and below: how the network's own framework pads a 3×3 window of stride 2 on even sizes."""
    return F.pad(features, (0, 1, 0, 1))


def load_face_mesh(device: str | torch.device = "cpu", *, dtype: torch.dtype = torch.float32) -> FaceMesh:
    """The shipped landmark network, for inference.

    Args:
        device: where it is to work.
        dtype: of all but the last layers: in bfloat16 places in a 96 px face differ by 0.02 px (two clips' mouths), and
            on a CPU with AVX512_BF16 it takes two thirds of the time.

    Raises:
        CheckpointError: the shipped file cannot be read, or is not the known one.
        ResourceError: the host is short of memory or open files.
    """
    path, way_out = Path(str(files("gpu_lipsync.checkpoints") / WEIGHTS_NAME)), "reinstall the package"
    weights = read_weights(path, "landmark network", way_out=way_out, sha256=WEIGHTS_SHA256)
    with torch.device("meta"):
        mesh = FaceMesh()
    mesh.load_state_dict({name: tensor.float().to(device) for name, tensor in weights.items()}, assign=True)
    mesh.stem.to(dtype)
    mesh.trunk.to(dtype)
    mesh = mesh.to(memory_format=memory_format(torch.device(device))).eval().requires_grad_(False)
    if torch.device(device).type == "cpu" and dtype == torch.bfloat16 and has_onednn():
        _speed_up(mesh)
    return mesh


def _speed_up(mesh: FaceMesh) -> None:
    """Put what is fast in bfloat16 on a CPU in the place of what is not."""
    for module in (mesh.stem, *mesh.trunk):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.PReLU):
                setattr(module, name, HalfPReLU(child))
            elif isinstance(module, Block) and isinstance(child, nn.Conv2d):
                setattr(module, name, OnednnConv(child, relu=False))

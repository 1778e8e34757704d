"""What is trained: the generator with heads that are thrown away, and what its faces are measured by.

References: arXiv 2008.10010; L1 as there, weighted to the mouth, with edges; the sync expert gives way to known mouths.
Detail is local contrast as in structural similarity (Wang, Bovik, Sheikh, Simoncelli, 2004), without its structure.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from gpu_lipsync.models.wav2lip import Wav2Lip
from gpu_lipsync.tools.demo_batches import Batch

N_PARAMETERS = 4  # of a mouth
N_MOMENTS = 4  # around the frame, whose mouths the sound's encoder must tell
COLOUR_MEAN, COLOUR_STD = 0.42, 0.24  # of the pictures
COPY_SLOPE = 4.5  # of the logit over the colour: the sigmoid is nearly straight
SMALL_FACES = {"12": 3, "24": 4, "48": 5}  # size in px: block of the decoder
COPYING_WEIGHT = 100.0  # at the mouth, a difference of 0.1 from the reference counts eleven times
SILENT_WEIGHT = 4.0  # of a window of silence: what is left of an open mouth there is small, and seen
DETAIL_WEIGHT = 8.0  # of the detail that is lacking, beside L1
FINER_THAN_PX = (3, 7)  # detail is what a box blur of so many pixels takes away
AROUND_PX = 9  # of a pixel, in which detail is summed up


def conv_of(block: nn.Module) -> nn.Conv2d:
    """The convolution of one of the generator's blocks."""
    conv = block.get_submodule("conv_block.0")
    assert isinstance(conv, nn.Conv2d)
    return conv


class Learner(nn.Module):
    """The generator with heads that are thrown away.

    They tell the mouth parameters from the sound's code, and the face at 12, 24 and 48 px from within the decoder:
    there the sound is near and a mouth is a few pixels.
    """

    def __init__(self, width: float) -> None:
        super().__init__()
        self.generator = Wav2Lip(width)
        self._seen: dict[str, Tensor] = {}
        code = self.generator.audio_encoder[-1]
        self.to_mouth = nn.Linear(conv_of(code).out_channels, N_MOMENTS * N_PARAMETERS)
        code.register_forward_hook(lambda _module, _inputs, out: self._seen.update(code=out))
        self.to_small_face = nn.ModuleDict()
        for size, index in SMALL_FACES.items():
            block = self.generator.face_decoder_blocks.get_submodule(str(index))
            *_, last = block.children()
            self.to_small_face[size] = nn.Conv2d(conv_of(last).out_channels, 3, 1)
            block.register_forward_hook(lambda _module, _inputs, out, size=size: self._seen.update({size: out}))

    def mouth(self, mel: Tensor) -> Tensor:
        """Mouth parameters (B, N_MOMENTS, N_PARAMETERS) of sound windows (B, 1, 80, 16)."""
        self.generator.audio_encoder(mel.contiguous(memory_format=torch.channels_last))
        return self._mouth_heard()

    def forward(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """Generated faces, the full one first, and the mouth parameters heard."""
        faces = [self.generator(batch.mel, batch.faces, batch.reference)]
        faces += [head(self._seen[size]).sigmoid().float() for size, head in self.to_small_face.items()]
        return faces, self._mouth_heard()

    def _mouth_heard(self) -> Tensor:
        return self.to_mouth(self._seen["code"].flatten(1)).view(-1, N_MOMENTS, N_PARAMETERS).float()


@torch.no_grad()
def start_as_copier(generator: Wav2Lip) -> None:
    """Set the outermost layers so that the untrained generator gives the reference back.

    Otherwise its first hours go into learning to pass colours through; so all of them go into changing the mouth.
    """
    first = generator.face_encoder_blocks.get_submodule("0.0")
    joined, to_rgb = generator.output_block[0], generator.output_block[1]
    assert isinstance(to_rgb, nn.Conv2d) and to_rgb.bias is not None
    for block in (first, joined):
        norm = block.get_submodule("conv_block.1")
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        norm.weight.fill_(COLOUR_STD)
        norm.bias.fill_(COLOUR_MEAN)
        norm.running_mean.fill_(COLOUR_MEAN)
        norm.running_var.fill_(COLOUR_STD**2)
    enter, leave = conv_of(first), conv_of(joined)
    assert enter.bias is not None and leave.bias is not None
    n_decoded = leave.in_channels - enter.out_channels
    enter.weight[:3] = 0
    leave.weight[:3] *= 0.1
    to_rgb.weight.mul_(0.1)
    to_rgb.bias.fill_(-COPY_SLOPE / 2)
    for colour in range(3):  # the reference's channels are 3 to 5 of the input; decoded ones come before the skipped
        for conv, source in ((enter, 3 + colour), (leave, n_decoded + colour)):
            conv.weight[colour, source, conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = 1
        to_rgb.weight[colour, colour] = COPY_SLOPE
    enter.bias[:3] = leave.bias[:3] = 0


def loss_weights(region: Tensor) -> Tensor:
    """Weights of the loss for mouth regions (B, 1, H, W), mean 1: the mouth most and the upper half least."""
    y = ((torch.arange(region.shape[2], device=region.device) + 0.5) / region.shape[2])[:, None]
    weights = torch.where(y < 0.47, 0.3, 1.0) + 5 * region
    return weights / weights.mean()


def pixel_weights(batch: Batch) -> Tensor:
    """Weights (B, 1, 96, 96) of a batch's pixels: as `loss_weights`, and the more, the less the reference is a help."""
    copying = (batch.faces - batch.reference).abs().mean(dim=1, keepdim=True)
    return loss_weights(batch.region) * (1 + COPYING_WEIGHT * copying * batch.region)


def unlikeness(out: Tensor, target: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """L1 of colours and of edges between pictures (B, 3, H, W), weighted (B, 1, H, W)."""
    across = ((out.diff(dim=3) - target.diff(dim=3)).abs() * weights[..., 1:]).mean()
    downward = ((out.diff(dim=2) - target.diff(dim=2)).abs() * weights[..., 1:, :]).mean()
    return {"l1": ((out - target).abs() * weights).mean(), "edges": across + downward}


def detail(pictures: Tensor) -> Tensor:
    """How much fine detail is around each pixel of (B, 3, H, W): its root mean square, (B, 2, H, W)."""
    grey = pictures.mean(dim=1, keepdim=True)
    fine = torch.cat([grey - _box_blur(grey, size) for size in FINER_THAN_PX], dim=1)
    return (_box_blur(fine.square(), AROUND_PX) + 1e-5).sqrt()  # no slope without end where there is none


def lacking_detail(out: Tensor, batch: Batch) -> Tensor:
    """By how much the detail of `out` (B, 3, 96, 96) differs from the faces', weighted to the mouth.

    Where L1 is the judge, what cannot be foretold is best left out, and mouths come out soft. How much detail there is
    can be foretold from place to place, wherever its lines may lie. Silence is not asked for any: what is left of an
    open mouth would show.
    """
    apart = (detail(out.float()) - detail(batch.faces)).abs().sum(dim=1, keepdim=True)
    return (apart * loss_weights(batch.region) * ~batch.silent[:, None, None, None]).mean()


def _box_blur(image: Tensor, size: int) -> Tensor:
    """Means of size² pixels, fewer at the edges, of (B, C, H, W), as `F.avg_pool2d` counts them without its padding.

    By two products: on a CPU pooling takes a tenth of a training step, and six times that for channels-last pictures.
    """
    with torch.autocast(image.device.type, enabled=False):  # half precision would be detail of its own
        down, across = (_box_means(n, size, image) for n in image.shape[2:])
        return down @ image @ across.T


def _box_means(n: int, size: int, like: Tensor) -> Tensor:
    """What takes n values to the means of `size` around each, (n, n)."""
    near = like.new_ones(n, n).triu(-(size // 2)).tril(size // 2)
    return near / near.sum(dim=1, keepdim=True)


def losses(out: Tensor, small: list[Tensor], mouth: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Unlikeness, weighted to the mouth, detail, and the error of the mouth parameters where they are known."""
    silent = batch.silent[:, None, None, None]
    target, weights = batch.faces, pixel_weights(batch) * torch.where(silent, SILENT_WEIGHT, 1.0)
    of_full = unlikeness(out, target, weights)
    heard = (mouth - batch.mouth).square().mean(dim=(1, 2))
    pooled = [F.adaptive_avg_pool2d(torch.cat((target, weights), dim=1), face.shape[-1]) for face in small]
    of_small = [((f - p[:, :3]).abs() * p[:, 3:]).mean() for f, p in zip(small, pooled, strict=True)]
    return {
        "l1": of_full["l1"],
        "small": torch.stack(of_small).mean(),
        "edges": of_full["edges"],
        "detail": DETAIL_WEIGHT * lacking_detail(out, batch),
        "mouth": (heard * batch.mouth_known).sum() / batch.mouth_known.sum().clamp(min=1),
    }

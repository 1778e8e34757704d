"""A critic of generated mouths: is this a picture of one, and what does it say? Used in training only.

L1 alone settles for the mean of all mouths that a sound allows, which is blurred and half open. The critic asks for one
of them. Trained beside the generator, on the same batches; its loss is scaled to a share of the L1's pull on each
picture, so that neither needs a weight tuned to the other.

References: the visual quality discriminator of arXiv 2008.10010; hinge loss, arXiv 1705.02894; spectral normalisation,
arXiv 1802.05957; an auxiliary head, arXiv 1610.09585; the scaling by gradients, arXiv 2012.09841.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.parametrizations import spectral_norm

TOP, LEFT, RIGHT = 40, 12, 84  # the mouth's and the chin's part of the 96 px face
CHANNELS = (3, 32, 64, 96)
PATCHES = 7 * 9  # whose features see 22 px each
READING_WEIGHT = 10.0  # in the critic's own loss; a mouth parameter is off by some 0.1
SAYING_WEIGHT = 5.0  # of a mouth that says something else, in the critic's displeasure


class MouthCritic(nn.Module):
    """Judges faces (B, 3, 96, 96) in [0, 1] by their mouths."""

    def __init__(self, n_parameters: int) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(
            spectral_norm(nn.Conv2d(entering, leaving, 4, 2, 1))
            for entering, leaving in zip(CHANNELS, CHANNELS[1:], strict=False)
        )
        self.to_realness = spectral_norm(nn.Conv2d(CHANNELS[-1], 1, 3, padding=1))
        self.to_mouth = nn.Sequential(
            nn.Conv2d(CHANNELS[-1], 16, 1), nn.Flatten(), nn.Linear(16 * PATCHES, n_parameters)
        )

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Realness of patches (B, 1, 7, 9), mouth parameters (B, n_parameters) and the features they come from."""
        x = faces[..., TOP:, LEFT:RIGHT] * 2 - 1
        features = []
        for conv in self.trunk:
            x = F.leaky_relu(conv(x), 0.2)
            features.append(x)
        return self.to_realness(x), self.to_mouth(x), features

    def own_loss(self, target: Tensor, generated: Tensor, mouth: Tensor, known: Tensor) -> Tensor:
        """To tell `target` from `generated`, and to read `mouth` (B, n_parameters) in targets where it is `known`."""
        real, read, _ = self(target)
        fake, _, _ = self(generated.detach())
        reading = ((read - mouth).square().mean(dim=1) * known).sum() / known.sum().clamp(min=1)
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean() + READING_WEIGHT * reading

    def pull(self, l1: Tensor, generated: Tensor, target: Tensor) -> Tensor:
        """A loss whose gradient by each picture of `generated` points where the critic wishes, as long as that of `l1`.

        `l1` is a loss of `generated`, which belongs to the generator's graph.
        """
        wish = self.wish(generated, target)
        (own,) = torch.autograd.grad(l1, generated, retain_graph=True)
        scale = own.flatten(1).norm(dim=1) / wish.flatten(1).norm(dim=1).clamp(min=1e-12)
        return (wish * scale[:, None, None, None] * generated).sum()

    def wish(self, generated: Tensor, target: Tensor) -> Tensor:
        """Gradient of the critic's displeasure by `generated`: fake, another mouth than the target's, unlike it."""
        face = generated.detach().requires_grad_()
        with torch.no_grad():
            _, read, features = self(target)
        fake, mouth, others = self(face)
        displeasure = SAYING_WEIGHT * (mouth - read).abs().mean() - fake.mean()
        for feature, other in zip(features, others, strict=True):
            displeasure = displeasure + (feature - other).abs().mean() / feature.abs().mean()
        (gradient,) = torch.autograd.grad(displeasure, face)
        return gradient

"""Random numbers of one generator, on the default device: what `with device:` makes it."""

import torch
from torch import Tensor


class Draws:
    """Everything random about a batch, from one seed."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def sign(self, n: int) -> Tensor:
        return 1.0 - 2.0 * (self.uniform(n) < 0.5)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def integers(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=self.generator)

    def chosen(self, chances: Tensor, n: int) -> Tensor:
        """Indices (n,) into chances, with replacement."""
        return torch.multinomial(chances, n, replacement=True, generator=self.generator)

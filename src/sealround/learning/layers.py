"""The one layer of our own: dropout whose randomness comes from a named stream instead of torch's global state."""

from __future__ import annotations

import torch
from torch import nn

from sealround.errors import UsageError

__all__ = ["Dropout", "seed_dropout"]


class Dropout(nn.Module):
    """Drop each unit with probability ``share`` in training and scale up the rest (Srivastava et al. 2014).

    Attributes:
        share: Probability of dropping, 0 <= share <= 1.
        generator: Where the masks come from; see `seed_dropout`.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop, in training; the identity otherwise."""
        if not self.training or self.share == 0.0:
            return x
        if self.generator is None:
            raise UsageError("dropout has no random stream", hint="call seed_dropout before training")
        keep = 1.0 - self.share
        if keep == 0.0:
            return torch.zeros_like(x)
        mask = torch.empty_like(x).bernoulli_(keep, generator=self.generator)
        return x * mask.div_(keep)


def seed_dropout(module: nn.Module, generator: torch.Generator) -> None:
    """Let every `Dropout` in ``module`` draw from ``generator``, in the order of the forward pass."""
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator

"""What torch's layers lack: dropout that draws from a named stream, and memory for a network built without any."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from sealround.errors import UsageError

__all__ = ["Dropout", "seed_dropout", "with_memory"]

_Module = TypeVar("_Module", bound=nn.Module)


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


def with_memory(module: _Module, device: torch.device) -> _Module:
    """Give a module from the meta device memory for its parameters, their values undefined.

    As ``module.to_empty``, which for meta tensors also imports torch's symbolic algebra: seconds, at every start.
    """
    for layer in module.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            layer.register_parameter(name, nn.Parameter(torch.empty(parameter.shape, device=device)))
    return module

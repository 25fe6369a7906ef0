"""A module's parameters as one flat vector, and its gradients as another.

The federation speaks in vectors, optimisers too: when every parameter is a view of one contiguous buffer, a step of
SGD, FedProx or SCAFFOLD is a few operations on one tensor instead of a few on each of a hundred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sealround.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from sealround.vocabulary import Update

__all__ = ["FlatModule", "bind", "named_parameters"]


@dataclass(frozen=True, slots=True, eq=False)
class FlatModule:
    """A module whose parameters are views of ``values`` and whose gradients are views of ``gradient``.

    Attributes:
        module: The module.
        values: All parameters in the order of ``module.parameters()``, float32 ``(d,)``.
        gradient: Where ``backward`` adds up, float32 ``(d,)``.
    """

    module: nn.Module
    values: torch.Tensor
    gradient: torch.Tensor

    def load(self, vector: Update) -> None:
        """Set every parameter from a flat vector, float32 ``(d,)``.

        Raises:
            UsageError: If it has another shape.
        """
        if vector.shape != tuple(self.values.shape):
            msg = f"a model of shape {vector.shape} does not fit {self.values.numel()} parameters"
            raise UsageError(msg, hint="the model was made for other inputs or another [model] section")
        # `torch.tensor` copies, so the vector may be a read-only view into a message.
        self.values.copy_(torch.tensor(vector, dtype=torch.float32))

    def matrices(self) -> torch.Tensor:
        """Return 1 for parameters of weight matrices and kernels, 0 for biases and norms, float32 ``(d,)``."""
        mask = torch.zeros_like(self.values)
        start = 0
        for parameter in self.module.parameters():
            stop = start + parameter.numel()
            if parameter.ndim > 1:
                mask[start:stop] = 1.0
            start = stop
        return mask

    def vector(self) -> Update:
        """Return a copy of every parameter, float32 ``(d,)``."""
        return np.array(self.values.cpu().numpy())


def bind(module: nn.Module, device: torch.device) -> FlatModule:
    """Move a module to a device and make its parameters views of one vector.

    Args:
        module: Its values are kept; it must not be moved or converted afterwards, which would cut the tie.
        device: Where to.

    Returns:
        The module with its vectors.
    """
    module.to(device=device, dtype=torch.float32)
    parameters = list(module.parameters())
    values = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    gradient = torch.zeros_like(values)
    start = 0
    for parameter in parameters:
        piece = slice(start, start + parameter.numel())
        parameter.data = values[piece].view_as(parameter)
        parameter.grad = gradient[piece].view_as(parameter)
        start = piece.stop
    return FlatModule(module, values, gradient)


def named_parameters(module: nn.Module, vector: Update) -> dict[str, np.ndarray]:
    """Cut a flat vector into the module's parameters by name, each in its own shape, float32.

    Raises:
        UsageError: If the vector does not fit.
    """
    sizes = [parameter.numel() for parameter in module.parameters()]
    if vector.shape != (sum(sizes),):
        msg = f"a model of shape {vector.shape} does not fit {sum(sizes)} parameters"
        raise UsageError(msg)
    pieces = np.split(vector, np.cumsum(sizes)[:-1])
    return {
        name: np.ascontiguousarray(piece.reshape(tuple(parameter.shape)), dtype=np.float32)
        for (name, parameter), piece in zip(module.named_parameters(), pieces, strict=True)
    }

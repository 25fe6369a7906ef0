"""A model in use: from a batch of inputs to outputs, and from derivatives by the outputs to those by the parameters.

Linear models do not go through autograd: their gradient is one matrix-vector product, and on the small batches of
tabular studies autograd's bookkeeping would cost several times the arithmetic (``benchmarks/local_training.py``
measures it).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Protocol, cast

import torch

from sealround.learning.layers import seed_dropout, with_memory
from sealround.learning.models import Network, build_model, is_linear
from sealround.learning.vector import FlatModule, bind

if TYPE_CHECKING:
    from sealround.study.sections import Model

__all__ = ["LinearPredictor", "NetworkPredictor", "Predictor", "predictor_for"]


class Predictor(Protocol):
    """A model whose parameters, and whose gradient, are one flat vector each."""

    flat: FlatModule

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return one number for each example, ``(n,)``, in training."""
        ...

    def backward(self, inputs: torch.Tensor, outputs: torch.Tensor, residual: torch.Tensor) -> None:
        """Set ``flat.gradient`` from the derivative by ``outputs``, which the last call gave for ``inputs``."""
        ...

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return one number for each example, ``(n,)``, outside of training."""
        ...

    def seed(self, generator: torch.Generator) -> None:
        """Take dropout's randomness from ``generator``."""
        ...


@functools.lru_cache(maxsize=4)
def predictor_for(model: Model, shape: tuple[int, ...], device: torch.device) -> Predictor:
    """Return the predictor of a study's model, its parameters undefined: load a vector before each use.

    The sites of one process share it, as they share a workbench: 120 sites need one network's memory, not 120.

    Args:
        model: The study's section.
        shape: Of one encoded example.
        device: Where to.

    Returns:
        A `LinearPredictor` if the model is linear, else a `NetworkPredictor`.
    """
    flat = bind(with_memory(build_model(model, shape), device), device)
    return LinearPredictor(flat) if is_linear(model) else NetworkPredictor(flat)


class LinearPredictor:
    """``x @ weight + bias``, with the bias after the weights in the flat vector."""

    def __init__(self, flat: FlatModule) -> None:
        self.flat = flat
        width = cast("Network", flat.module).head.in_features
        self._weight, self._weight_gradient = flat.values[:width], flat.gradient[:width]
        # A scalar view, or nothing to add for Cox.
        self._bias, self._bias_gradient = flat.values[width:], flat.gradient[width:]
        self._has_bias = self._bias.numel() == 1

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return one number for each example, ``(n,)``."""
        if self._has_bias:
            return torch.addmv(self._bias, inputs, self._weight)
        return torch.mv(inputs, self._weight)

    def backward(self, inputs: torch.Tensor, outputs: torch.Tensor, residual: torch.Tensor) -> None:  # noqa: ARG002
        """Set the gradient: ``inputs.T @ residual``, and the sum of the residual for the bias."""
        torch.mv(inputs.T, residual, out=self._weight_gradient)
        if self._has_bias:
            torch.sum(residual, 0, keepdim=True, out=self._bias_gradient)

    predict = outputs

    def seed(self, generator: torch.Generator) -> None:
        """Do nothing: no dropout here."""


class NetworkPredictor:
    """Any network, by autograd."""

    def __init__(self, flat: FlatModule) -> None:
        self.flat = flat

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return one number for each example, ``(n,)``, and keep what `backward` needs."""
        self.flat.module.train()
        with torch.enable_grad():
            outputs: torch.Tensor = self.flat.module(inputs)
        return outputs

    def backward(self, inputs: torch.Tensor, outputs: torch.Tensor, residual: torch.Tensor) -> None:  # noqa: ARG002
        """Set the gradient by the chain rule."""
        self.flat.gradient.zero_()
        torch.autograd.backward(outputs, residual)

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return one number for each example, ``(n,)``, without dropout."""
        self.flat.module.eval()
        with torch.no_grad():
            outputs: torch.Tensor = self.flat.module(inputs)
        return outputs

    def seed(self, generator: torch.Generator) -> None:
        """Take dropout's randomness from ``generator``."""
        seed_dropout(self.flat.module, generator)

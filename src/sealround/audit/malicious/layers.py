"""Where a dense layer's numbers lie in a flat vector of parameters: all that planted models are written in.

The architecture is in the study file, whose digest every site agreed to. So a malicious coordinator cannot insert a
layer, change an activation or widen one, as the published attacks do: what is left to it is the *values*. The attacks
of this package are written under that rule, and say what of the original is lost by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from sealround.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from sealround.learning.models import Network
    from sealround.vocabulary import Update

__all__ = ["Dense", "dense_layers", "hidden_layers", "rows_of"]


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer's place in the flat vector.

    Attributes:
        name: As torch calls it: ``"features.0"``, ``"head"``.
        start: Index of its first weight.
        outputs: Rows of the weight matrix.
        inputs: Its columns.
        has_bias: Whether biases follow the weights.
    """

    name: str
    start: int
    outputs: int
    inputs: int
    has_bias: bool

    @property
    def weight(self) -> slice:
        """Where the weights are, row by row."""
        return slice(self.start, self.start + self.outputs * self.inputs)

    @property
    def bias(self) -> slice:
        """Where the biases are; empty without."""
        stop = self.weight.stop
        return slice(stop, stop + (self.outputs if self.has_bias else 0))

    def put(self, vector: Update, weight: np.ndarray, bias: np.ndarray | None = None) -> None:
        """Write the weights, ``(outputs, inputs)``, and the biases, ``(outputs,)`` or none, into a flat vector."""
        vector[self.weight] = weight.reshape(-1)
        if bias is not None and self.has_bias:
            vector[self.bias] = bias


def dense_layers(network: Network) -> tuple[Dense, ...]:
    """Return the linear layers of a model, first to last; the last is the head."""
    found: list[Dense] = []
    offset, starts = 0, {}
    for name, parameter in network.named_parameters():
        starts[name] = offset
        offset += parameter.numel()
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            shape = (module.out_features, module.in_features)
            found.append(Dense(name, starts[f"{name}.weight"], *shape, has_bias=module.bias is not None))
    return tuple(found)


def hidden_layers(network: Network) -> tuple[Dense, ...]:
    """Return the hidden linear layers and then the head.

    Raises:
        UnsupportedError: If there is no hidden one: records cannot be told apart by the rows of a layer.
    """
    layers = dense_layers(network)
    if len(layers) < 2:  # noqa: PLR2004  (one hidden layer and the head)
        raise UnsupportedError(
            "the model has no hidden linear layer to plant in",
            hint="a linear model, or a convolutional one up to its mean pool, gives way to threshold sweeps instead",
        )
    return layers


def rows_of(vector: Update, layer: Dense) -> tuple[np.ndarray, np.ndarray]:
    """Return a layer's weights, ``(outputs, inputs)``, and biases, ``(outputs,)``, of a flat vector, float64.

    Raises:
        UsageError: If the vector ends before the layer does.
    """
    if vector.ndim != 1 or vector.size < layer.bias.stop:
        raise UsageError(f"a vector of shape {vector.shape} does not hold the layer {layer.name!r}")
    weight = np.asarray(vector[layer.weight], dtype=np.float64).reshape(layer.outputs, layer.inputs)
    return weight, np.asarray(vector[layer.bias], dtype=np.float64)

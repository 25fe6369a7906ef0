"""Examples of a first linear layer once more, from columns without noise.

With one output, what the loss sends back to the layer for an example is known, its length aside, once the neurons that
the example turns on are known: the network says it. So the examples solve a linear system whose matrix has no noise,
and the length that each column gets is the example's residual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from sealround.audit.inversion.layers import first_linear, is_random, output_slopes, stages

if TYPE_CHECKING:
    from sealround.audit.inversion.layers import Stage
    from sealround.audit.inversion.observation import Observation
    from sealround.audit.inversion.sparse_columns import Basis

__all__ = ["FirstLayer", "Sharpened", "error_of", "joined", "layer_of", "repeatable", "sharpened"]

_SHARPENINGS = 3
_MOVES = 64


@dataclass(frozen=True, slots=True, eq=False)
class FirstLayer:
    """The first linear layer: where it is, its values, and its gradient.

    Attributes:
        stage: Where.
        forward: Weights with the bias as last column, ``(m, p + 1)``.
        gradient: Theirs, ``(m, p + 1)``.
        output: The single output's weights by neuron, ``(m,)``, if nothing else is between; else ``None``.
    """

    stage: Stage
    forward: torch.Tensor
    gradient: torch.Tensor
    output: torch.Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Sharpened:
    """Examples and what belongs to them.

    Attributes:
        inputs: ``(b, p)``.
        outputs: Of the network.
        columns: Of D, ``(b, m)``.
        weights: Derivatives of the loss by the single output, ``(b,)``; of no use with several outputs.
    """

    inputs: torch.Tensor
    outputs: torch.Tensor
    columns: torch.Tensor
    weights: torch.Tensor


def layer_of(seen: Observation) -> FirstLayer:
    """Cut the first linear layer out of the flat vectors."""
    chain = stages(seen)
    index = first_linear(chain)[0]
    assert index is not None  # noqa: S101  (for the type checker: `why_not` asked)
    stage = chain[index]
    active = [later for later in chain[index + 1 :] if not later.passive]
    output = None
    if len(active) == 2 and isinstance(active[1].module, nn.Linear) and active[1].output_shape == (1,):  # noqa: PLR2004
        output = seen.model[active[1].weight]
    return FirstLayer(stage, joined(stage, seen.model), joined(stage, seen.gradient), output)


def joined(stage: Stage, flat: torch.Tensor) -> torch.Tensor:
    """Return a linear layer's part of a flat vector with the bias as last column, ``(m, p + 1)``."""
    assert stage.weight is not None  # noqa: S101  (for the type checker: `why_not` asked)
    assert stage.bias is not None  # noqa: S101
    bias = flat[stage.bias].unsqueeze(1)
    return torch.cat([flat[stage.weight].view(len(bias), -1), bias], 1)


def repeatable(seen: Observation) -> bool:
    """Whether the attacker can play the update again from the examples: one gradient, nothing drawn."""
    return seen.plan.single_gradient and not is_random(seen)


def sharpened(
    seen: Observation, layer: FirstLayer, basis: Basis, inputs: torch.Tensor, generator: torch.Generator
) -> Sharpened:
    """Solve for examples once more, with columns of D that have no noise where the network says what they are."""
    extended = torch.cat([inputs, torch.ones_like(inputs[:, :1])], 1)
    columns = torch.linalg.lstsq(extended.T, layer.gradient.T, driver="gelsd").solution
    if not repeatable(seen):
        outputs, slopes = output_slopes(seen, layer.stage, inputs.view(-1, *seen.shape))
        weights = (columns * slopes).sum(1) / slopes.square().sum(1) if outputs.ndim == 1 else columns[:, 0]
        return Sharpened(inputs, outputs, columns, weights)
    inputs, outputs, slopes = _at(seen, layer, basis, (inputs, columns), generator)
    if outputs.ndim != 1:
        return Sharpened(inputs, outputs, columns, columns[:, 0])
    least = torch.inf
    best = Sharpened(inputs, outputs, columns, (columns * slopes).sum(1) / slopes.square().sum(1))
    for _ in range(_SHARPENINGS):
        solved = torch.linalg.lstsq(slopes.T, layer.gradient, driver="gelsd").solution
        misfit = float((slopes.T @ solved - layer.gradient).norm())
        if not misfit < least:
            break
        weights, columns = solved[:, -1], slopes * solved[:, -1:]
        inputs, outputs, slopes = _at(seen, layer, basis, (solved[:, :-1] / solved[:, -1:], columns), generator)
        least, best = misfit, Sharpened(inputs, outputs, columns, weights)
    return best


def _at(
    seen: Observation,
    layer: FirstLayer,
    basis: Basis,
    found: tuple[torch.Tensor, torch.Tensor],
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return examples, outputs and slopes; examples moved, within their error, to where slopes are like the columns.

    A neuron of a deeper layer may be so near its edge that the error decides whether it is on.
    """
    inputs, columns = found
    outputs, slopes = output_slopes(seen, layer.stage, inputs.view(-1, *seen.shape))
    if outputs.ndim != 1:
        return inputs, outputs, slopes
    reach = error_of(basis, columns, inputs) * inputs.norm(dim=1) / inputs.shape[1] ** 0.5
    blurred = basis.noise * torch.linalg.pinv(columns).norm(dim=0) * columns.shape[1] ** 0.5
    bad = torch.nonzero(_apart(slopes, columns) > 1e-6 + 10.0 * blurred).squeeze(1).tolist()
    inputs = inputs.clone()
    for row in bad:
        moves = torch.randn((_MOVES, inputs.shape[1]), dtype=inputs.dtype, generator=generator)
        near = inputs[row] + 2.0 * reach[row] * torch.cat([torch.zeros_like(moves[:1]), moves])
        near_slopes = output_slopes(seen, layer.stage, near.view(-1, *seen.shape))[1]
        inputs[row] = near[_apart(near_slopes, columns[row]).argmin()]
    if bad:
        outputs, slopes = output_slopes(seen, layer.stage, inputs.view(-1, *seen.shape))
    return inputs, outputs, slopes


def _apart(slopes: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return the sine of the angle between slopes and columns, ``(k,)``."""
    unit = columns / columns.norm(dim=-1, keepdim=True)
    along = (slopes * unit).sum(-1, keepdim=True) * unit
    sine: torch.Tensor = (slopes - along).norm(dim=-1) / slopes.norm(dim=-1)
    return torch.nan_to_num(sine, nan=1.0)


def error_of(basis: Basis, columns: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Return the deviation that the noise gives each example, as a share of its length, ``(b,)``."""
    deviation = basis.noise * torch.linalg.pinv(columns).norm(dim=0)
    length = inputs.norm(dim=1)
    error: torch.Tensor = deviation * (inputs.shape[1] + length.square()).sqrt() / length
    return error

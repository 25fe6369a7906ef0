"""R-GAP: one example, layer by layer from the output back to the input.

A layer's input solves two kinds of linear equations: those of the forward pass, as far as its outputs are known, and
those of its weights' gradient, which is linear in the input once the derivative by its outputs is known. The last
layer's output is what its residual says; activations are inverted, derivatives go back by the chain rule. Where the
equations of a layer have full rank its input is exact, and so is what comes before.

The rank of these equations says, without any attack, how far a layer hides its input (the paper's rank analysis;
"virtual constraints" are the rows that ReLU's zeros take away).

Source: J. Zhu, M. Blaschko, "R-GAP: Recursive Gradient Attack on Privacy", ICLR 2021.
Here other than there: biases, and the residual from the last bias where there is one; a convolution is
handled as any linear map is, by its matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from sealround.audit.inversion.layers import is_random, stages
from sealround.audit.inversion.objectives import Binary
from sealround.audit.inversion.observation import Reconstruction
from sealround.audit.inversion.simulation import flat_gradient, relative_mismatch

if TYPE_CHECKING:
    from sealround.audit.inversion.layers import Stage
    from sealround.audit.inversion.observation import Observation

__all__ = ["LayerRank", "attack", "layer_ranks", "why_not"]

_NAME = "R-GAP"
_CERTAIN = 1e-6
_SAME = 1e-3
_CHUNK = 64
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh)
_GRID = 4001
_FARTHEST = 30.0
_EDGE = 1e-12


@dataclass(frozen=True, slots=True)
class LayerRank:
    """How many numbers of a layer's input its equations determine.

    Attributes:
        layer: Its name.
        unknowns: Numbers of its input.
        forward: Equations of the forward pass whose outputs are known.
        gradient: Equations of the weights' gradient.
        rank: Of all together: ``unknowns`` if the input is determined.
    """

    layer: str
    unknowns: int
    forward: int
    gradient: int
    rank: int


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What is known after a layer.

    Attributes:
        values: Of its outputs, flat.
        known: Which of them are known, bool.
        derivative: Of the loss by them, flat.
    """

    values: torch.Tensor
    known: torch.Tensor
    derivative: torch.Tensor


def why_not(seen: Observation) -> str | None:
    """Return why R-GAP does not apply, or ``None``."""
    if seen.examples != 1:
        return f"it rebuilds one example, and the update is of {seen.examples}"
    if not seen.plan.single_gradient or is_random(seen):
        return "it needs one gradient, without dropout"
    if not isinstance(seen.objective, Binary):
        return "it reads the residual of a single logit"
    chain = stages(seen)
    last = next((stage for stage in reversed(chain) if not stage.passive), None)
    if last is None or not isinstance(last.module, nn.Linear) or last.output_shape != (1,):
        return "the network does not end in a linear layer with one output"
    return next((reason for stage in chain if (reason := _obstacle(stage)) is not None), None)


def _obstacle(stage: Stage) -> str | None:
    """Return why the recursion does not pass a layer, or ``None``."""
    if not stage.follows:
        return f"something that is not a layer comes before {stage.name!r}"
    if _has_matrix(stage) or stage.passive or isinstance(stage.module, _ACTIVATIONS):
        return None
    return f"{type(stage.module).__name__} is neither linear with weights nor invertible"


def _has_matrix(stage: Stage) -> bool:
    return isinstance(stage.module, nn.Linear | nn.Conv2d)


def attack(seen: Observation, generator: torch.Generator) -> Reconstruction:  # noqa: ARG001  (attacks are called alike)
    """Rebuild the example.

    Args:
        seen: The round, for which `why_not` has nothing to say.
        generator: Not used: nothing is drawn.

    Returns:
        One example, of the readings of the last layer the one whose gradient is nearest to the one seen. Certified if
        every layer's equations had full rank, the gradient, played again, is within a millionth, and no other reading's
        is: without biases, odd networks have twins, x with one label and -x with the other, and homogeneous ones may
        have two multiples of one example.
    """
    found = [_read(seen, label, last) for label, last in _readings(seen)]
    if not found:
        return Reconstruction(_NAME, seen.model.new_zeros((0, *seen.shape)), note="the residual is zero")
    best = min(found, key=lambda one: one.mismatch)
    twins = [
        one for one in found if one is not best and one.mismatch <= _CERTAIN and not _near(one.inputs, best.inputs)
    ]
    if twins:
        none = torch.zeros(1, dtype=torch.bool)
        return replace(best, certified=none, note="another example has the same gradient: this is it or its twin")
    return best


def _near(one: torch.Tensor, other: torch.Tensor) -> bool:
    return float((one - other).norm()) <= _SAME * float(other.norm())


def _read(seen: Observation, label: float, last: _Known) -> Reconstruction:
    """Rebuild the example by one reading of the last layer."""
    inputs, ranks = _back(seen, last)
    labels = torch.tensor([label], dtype=inputs.dtype)
    mismatch = relative_mismatch(seen, flat_gradient(seen)(inputs, labels))
    short = [rank for rank in ranks if rank.rank < rank.unknowns]
    note = "; ".join(f"{rank.layer}: {rank.rank} of {rank.unknowns} numbers determined" for rank in short)
    certified = torch.tensor([not short and mismatch <= _CERTAIN])
    return Reconstruction(_NAME, inputs, labels, mismatch, certified, note=note)


def layer_ranks(seen: Observation) -> tuple[LayerRank, ...]:
    """Return how far each layer determines its input, first layer first; empty if the residual is zero."""
    for _, last in _readings(seen):
        return tuple(reversed(_back(seen, last)[1]))
    return ()


def _readings(seen: Observation) -> list[tuple[float, _Known]]:
    """Return what the network's last gradient can mean: label, output and residual."""
    last = next(stage for stage in reversed(stages(seen)) if not stage.passive)
    assert last.weight is not None  # noqa: S101  (for the type checker: `why_not` asked)
    assert isinstance(seen.objective, Binary)  # noqa: S101
    objective, gradient, weight = seen.objective, seen.gradient, seen.model[last.weight]
    found = []
    for label in (0.0, 1.0):
        wanted = label * (1.0 - objective.smoothing) + objective.smoothing / 2
        cost = objective.weights[int(label)]
        if last.bias is not None:
            residuals = gradient[last.bias]
            logits = torch.logit(residuals / cost + wanted) - objective.offset
            pairs = [(logits, residuals)] if bool(torch.isfinite(logits).all()) and bool(residuals.any()) else []
        else:
            pairs = _without_bias(float(gradient[last.weight] @ weight), (wanted, cost, objective.offset), weight)
        found += [(label, _Known(z, torch.ones(1, dtype=torch.bool), k)) for z, k in pairs]
    return found


def _without_bias(
    product: float, terms: tuple[float, float, float], like: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Solve ``residual(z) z = <weights, their gradient>`` for the logit: at most a few roots, by bisection."""
    wanted, cost, offset = terms

    def residual(z: torch.Tensor) -> torch.Tensor:
        return cost * (torch.sigmoid(z + offset) - wanted)

    grid = torch.linspace(-_FARTHEST, _FARTHEST, _GRID, dtype=like.dtype)
    value = residual(grid) * grid - product
    starts = torch.nonzero(value[:-1] * value[1:] < 0).squeeze(1)
    low, high = grid[starts], grid[starts + 1]
    for _ in range(60):
        middle = (low + high) / 2
        left = (residual(low) * low - product) * (residual(middle) * middle - product) <= 0
        low, high = torch.where(left, low, middle), torch.where(left, middle, high)
    return [(z.view(1), residual(z).view(1)) for z in (low + high) / 2]


def _back(seen: Observation, last: _Known) -> tuple[torch.Tensor, list[LayerRank]]:
    """Go from the output to the input; return the example ``(1, *shape)`` and ranks, last layer first."""
    known, ranks = last, []
    for stage in reversed(stages(seen)):
        if _has_matrix(stage):
            known, rank = _through(seen, stage, known)
            ranks.append(rank)
        elif not stage.passive:
            known = _before_activation(stage, known)
    return known.values.view(1, *seen.shape), ranks


def _through(seen: Observation, stage: Stage, known: _Known) -> tuple[_Known, LayerRank]:
    """Solve for a layer's input; of all solutions the shortest."""
    assert stage.weight is not None  # noqa: S101
    forward, backward = _matrices(seen, stage, known.derivative)
    bias = forward.new_zeros(())
    if stage.bias is not None:
        spread = [-1] + [1] * (len(stage.output_shape) - 1)
        bias = seen.model[stage.bias].view(spread).expand(stage.output_shape).reshape(-1)[known.known]
    left = [forward[known.known]]
    right = [known.values[known.known] - bias]
    # As heavy as the forward equations, whatever the size of the residual.
    size = backward.norm()
    if bool(size > 0):
        weight = forward.norm() / size
        left.append(backward * weight)
        right.append(seen.gradient[stage.weight] * weight)
    system = torch.cat(left)
    solved = torch.linalg.lstsq(system, torch.cat(right).unsqueeze(1), driver="gelsd", rcond=1e-10)
    values = solved.solution.squeeze(1)
    rank = LayerRank(stage.name, values.numel(), len(left[0]), len(backward), int(solved.rank))
    everything = torch.ones(values.numel(), dtype=torch.bool)
    return _Known(values, everything, forward.T @ known.derivative), rank


def _matrices(seen: Observation, stage: Stage, derivative: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the matrices of the forward pass ``(out, in)`` and of the weights' gradient ``(weights, in)``."""
    module = stage.module
    assert isinstance(module, nn.Linear | nn.Conv2d)  # noqa: S101
    weight = seen.model[stage.weight].view(module.weight.shape)
    zero = {} if module.bias is None else {"bias": torch.zeros_like(module.bias)}

    def applied(values: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = functional_call(module, {"weight": values} | zero, (inputs.unsqueeze(0),))
        return output.reshape(-1)

    def gradient(inputs: torch.Tensor) -> torch.Tensor:
        pulled: torch.Tensor = grad(lambda values: applied(values, inputs) @ derivative)(weight)
        return pulled.reshape(-1)

    def columns(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return applied(weight, inputs), gradient(inputs)

    unknowns = torch.Size(stage.input_shape).numel()
    basis = torch.eye(unknowns, dtype=weight.dtype).view(unknowns, *stage.input_shape)
    forward, backward = zip(*(vmap(columns)(part) for part in torch.split(basis, _CHUNK)), strict=True)
    return torch.cat(forward).T, torch.cat(backward).T


def _before_activation(stage: Stage, known: _Known) -> _Known:
    """Invert an activation: what its input was, where that can be known, and the derivative by it."""
    module, after = stage.module, known.values
    match module:
        case nn.ReLU():
            # Exact zeros come back as rounding errors of either sign: what the derivative cannot pass is off.
            on = after > after.abs().max() * 1e-9
            return _Known(after, on & known.known, known.derivative * on)
        case nn.LeakyReLU():
            slope = torch.where(after > 0, 1.0, module.negative_slope).to(after.dtype)
            before = after / slope
        case nn.Sigmoid():
            inside = after.clamp(_EDGE, 1.0 - _EDGE)
            before, slope = torch.logit(inside), inside * (1.0 - inside)
        case _:
            inside = after.clamp(-1.0 + _EDGE, 1.0 - _EDGE)
            before, slope = torch.atanh(inside), 1.0 - inside.square()
    return _Known(before, known.known, known.derivative * slope)

"""A site's local training, played as one differentiable function of the records it is guessed to have.

`sealround.audit.inversion.simulation.played_update` plays SGD; here are weight decay and Adam too, as
`sealround.learning.steps` takes those steps, and the batches that a plan leads to.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.func import grad

from sealround.audit.inversion.simulation import mean_loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.audit.inversion.observation import LocalPlan, Observation

__all__ = ["batches_of", "passes_of", "unrolled_update"]

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # As the site's Adam has them.


def batches_of(plan: LocalPlan, examples: int) -> tuple[torch.Tensor, ...]:
    """Return the rows of each step if every pass went through the records in the same order.

    For one pass or less this loses nothing: records are rebuilt in any order, so that the site's order is a matter of
    naming. For more passes it is an assumption, unless a step takes all records.

    Args:
        plan: How the site trains.
        examples: How many records it has.
    """
    once = torch.split(torch.arange(examples), plan.batch_size)
    return tuple(once[step % len(once)] for step in range(plan.steps))


def passes_of(plan: LocalPlan, examples: int) -> int:
    """Return how many passes over the records a round makes, begun ones counted."""
    return math.ceil(plan.steps / math.ceil(examples / plan.batch_size))


def unrolled_update(
    seen: Observation, inputs: torch.Tensor, labels: torch.Tensor, batches: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Play the site's steps, and return the update they give, ``(d,)``, differentiable in inputs and labels.

    Args:
        seen: The round; its plan says which optimiser.
        inputs: Guessed examples, ``(n, *shape)``.
        labels: Guessed labels.
        batches: Rows of each step, int64.
    """
    plan, gradient = seen.plan, grad(mean_loss(seen))
    decay = plan.weight_decay * _matrices(seen) if plan.weight_decay else None
    values = seen.model
    first, second = torch.zeros_like(values), torch.zeros_like(values)
    for number, rows in enumerate(batches, 1):
        step = gradient(values, inputs[rows], labels[rows])
        if plan.proximal:
            step = step + plan.proximal * (values - seen.model)
        if plan.adaptive:
            first = _BETA1 * first + (1.0 - _BETA1) * step
            second = _BETA2 * second + (1.0 - _BETA2) * step.square()
            step = _adam(first, second, number)
            if decay is not None:
                step = step + decay * values
        else:
            if decay is not None:
                step = step + decay * values
            first = plan.momentum * first + step
            step = first
        values = values - plan.learning_rate * step
    return values - seen.model


def _adam(first: torch.Tensor, second: torch.Tensor, number: int) -> torch.Tensor:
    # The root has no slope at 0, where a coordinate never moved: there the step is 0 whatever its slope.
    moved = second > 0.0
    root = torch.where(moved, second, 1.0).sqrt() / math.sqrt(1.0 - _BETA2**number)
    return torch.where(moved, first / ((root + _EPSILON) * (1.0 - _BETA1**number)), 0.0)


def _matrices(seen: Observation) -> torch.Tensor:
    """Return 1 for weights and 0 for biases and norms, which the site's weight decay leaves alone, ``(d,)``."""
    return torch.cat([torch.full((p.numel(),), float(p.ndim > 1)) for p in seen.module.parameters()]).to(seen.model)

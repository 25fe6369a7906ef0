"""The site's round played by the attacker, as differentiable functions of the records it guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch.func import functional_call, grad, jvp, vmap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealround.audit.inversion.observation import Observation

__all__ = ["flat_gradient", "jacobian", "mean_loss", "played_update", "relative_mismatch"]


class _MeanLoss(Protocol):
    def __call__(self, model: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor: ...


def mean_loss(seen: Observation) -> _MeanLoss:
    """Return the site's loss as a function of the flat parameters, the inputs and the labels.

    Returns:
        A function of ``(d,)``, ``(n, *shape)`` and labels in the objective's shape; ``()``.
    """
    names = [name for name, _ in seen.module.named_parameters()]
    shapes = [parameter.shape for parameter in seen.module.parameters()]
    sizes = [shape.numel() for shape in shapes]
    buffers = dict(seen.module.named_buffers())

    def loss(model: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        pieces = [piece.view(shape) for piece, shape in zip(torch.split(model, sizes), shapes, strict=True)]
        # Copies: batch norm in training writes into its buffers, and every guess starts from the same.
        state = dict(zip(names, pieces, strict=True)) | {name: value.clone() for name, value in buffers.items()}
        return seen.objective(functional_call(seen.module, state, (inputs,)), labels)

    return loss


def flat_gradient(seen: Observation) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the gradient of the mean loss at the model that the site started from.

    Returns:
        A function of inputs ``(n, *shape)`` and labels; ``(d,)``, differentiable in both.
    """
    gradient = grad(mean_loss(seen))
    return lambda inputs, labels: gradient(seen.model, inputs, labels)


def played_update(
    seen: Observation, inputs: torch.Tensor, labels: torch.Tensor, batches: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Play the site's steps of SGD, and return the update they give, ``(d,)``, differentiable in inputs and labels.

    Args:
        seen: The round.
        inputs: Guessed examples, ``(n, *shape)``.
        labels: Guessed labels.
        batches: Rows of each step, int64.
    """
    plan, gradient = seen.plan, grad(mean_loss(seen))
    values, velocity = seen.model, torch.zeros_like(seen.model)
    for rows in batches:
        step = gradient(values, inputs[rows], labels[rows])
        if plan.proximal:
            step = step + plan.proximal * (values - seen.model)
        velocity = plan.momentum * velocity + step if plan.momentum else step
        values = values - plan.learning_rate * velocity
    return values - seen.model


def jacobian(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, *, chunk: int = 64) -> torch.Tensor:
    """Return the derivative of a vector function by every number of ``at``, forward mode, ``chunk`` directions a pass.

    Args:
        function: From ``at``'s shape to ``(d,)``.
        at: Any shape, ``u`` numbers in all.
        chunk: Directions pushed forward together; memory grows with it.

    Returns:
        ``(u, d)``: row ``i`` is the derivative by the ``i``-th number.
    """

    def push(direction: torch.Tensor) -> torch.Tensor:
        pushed: torch.Tensor = jvp(function, (at,), (direction.view_as(at),))[1]
        return pushed

    basis = torch.eye(at.numel(), dtype=at.dtype)
    return torch.cat([vmap(push)(part) for part in torch.split(basis, chunk)])


def relative_mismatch(seen: Observation, gradient: torch.Tensor) -> float:
    """Return how far a gradient is from the one seen, as a share of the latter's length."""
    target = seen.gradient
    return float((gradient - target).norm() / target.norm().clamp_min(torch.finfo(target.dtype).tiny))

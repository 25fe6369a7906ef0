"""Local optimisers on flat vectors: one step is a few fused operations, however many layers there are.

Weight decay is for weights: biases and norms are left alone. FedProx's pull ``mu (w - w0)`` and SCAFFOLD's correction
``c - c_i`` are, with SGD's decay, one multiple of the weights and one constant: ``gradient += pull * w + drift``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, assert_never

import torch

from sealround.study.sections import Adam, Sgd

if TYPE_CHECKING:
    from sealround.learning.vector import FlatModule
    from sealround.study.sections import LocalOptimizer

__all__ = ["Step", "scheduled", "step_for"]

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015, Algorithm 1


class Step(Protocol):
    """Changes the parameters by their gradient."""

    def __call__(self) -> None:
        """Take one step; the gradient is used up."""
        ...


def scheduled(learning_rate: float, schedule: str, round_: int, rounds: int) -> float:
    """Return the learning rate of a round, from 1 to ``rounds``; cosine falls from the full rate towards 0.

    Source: Loshchilov and Hutter 2017, equation 5, one period without restart.
    """
    if schedule == "constant":
        return learning_rate
    return learning_rate * 0.5 * (1.0 + math.cos(math.pi * (round_ - 1) / rounds))


def step_for(
    optimizer: LocalOptimizer,
    learning_rate: float,
    flat: FlatModule,
    *,
    proximal: float = 0.0,
    correction: torch.Tensor | None = None,
) -> Step:
    """Return the step of a local optimiser with fresh state.

    Args:
        optimizer: Which, with its constants.
        learning_rate: Of this round.
        flat: The model, at the values the round starts from.
        proximal: FedProx's mu.
        correction: SCAFFOLD's ``c - c_i``, added to every gradient, float32 ``(d,)``.

    Returns:
        The step.
    """
    decay = flat.matrices() * optimizer.weight_decay if optimizer.weight_decay else None
    coupled = decay if isinstance(optimizer, Sgd) else None
    pull, drift = coupled, correction
    if proximal:
        pull = torch.full_like(flat.values, proximal) if pull is None else pull + proximal
        towards = flat.values * -proximal
        drift = towards if drift is None else drift + towards
    match optimizer:
        case Sgd(momentum=momentum):
            return _SgdStep(flat, learning_rate, momentum, (pull, drift))
        case Adam():
            return _AdamStep(flat, learning_rate, decay, (pull, drift))
        case _:
            assert_never(optimizer)


def _add(gradient: torch.Tensor, values: torch.Tensor, terms: tuple[torch.Tensor | None, torch.Tensor | None]) -> None:
    pull, drift = terms
    if pull is not None:
        gradient.addcmul_(pull, values)
    if drift is not None:
        gradient.add_(drift)


class _SgdStep:
    """``v = momentum v + g; w -= learning_rate v`` (Sutskever et al. 2013, without dampening, as in torch)."""

    def __init__(
        self,
        flat: FlatModule,
        learning_rate: float,
        momentum: float,
        terms: tuple[torch.Tensor | None, torch.Tensor | None],
    ) -> None:
        self._values, self._gradient = flat.values, flat.gradient
        self._learning_rate, self._momentum, self._terms = learning_rate, momentum, terms
        self._velocity = torch.zeros_like(flat.values) if momentum else None

    def __call__(self) -> None:
        _add(self._gradient, self._values, self._terms)
        direction = self._gradient
        if self._velocity is not None:
            direction = self._velocity.mul_(self._momentum).add_(self._gradient)
        self._values.add_(direction, alpha=-self._learning_rate)


class _AdamStep:
    """Adam (Kingma and Ba 2015, Algorithm 1), weight decay apart from the gradient (Loshchilov and Hutter 2019)."""

    def __init__(
        self,
        flat: FlatModule,
        learning_rate: float,
        decay: torch.Tensor | None,
        terms: tuple[torch.Tensor | None, torch.Tensor | None],
    ) -> None:
        self._values, self._gradient = flat.values, flat.gradient
        self._learning_rate, self._decay, self._terms = learning_rate, decay, terms
        self._first, self._second = torch.zeros_like(flat.values), torch.zeros_like(flat.values)
        self._steps = 0

    def __call__(self) -> None:
        _add(self._gradient, self._values, self._terms)
        self._steps += 1
        self._first.lerp_(self._gradient, 1.0 - _BETA1)
        self._second.mul_(_BETA2).addcmul_(self._gradient, self._gradient, value=1.0 - _BETA2)
        if self._decay is not None:
            self._values.addcmul_(self._decay, self._values, value=-self._learning_rate)
        # The gradient is used up: its memory holds the denominator.
        root = torch.sqrt(self._second, out=self._gradient)
        root.div_(math.sqrt(1.0 - _BETA2**self._steps)).add_(_EPSILON)
        self._values.addcdiv_(self._first, root, value=-self._learning_rate / (1.0 - _BETA1**self._steps))

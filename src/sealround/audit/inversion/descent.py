"""Adam from many starts at once, for what an attack tries to make small."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.func import grad_and_value, vmap

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Course", "Pace", "descend"]

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-12


@dataclass(frozen=True, slots=True)
class Pace:
    """How long, and how fast.

    Attributes:
        iterations: At most.
        learning_rate: Of the first; it falls to 0 along a cosine.
        signed: Whether only the sign of a gradient counts (Geiping et al., NeurIPS 2020, section 4).
    """

    iterations: int = 400
    learning_rate: float = 0.06
    signed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Where each start came to.

    Attributes:
        points: The best of each, ``(starts, *shape)``.
        values: The objective there, ``(starts,)``; infinite where there was no time.
        course: ``(time, least value)`` now and then.
    """

    points: torch.Tensor
    values: torch.Tensor
    course: tuple[tuple[float, float], ...]


def descend(
    objective: Callable[[torch.Tensor], torch.Tensor],
    starts: torch.Tensor,
    pace: Pace,
    clock: Callable[[], float],
    deadline: float,
    *,
    boxed: Callable[[torch.Tensor], torch.Tensor] = lambda points: points,
) -> Course:
    """Descend from every start (Kingma and Ba 2015, Algorithm 1).

    Args:
        objective: From one start's shape to ``()``.
        starts: float64 ``(starts, *shape)``.
        pace: How long.
        clock: Tells the time; asked before every iteration.
        deadline: No iteration begins after it.
        boxed: Brings all points back into their bounds.
    """
    slope = vmap(grad_and_value(objective))
    points, first, second = boxed(starts), torch.zeros_like(starts), torch.zeros_like(starts)
    best, least = points, torch.full((len(starts),), torch.inf, dtype=starts.dtype)
    told: list[tuple[float, float]] = []
    for number in range(1, pace.iterations + 1):
        now = clock()
        if now >= deadline:
            break
        gradient, value = slope(points)
        better = value < least
        best = torch.where(better.view(-1, *(1,) * (starts.ndim - 1)), points, best)
        least = torch.where(better, value, least)
        gradient = gradient.sign() if pace.signed else gradient
        first = _BETA1 * first + (1.0 - _BETA1) * gradient
        second = _BETA2 * second + (1.0 - _BETA2) * gradient.square()
        rate = 0.5 * pace.learning_rate * (1.0 + math.cos(math.pi * number / pace.iterations))
        root = (second / (1.0 - _BETA2**number)).sqrt() + _EPSILON
        points = boxed(points - rate / (1.0 - _BETA1**number) * first / root)
        if number % 20 == 1:
            told.append((now, float(least.min())))
    return Course(best, least, tuple(told))

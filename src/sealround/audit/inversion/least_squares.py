"""Damped Gauss-Newton on many starts at once, for unknowns few enough that their derivative fits in memory.

Levenberg 1944 and Marquardt 1963: a step solves ``(J J^T + damping D) s = -J r`` with D the diagonal of ``J J^T``; it
is taken if the residual shrinks, and the damping then falls, else it grows. Starts are advanced together, one vmap over
all of them, because the network under attack is far smaller than the cost of calling torch.

Deliberately small: tables and latent codes. Images have too many unknowns for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.func import jvp, vmap

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Damping", "Solution", "ranked", "solve"]

_CALM, _RASH = 1e-14, 1e14
_NUMBERS = 1 << 23  # Of the derivative held at once: 64 MB.


@dataclass(frozen=True, slots=True)
class Damping:
    """When to stop, and how bold to be.

    Attributes:
        iterations: At most.
        first: Damping of the first step.
        shrink: It falls by this factor after a step that helped,
        grow: and grows by this one after a step that did not.
        enough: Sum of squared residuals at which a start counts as solved.
        solved: How many solved starts end the search.
    """

    iterations: int = 60
    first: float = 1e-1
    shrink: float = 5.0
    grow: float = 4.0
    enough: float = 1e-26
    solved: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Where each start ended.

    Attributes:
        points: float64 ``(starts, u)``.
        costs: Sum of squared residuals of each, float64 ``(starts,)``; infinite where it is not a number.
        iterations: How many were made.
        course: ``(time, least cost)`` after each, time as the clock tells it.
        finished: Whether it ended before the deadline did end it.
    """

    points: torch.Tensor
    costs: torch.Tensor
    iterations: int
    course: tuple[tuple[float, float], ...]
    finished: bool

    @property
    def best(self) -> int:
        """The start of least cost."""
        return int(ranked(self.costs)[0])


def solve(
    residual: Callable[[torch.Tensor], torch.Tensor],
    starts: torch.Tensor,
    damping: Damping,
    clock: Callable[[], float],
    deadline: float,
) -> Solution:
    """Minimise the sum of squared residuals from every start.

    Args:
        residual: From ``(u,)`` to ``(k,)``, differentiable in forward mode, and vmap goes through it.
        starts: float64 ``(starts, u)``.
        damping: How.
        clock: Tells the time; asked before every iteration.
        deadline: No iteration begins after it.

    Returns:
        Where each start ended; the starts themselves if there was no time at all, or nothing is unknown.
    """
    points = starts.clone()
    residuals = vmap(residual)(points)
    costs = _squares(residuals)
    weight = torch.full_like(costs, damping.first)
    course: list[tuple[float, float]] = []
    made, now = 0, clock()
    most = damping.iterations if starts.shape[1] else 0
    while now < deadline and made < most and int((costs <= damping.enough).sum()) < damping.solved:
        live = torch.nonzero((costs > damping.enough) & (weight < _RASH) & costs.isfinite()).flatten()
        if not live.numel():
            break
        tried = points[live] + _steps(residual, points[live], residuals[live], weight[live])
        there = vmap(residual)(tried)
        cost = _squares(there)
        better = cost < costs[live]
        moved = live[better]
        points[moved], residuals[moved], costs[moved] = tried[better], there[better], cost[better]
        weight[live] = torch.where(better, weight[live] / damping.shrink, weight[live] * damping.grow).clamp_min(_CALM)
        made, now = made + 1, clock()
        course.append((now, float(costs.min())))
    return Solution(points, costs, made, tuple(course), finished=now < deadline)


def ranked(costs: torch.Tensor) -> torch.Tensor:
    """Return the order of costs, least first; those that agree to six digits stay in the order they are in.

    The same records in another order cost the same but for rounding, and rounding shall not choose between them.
    """
    digits = (costs.clamp_min(torch.finfo(costs.dtype).tiny).log() * 1e6).round()
    return digits.argsort(stable=True)


def _squares(residuals: torch.Tensor) -> torch.Tensor:
    costs = residuals.square().sum(1)
    return torch.where(costs.isfinite(), costs, torch.inf)


def _steps(
    residual: Callable[[torch.Tensor], torch.Tensor],
    points: torch.Tensor,
    residuals: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """Return each point's damped Gauss-Newton step, ``(starts, u)``."""
    unknowns = points.shape[1]
    basis = torch.eye(unknowns, dtype=points.dtype)

    def derivative(point: torch.Tensor) -> torch.Tensor:
        def push(direction: torch.Tensor) -> torch.Tensor:
            pushed: torch.Tensor = jvp(residual, (point,), (direction,))[1]
            return pushed

        directions = max(1, min(unknowns, _NUMBERS // residuals.shape[1]))
        pushed: torch.Tensor = vmap(push, chunk_size=directions)(basis)
        return pushed

    together = max(1, _NUMBERS // (unknowns * residuals.shape[1]))
    steps = []
    for part, rest, damped in zip(*(torch.split(each, together) for each in (points, residuals, weight)), strict=True):
        slopes = vmap(derivative)(part)
        normal = slopes @ slopes.mT
        diagonal = normal.diagonal(dim1=1, dim2=2)
        # Numbers that the residual does not depend on (yet) still need a pivot.
        floor = diagonal.amax(1, keepdim=True).clamp_min(torch.finfo(points.dtype).tiny) * 1e-12
        extra = damped.unsqueeze(1) * diagonal.clamp_min(floor)
        wanted = (slopes @ rest.unsqueeze(2)).neg()
        solved, _ = torch.linalg.solve_ex(normal + torch.diag_embed(extra), wanted)
        steps.append(solved.squeeze(2))
    return torch.cat(steps)

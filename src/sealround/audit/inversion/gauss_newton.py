"""Gauss-Newton steps without the derivative: conjugate gradients on its products, one forward and one backward each.

Levenberg 1944, Marquardt 1963: a step minimises ``|J s + r|^2 + damping |s|^2``, and is taken if the residual r gets
smaller; the damping then falls by how well the linear model foretold that (Madsen, Nielsen, Tingleff 2004, section
3.2), else it grows. Conjugate gradients on the least-squares problem itself (CGLS: Bjoerck 1996, section 7.4.1) need
tens of products while the damping is large, which is most of the way, and stop early (Dembo, Eisenstat, Steihaug 1982).

Where they become long, the derivative is formed once, its rows added up in random groups with random signs so that
twice as many sums as unknowns are left, and the inverse of that normal matrix preconditions all later steps (as in
Rokhlin and Tygert 2008; there an orthogonal transform mixes rows): the point has then nearly stopped moving.

`sealround.audit.inversion.least_squares` is for few unknowns and many starts; this is for images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.func import jvp, vmap

from sealround.audit.inversion.derivatives import sketched

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GaussNewton", "Linearised", "State", "derivative", "full_rank"]

_SUMS, _SPARE = 2, 1.25  # Groups of numbers for each unknown: to precondition, and to show the rank.
_CALMEST, _WILDEST = 1e-15, 1e6
_BLOCK = 1024
_NUMBERS = 1 << 22  # Of a chunk of the derivative, before rows are added up.
_GOOD, _FAIR, _POOR = 0.9, 0.5, 0.25


class Linearised:
    """A vector function and its derivative at a point, the graphs of both kept.

    Attributes:
        value: The function there, ``(k,)``.
        unknowns: u, how many numbers the point has.
    """

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor) -> None:
        """Linearise.

        Args:
            function: From ``(u,)`` to ``(k,)``, three times differentiable by autograd.
            point: ``(u,)``.
        """
        self._point = point.detach().clone().requires_grad_()
        with torch.enable_grad():
            self._output = function(self._point)
            # What is pulled back is linear in the weights, so its derivative by them pushes forward.
            self._weights = torch.zeros_like(self._output).requires_grad_()
            (self._pulled,) = torch.autograd.grad(self._output, self._point, self._weights, create_graph=True)
        self.value = self._output.detach()
        self.unknowns = point.numel()

    def push(self, direction: torch.Tensor) -> torch.Tensor:
        """Return J times ``(u,)``."""
        (pushed,) = torch.autograd.grad(self._pulled, self._weights, direction, retain_graph=True)
        return pushed

    def pull(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the transpose of J times ``(k,)``."""
        (pulled,) = torch.autograd.grad(self._output, self._point, weights, retain_graph=True)
        return pulled


def derivative(
    function: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor, sums: int, generator: torch.Generator
) -> torch.Tensor:
    """Return the derivative of a function, its numbers added up in random groups, transposed: ``(u, sums)``.

    Its rank is never larger than that of the whole derivative.

    Args:
        function: From ``(u,)`` to ``(k,)``, through which vmap and forward derivatives go.
        point: ``(u,)``.
        sums: How many groups; where there are no more numbers than this, nothing is added up.
        generator: Draws groups and signs.
    """
    numbers = function(point).numel()
    if numbers > sums:
        function = sketched(function, numbers, sums, generator)

    def push(direction: torch.Tensor) -> torch.Tensor:
        pushed: torch.Tensor = jvp(function, (point,), (direction,))[1]
        return pushed

    chunk = max(1, min(256, _NUMBERS // numbers))
    basis = torch.eye(point.numel(), dtype=point.dtype)
    return torch.cat([vmap(push)(basis[start : start + chunk]) for start in range(0, point.numel(), chunk)])


def full_rank(
    function: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor, generator: torch.Generator
) -> bool:
    """Whether the derivative of a function has full column rank beyond what rounding may have added.

    One over the Frobenius norm of the inverse of its triangular factor is a lower bound of its smallest singular value
    (Golub and Van Loan 2013, section 2.3); rounding in derivative and factor changes that by some
    ``sqrt(u) eps |J|`` (Higham and Mary 2019, for errors that are independent), of which 64 times is taken off.

    Args:
        function: As `derivative` takes it.
        point: ``(u,)``.
        generator: Draws groups and signs; unlucky ones may hide full rank, and never make it up.
    """
    unknowns = point.numel()
    slopes = derivative(function, point, math.ceil(_SPARE * unknowns), generator)
    if slopes.shape[1] < unknowns or not slopes.isfinite().all():
        return False
    triangle = torch.linalg.qr(slopes.T, mode="r")[1]
    inverse = torch.linalg.solve_triangular(triangle, torch.eye(unknowns, dtype=point.dtype), upper=True)
    error = 64.0 * math.sqrt(unknowns) * torch.finfo(point.dtype).eps * float(triangle.norm())
    smallest = 1.0 / float(inverse.norm())
    return math.isfinite(smallest) and smallest > error


def _normal(slopes: torch.Tensor) -> torch.Tensor:
    """Return ``slopes @ slopes.T``, of which half is computed."""
    size = slopes.shape[0]
    normal = torch.empty(size, size, dtype=slopes.dtype)
    for start in range(0, size, _BLOCK):
        rows = slopes[start : start + _BLOCK] @ slopes[: start + _BLOCK].T
        normal[start : start + _BLOCK, : start + _BLOCK] = rows
        normal[: start + _BLOCK, start : start + _BLOCK] = rows.T
    return normal


@dataclass(slots=True, eq=False)
class State:
    """Where a search is.

    Attributes:
        point: ``(u,)``.
        cost: Sum of squared residuals there.
        damping: Of the next step, as a share of the mean square of J's columns.
        steps: How many were taken.
        stalled: Whether no damping led to a smaller residual.
        last: Share of the cost that the last step left.
    """

    point: torch.Tensor
    cost: float
    damping: float
    steps: int = 0
    stalled: bool = False
    last: float = 1.0


@dataclass(slots=True, eq=False)
class GaussNewton:
    """A search for the root of a residual.

    Attributes:
        residual: From ``(u,)`` to ``(k,)``, of a size that 1 is much and 0 is exact.
        generator: For what is estimated by random signs.
        going: Whether there is time left; asked before every product.
        first: Damping to begin with, at most: less where the sum of squares is.
        accuracy: A step's equations are solved until their residual has fallen to this share.
        products: With J and its transpose, at most, a step.
        direct: After a step of so many, J is formed,
        most: if there are no more unknowns than this.
    """

    residual: Callable[[torch.Tensor], torch.Tensor]
    generator: torch.Generator
    going: Callable[[], bool]
    first: float = 0.1
    accuracy: float = 1e-2
    products: int = 1500
    direct: int = 300
    most: int = 4096
    _inverse: torch.Tensor | None = field(default=None, init=False)
    _used: int = field(default=0, init=False)
    _scale: float = field(default=0.0, init=False)

    def start(self, point: torch.Tensor) -> State:
        """Begin at a point ``(u,)``."""
        self._inverse, self._used = None, 0
        here = Linearised(self.residual, point)
        signs = torch.randint(0, 2, point.shape, generator=self.generator).to(point) * 2.0 - 1.0
        # Hutchinson 1990: the trace of J^T J, here by one product.
        self._scale = max(float(here.push(signs).square().sum()) / point.numel(), torch.finfo(point.dtype).tiny)
        cost = float(here.value.square().sum())
        # Near a root little damping is needed (Yamashita and Fukushima 2001).
        return State(point.clone(), cost, max(min(self.first, cost), _CALMEST))

    def step(self, state: State) -> None:
        """Take one step, or find that there is none."""
        here = Linearised(self.residual, state.point)
        if self._used >= self.direct and here.unknowns <= self.most:
            self._precondition(state)
        while state.damping < _WILDEST and self.going():
            move = self._solved(here, state.damping * self._scale)
            there = state.point + move
            with torch.no_grad():
                cost = float(self.residual(there).square().sum())
            foretold = state.cost - float((here.value + here.push(move)).square().sum())
            if cost < state.cost:
                gain = (state.cost - cost) / max(foretold, torch.finfo(move.dtype).tiny)
                state.damping = max(state.damping * _change(gain), _CALMEST)
                state.point, state.last, state.cost = there, cost / state.cost, cost
                state.steps += 1
                return
            state.damping *= 8.0
        state.stalled = self.going()

    def _precondition(self, state: State) -> None:
        normal = _normal(derivative(self.residual, state.point, _SUMS * state.point.numel(), self.generator))
        normal.diagonal().add_(max(state.damping * self._scale, 1e-15 * float(normal.diagonal().mean())))
        factor, failed = torch.linalg.cholesky_ex(normal)
        if not failed:
            self._inverse = torch.cholesky_inverse(factor)
        self._used = 0

    def _solved(self, here: Linearised, damping: float) -> torch.Tensor:
        """Minimise ``|J s + value|^2 + damping |s|^2`` roughly."""
        move = torch.zeros(here.unknowns, dtype=here.value.dtype)
        left = -here.value
        slope = here.pull(left)
        ahead = self._preconditioned(slope)
        direction, square = ahead, float(slope @ ahead)
        enough = self.accuracy**2 * square
        for made in range(1, self.products + 1):
            pushed = here.push(direction)
            bend = float(pushed @ pushed + damping * (direction @ direction))
            if not bend > 0.0 or not self.going():
                break
            length = square / bend
            move = move + length * direction
            left = left - length * pushed
            slope = here.pull(left) - damping * move
            ahead = self._preconditioned(slope)
            before, square = square, float(slope @ ahead)
            self._used = max(self._used, made)
            if square <= enough:
                break
            direction = ahead + (square / before) * direction
        return move

    def _preconditioned(self, slope: torch.Tensor) -> torch.Tensor:
        return slope if self._inverse is None else self._inverse @ slope


def _change(gain: float) -> float:
    """Return what the damping is multiplied by after a step that brought this share of what was foretold."""
    if gain > _GOOD:
        return 1.0 / 25.0
    if gain > _FAIR:
        return 1.0 / 8.0
    return 1.0 / 3.0 if gain > _POOR else 2.0

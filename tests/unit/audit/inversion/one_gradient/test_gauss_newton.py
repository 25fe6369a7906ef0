"""Products with a derivative, steps made of them, and what rounding leaves of a rank."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from sealround.audit.inversion.gauss_newton import GaussNewton, Linearised, derivative, full_rank

if TYPE_CHECKING:
    from collections.abc import Callable

# torch 2.13 compiles its forward derivatives with what it calls deprecated, at their first use.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=_draw(seed))


def _bent(matrix: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda point: torch.tanh(matrix @ point) + 0.1 * (matrix @ point)


def test_products_are_those_of_the_derivative() -> None:
    function, point = _bent(_normal(9, 4)), _normal(4, seed=2)
    exact = torch.func.jacrev(function)(point)
    here = Linearised(function, point)
    direction, weights = _normal(4, seed=3), _normal(9, seed=4)
    torch.testing.assert_close(here.push(direction), exact @ direction)
    torch.testing.assert_close(here.pull(weights), exact.T @ weights)
    torch.testing.assert_close(here.value, function(point))


def test_a_derivative_in_groups_keeps_lengths_on_average() -> None:
    function, point = _bent(_normal(400, 5)), _normal(5, seed=2)
    exact = torch.func.jacrev(function)(point)
    torch.testing.assert_close(derivative(function, point, 400, _draw()), exact.T)
    draws = [derivative(function, point, 100, _draw(seed)) for seed in range(40)]
    normal = sum(each @ each.T for each in draws) / len(draws)
    # Off by sqrt(2 / 100 / 40) = 2 % each; 5 deviations of the largest.
    assert (normal - exact.T @ exact).abs().max() < 0.11 * float((exact.T @ exact).diagonal().max())


@pytest.mark.parametrize("direct", [1, 10**9])
def test_roots_are_found_to_rounding(direct: int) -> None:
    function, root = _bent(_normal(30, 10) / 3.0), 0.5 * _normal(10, seed=2)
    target = function(root)
    search = GaussNewton(lambda point: function(point) - target, _draw(), lambda: True, direct=direct)
    state = search.start(torch.zeros(10, dtype=torch.float64))
    costs = [state.cost]
    while state.cost > 1e-28 and not state.stalled and state.steps < 40:
        search.step(state)
        costs.append(state.cost)
    assert costs == sorted(costs, reverse=True)
    torch.testing.assert_close(state.point, root, rtol=0.0, atol=1e-12)


def test_preconditioned_steps_take_fewer_products() -> None:
    scales = torch.logspace(0, -4, 40, dtype=torch.float64)
    matrix = _normal(200, 40) * scales
    counts = []
    for direct in (1, 10**9):
        made = 0

        def counting() -> bool:
            nonlocal made
            made += 1
            return True

        target = matrix @ torch.ones(40, dtype=torch.float64)
        search = GaussNewton(
            lambda point, t=target: matrix @ point - t, _draw(), counting, direct=direct, accuracy=1e-8
        )
        state = search.start(torch.zeros(40, dtype=torch.float64))
        while state.cost > 1e-18 and not state.stalled and state.steps < 30:
            search.step(state)
        assert state.cost <= 1e-18
        counts.append(made)
    assert counts[0] < 0.7 * counts[1]


def test_where_nothing_helps_it_stalls() -> None:
    search = GaussNewton(lambda point: point.square() + 1.0, _draw(), lambda: True)
    state = search.start(torch.zeros(3, dtype=torch.float64))
    search.step(state)
    assert state.stalled
    assert state.cost == pytest.approx(3.0)


def test_without_time_nothing_moves() -> None:
    search = GaussNewton(lambda point: point - 1.0, _draw(), lambda: False)
    state = search.start(torch.zeros(3, dtype=torch.float64))
    search.step(state)
    assert state.steps == 0
    assert not state.stalled


def test_full_rank_is_told_from_almost_none() -> None:
    matrix, point = _normal(60, 12), torch.zeros(12, dtype=torch.float64)
    assert full_rank(lambda at: matrix @ at, point, _draw())
    twin = matrix.clone()
    twin[:, 3] = twin[:, 7]
    assert not full_rank(lambda at: twin @ at, point, _draw())
    close = twin.clone()
    close[:, 3] += 1e-15 * _normal(60, seed=9)
    assert not full_rank(lambda at: close @ at, point, _draw())
    apart = twin.clone()
    apart[:, 3] += 1e-8 * _normal(60, seed=9)
    assert full_rank(lambda at: apart @ at, point, _draw())
    assert not full_rank(lambda at: matrix[:11] @ at, point, _draw())
    assert not full_rank(lambda at: matrix @ at * math.nan, point, _draw())
    assert not full_rank(lambda at: 0.0 * matrix @ at, point, _draw())

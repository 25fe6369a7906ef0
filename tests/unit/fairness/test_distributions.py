"""Tails against scipy's."""

from __future__ import annotations

import pytest
from scipy import stats

from sealround.fairness.distributions import (
    binomial_tail,
    bisect,
    normal_quantile,
    normal_tail,
    student_quantile,
    student_tail,
)


@pytest.mark.parametrize("t", [-4.0, -1.3, 0.0, 0.1, 2.0, 5.0, 12.0])
@pytest.mark.parametrize("freedom", [1, 3, 10, 29, 400, 20_000])
def test_student(t: float, freedom: int) -> None:
    assert student_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-9)


@pytest.mark.parametrize(
    ("k", "n"), [(-1, 4), (0, 0), (0, 9), (1, 1), (7, 12), (12, 12), (13, 12), (60, 100), (900, 1700)]
)
@pytest.mark.parametrize("p", [0.5, 0.03])
def test_binomial(k: int, n: int, p: float) -> None:
    assert binomial_tail(k, n, p) == pytest.approx(stats.binom.sf(k - 1, n, p), rel=1e-10)


@pytest.mark.parametrize(("tail", "freedom"), [(0.05, 10), (0.001, 2), (0.4, 500), (0.7, 3)])
def test_student_quantile(tail: float, freedom: int) -> None:
    assert student_quantile(tail, freedom) == pytest.approx(stats.t.isf(tail, freedom), rel=1e-8)


def test_normal() -> None:
    assert normal_tail(7.0) == pytest.approx(stats.norm.sf(7.0))
    assert normal_quantile(0.025) == pytest.approx(1.959963984540054)


def test_bisect_ends_where_nothing_crosses() -> None:
    assert bisect(lambda x: x * x - 2, 0.0, 2.0) == pytest.approx(2**0.5)
    assert bisect(lambda _: -1.0, 0.0, 2.0) == pytest.approx(2.0)
    assert bisect(lambda _: 1.0, 0.0, 2.0) == pytest.approx(0.0)

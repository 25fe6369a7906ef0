from __future__ import annotations

import numpy as np
import pytest

from sealround.errors import UsageError
from sealround.federation.statistics import Layout, Statistics, ordered_levels

LAYOUT = Layout(("age", "chol"), (("cp", ("1", "2")),))


def _statistics(rows: list[np.ndarray]) -> Statistics:
    counts = np.sum(
        [
            LAYOUT.join(len(x), 1, (~np.isnan(x)).sum(axis=0), np.nansum(x, axis=0), np.array([len(x), 0.0]))
            for x in rows
        ],
        axis=0,
    )
    first = Statistics.from_counts(LAYOUT, counts)
    return first.with_squares(np.sum([np.nansum((x - first.mean) ** 2, axis=0) for x in rows], axis=0))


def test_sums_over_sites_give_the_pooled_mean_and_deviation() -> None:
    draw = np.random.default_rng(1)
    sites = [draw.normal(1e6, 1e-2, size=(n, 2)) for n in (5, 17, 80)]
    sites[1][3, 0] = np.nan
    found, pooled = _statistics(sites), np.concatenate(sites)
    np.testing.assert_allclose(found.mean, np.nanmean(pooled, axis=0), rtol=1e-14)
    # A mean of a million and a deviation of a hundredth: the one-pass formula has no digit left here.
    np.testing.assert_allclose(found.scale, np.nanstd(pooled, axis=0), rtol=1e-6)
    assert found.present.tolist() == [101, 102]


def test_a_constant_input_is_left_alone() -> None:
    assert _statistics([np.full((10, 2), 0.1)]).scale.tolist() == [1.0, 1.0]


def test_an_input_nobody_has_gets_mean_zero_and_scale_one() -> None:
    x = np.array([[1.0, np.nan], [3.0, np.nan]])
    found = _statistics([x])
    assert found.mean.tolist() == [2.0, 0.0]
    assert found.scale.tolist() == [1.0, 1.0]


def test_vectors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError):
        LAYOUT.split(np.zeros(LAYOUT.size + 1))
    with pytest.raises(UsageError):
        LAYOUT.join(1, 1, np.zeros(1), np.zeros(2), np.zeros(2))
    with pytest.raises(UsageError):
        _statistics([np.ones((3, 2))]).with_squares(np.zeros(3))


def test_levels_are_ordered_by_number_then_by_text() -> None:
    assert ordered_levels(["b", "10", "9", "a", "-1", "nan", "9"]) == ("-1", "9", "10", "a", "b", "nan")


def test_declared_levels_stay_and_open_ones_become_those_found() -> None:
    layout = Layout(("age",), (("cp", ("2", "1")), ("ward", ()), ("ecg", ())))
    full = layout.with_levels({"cp": {"7"}, "ward": {"10", "2", "x"}, "unknown": {"1"}})
    assert full == Layout(("age",), (("cp", ("2", "1")), ("ward", ("2", "10", "x")), ("ecg", ())))

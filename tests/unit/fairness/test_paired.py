"""The test of a rise: published figures, other people's code, and what must hold of power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from sealround.fairness import paired


def _tango(b: int, c: int, n: int, rise: float) -> float:
    """The score statistic, the nuisance parameter found by maximising the likelihood (Tango 1998, equation 5)."""

    def against(other: float) -> float:
        probabilities = np.array([other + rise, other, 1 - 2 * other - rise])
        return -float(np.array([b, c, n - b - c]) @ np.log(np.maximum(probabilities, 1e-300)))

    low, high = max(0.0, -rise), (1 - rise) / 2
    other = optimize.minimize_scalar(against, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (b - c - n * rise) / np.sqrt(n * (2 * other + rise * (1 - rise)))


@pytest.mark.parametrize(("b", "c", "n"), [(40, 20, 160), (7, 1, 21), (3, 9, 80), (5, 5, 30)])
@pytest.mark.parametrize("rise", [-0.4, -0.05, 0.0, 0.03, 0.3])
def test_the_score_maximises_the_likelihood(b: int, c: int, n: int, rise: float) -> None:
    assert paired.tango(b, c, n, rise) == pytest.approx(_tango(b, c, n, rise), abs=1e-4)


def test_published_intervals() -> None:
    """Airway hyper-responsiveness before and after stem cell transplantation (Fagerland et al. 2013): -0.517."""
    assert paired.lower_bound(1, 7, 21, 0.025) == pytest.approx(-0.517, abs=5e-4)


def test_without_a_tolerance_the_test_is_mcnemars_exact_one() -> None:
    expected = stats.binomtest(9, 11, 0.5, alternative="greater").pvalue
    assert paired.p_value(9, 2, 70, 0.0) == pytest.approx(expected)
    assert paired.p_value(0, 0, 70, 0.0) == 1.0


def test_a_tolerance_asks_for_more() -> None:
    values = [paired.p_value(20, 3, 100, tolerance) for tolerance in (0.0, 0.05, 0.1, 0.2)]
    assert values == sorted(values)
    assert values[-1] > 0.5
    assert paired.p_value(20, 3, 100, 0.1) == pytest.approx(stats.norm.sf(_tango(20, 3, 100, 0.1)), rel=1e-3)


@pytest.mark.parametrize(("b", "c", "n"), [(20, 3, 100), (5, 0, 40), (4, 0, 40), (0, 0, 40), (40, 0, 40), (0, 40, 40)])
@pytest.mark.parametrize("level", [0.05, 0.003])
def test_a_tolerance_is_found_exceeded_if_and_only_if_the_bound_is_above(b: int, c: int, n: int, level: float) -> None:
    bound = paired.lower_bound(b, c, n, level)
    for tolerance in (0.0, 0.01, 0.05, 0.1, 0.3):
        assert (paired.p_value(b, c, n, tolerance) <= level) == (bound > tolerance)


def test_few_who_differ_show_nothing() -> None:
    """Four of four would convince an asymptotic test (z = 2): one in sixteen is chance."""
    assert paired.lower_bound(4, 0, 40, 0.05) == 0.0
    assert paired.lower_bound(5, 0, 40, 0.05) > 0.0


def _share_found(draw: np.ndarray, tolerance: float, level: float) -> float:
    outcomes, times = np.unique(draw, axis=0, return_counts=True)
    found = [paired.p_value(b, c, b + c + same, tolerance) <= level for b, c, same in outcomes.tolist()]
    return float(np.average(found, weights=times))


@pytest.mark.parametrize("n", [30, 100, 199])
@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_what_is_detectable_is_detected_four_times_in_five(n: int, tolerance: float) -> None:
    rise = paired.detectable_rise(n // 20, n, tolerance, 0.05)
    assert rise is not None
    other = (n // 20 + 0.5) / (n + 1)
    draw = np.random.default_rng(n).multinomial(n, [other + rise, other, 1 - 2 * other - rise], size=4000)
    found = _share_found(draw, tolerance, 0.05)
    # Of 4000 draws at a power of 0.8 the share is within 0.03 in all but two of a million.
    assert found == pytest.approx(0.8, abs=0.03)


def test_what_is_detectable_of_many_is_nearly_so() -> None:
    rise = paired.detectable_rise(20, 1000, 0.02, 0.01)
    assert rise is not None
    other = 20.5 / 1001
    draw = np.random.default_rng(1).multinomial(1000, [other + rise, other, 1 - 2 * other - rise], size=2000)
    assert _share_found(draw, 0.02, 0.01) == pytest.approx(0.8, abs=0.05)


def test_more_patients_show_more() -> None:
    rises = [paired.detectable_rise(n // 50, n, 0.0, 0.01) for n in (12, 30, 100, 150, 250, 500, 5000)]
    sizes = [rise for rise in rises if rise is not None]
    assert len(sizes) == 7
    assert sizes == sorted(sizes, reverse=True)


def test_nothing_is_detectable_beyond_everybody() -> None:
    assert paired.detectable_rise(0, 3, 0.0, 0.05) is None
    assert paired.detectable_rise(30, 60, 0.2, 0.05) is None

"""Intervals: published figures and edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealround.fairness.cells import BINS, CELLS
from sealround.fairness.counting import Examples, count
from sealround.fairness.intervals import METRICS, Estimate, auroc, calibration, difference, estimates, wilson


def _ends(found: Estimate | None) -> tuple[float, float]:
    assert found is not None
    return found.low, found.high


@pytest.mark.parametrize(
    ("events", "number", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(events: int, number: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3."""
    assert _ends(wilson(events, number, 0.95)) == pytest.approx((low, high), abs=5e-5)


def test_wilson_at_its_ends() -> None:
    assert wilson(0, 0, 0.95) is None
    assert _ends(wilson(7, 7, 0.95))[1] == 1.0
    assert _ends(wilson(0, 7, 0.95))[0] == 0.0


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_differences_as_published(first: tuple[int, int], second: tuple[int, int], low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17:873-890, table II, method 10."""
    one, other = wilson(*first, 0.95), wilson(*second, 0.95)
    assert one is not None
    assert other is not None
    assert _ends(difference(one, other)) == pytest.approx((low, high), abs=5e-5)


def _histogram(values: list[int]) -> np.ndarray:
    return np.bincount(values, minlength=BINS).astype(float)


def test_auroc_counts_pairs() -> None:
    found = auroc(_histogram([1, 2, 3]), _histogram([2, 9]), 0.95)
    assert found is not None
    assert found.value == pytest.approx((1 + 0.5 + 3) / 6)
    assert found.of == 2
    assert found.low < found.value < found.high


def test_a_perfect_ranking_is_not_certain() -> None:
    found = auroc(_histogram([1] * 12), _histogram([9] * 12), 0.95)
    assert found is not None
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.7 < found.low < 0.95
    worst = auroc(_histogram([9] * 12), _histogram([1] * 12), 0.95)
    assert worst is not None
    assert (worst.value, worst.low) == (0.0, 0.0)
    assert worst.high == pytest.approx(1 - found.low)


def test_auroc_needs_both() -> None:
    assert auroc(_histogram([1]), np.zeros(BINS), 0.95) is None


def _cells(risk: np.ndarray, positive: np.ndarray) -> np.ndarray:
    return count(risk, 0.5, Examples(positive, np.arange(risk.size), np.ones((risk.size, 1), dtype=bool)))[0]


def test_calibration_is_predicted_minus_observed() -> None:
    found = calibration(_cells(np.full(100, 0.3), np.arange(100) < 20), 0.95)
    assert found is not None
    assert found.value == pytest.approx(0.1)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.0458, rel=0.02)


def test_risks_too_sure_of_themselves_do_not_narrow_the_interval() -> None:
    sure = calibration(_cells(np.full(100, 0.001), np.arange(100) < 50), 0.95)
    assert sure is not None
    assert sure.high - sure.low > 0.19


def test_nobody_has_no_metrics() -> None:
    assert estimates(np.zeros(CELLS), 0.95) == dict.fromkeys(METRICS)


@given(seed=st.integers(0, 2**32), number=st.integers(1, 60), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_intervals_hold_their_value(seed: int, number: int, confidence: float) -> None:
    draw = np.random.default_rng(seed)
    row = _cells(draw.random(number), draw.random(number) < draw.random())
    for metric, found in estimates(row, confidence).items():
        if found is not None:
            assert (-1.0 if metric == "calibration" else 0.0) <= found.low <= found.value <= found.high <= 1.0

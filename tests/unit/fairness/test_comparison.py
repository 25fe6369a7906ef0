"""Verdicts of a gate from counts of two models on the same patients."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from sealround.errors import UsageError
from sealround.fairness import Assessment, GateRules, assess
from sealround.fairness.cells import COMPARED
from sealround.fairness.comparison import METRICS, holm

ONE = GateRules(metrics=("fnr",))


def _row(positives: tuple[int, ...], negatives: tuple[int, ...] = (0, 0, 0, 0), sites: int = 4) -> np.ndarray:
    """Both right, only the candidate wrong, only the reference wrong, both wrong; errors left out."""
    row = np.zeros(COMPARED)
    row[:10] = sites, sum(positives) + sum(negatives), *positives, *negatives
    return row


def _only(row: np.ndarray, rules: GateRules = ONE) -> Assessment:
    (found,) = assess(row[None], ("women",), rules)
    return found


def test_a_rise_is_found() -> None:
    found = _only(_row((60, 30, 2, 8)))
    assert found.verdict == "worse"
    assert (found.group, found.metric, found.sites, found.patients, found.examples) == ("women", "fnr", 4, 100, 100)
    assert (found.candidate, found.reference) == (0.38, 0.1)
    assert found.rise == pytest.approx(0.28)
    assert found.p_value == found.adjusted == pytest.approx(stats.binomtest(30, 32, alternative="greater").pvalue)
    assert found.low is not None
    assert 0.15 < found.low < 0.28
    assert found.detectable is not None
    assert found.detectable < 0.2
    assert found.why == ""


def test_no_rise_is_not_worse_where_one_would_have_been_seen() -> None:
    found = _only(_row((80, 2, 3, 15)))
    assert found.verdict == "not worse"
    assert found.low is not None
    assert found.low <= 0


def test_a_rise_that_would_go_unfound_is_no_pass() -> None:
    found = _only(_row((16, 1, 1, 2)))
    assert found.verdict == "not assessable"
    assert found.why == "a rise of 20 percentage points would go unfound too often"
    assert found.candidate == 0.15
    passes = dataclasses.replace(ONE, largest_undetected=0.9)
    assert _only(_row((16, 1, 1, 2)), passes).verdict == "not worse"


def test_harm_that_is_found_is_found_however_few_they_are() -> None:
    assert _only(_row((2, 12, 0, 0))).verdict == "worse"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (_row((2, 6, 0, 2)), "fewer than 11 patients"),
        (_row((60, 30, 2, 8), sites=2), "patients of fewer than 3 hospitals"),
        (_row((0, 0, 0, 0), (50, 0, 0, 0)), "nobody is sick"),
        (_row((0, 0, 0, 0)), "fewer than 11 patients"),
    ],
)
def test_what_cannot_be_judged_says_why(row: np.ndarray, why: str) -> None:
    found = _only(row)
    assert (found.verdict, found.why) == ("not assessable", why)
    assert found.p_value is None
    assert found.rise is None


def test_groups_that_are_not_tested_cost_the_others_nothing() -> None:
    harmed = _row((60, 12, 2, 8))
    alone = _only(harmed)
    found = assess(np.stack([harmed, *[_row((2, 0, 0, 0))] * 9]), [str(n) for n in range(10)], ONE)
    assert found[0].adjusted == alone.adjusted


def test_many_groups_are_tested_at_one_level() -> None:
    """A rise that one group alone would show can be chance among twelve."""
    harmed, other = _row((80, 9, 1, 10)), _row((80, 3, 3, 10))
    assert _only(harmed).verdict == "worse"
    found = assess(np.stack([harmed, *[other] * 11]), [str(n) for n in range(12)], ONE)
    assert found[0].verdict == "not worse"
    assert found[0].adjusted == pytest.approx(12 * (found[0].p_value or 0))


def test_a_tolerance_is_allowed() -> None:
    row = _row((170, 14, 2, 14))
    assert _only(row).verdict == "worse"
    assert _only(row, dataclasses.replace(ONE, tolerance=0.05)).verdict == "not worse"


def test_false_alarms_are_counted_among_the_healthy() -> None:
    rules = GateRules(metrics=("fnr", "fpr"))
    first, second = assess(_row((50, 1, 1, 4), (60, 30, 2, 8))[None], ["men"], rules)
    assert (first.metric, first.examples, first.verdict) == ("fnr", 56, "not worse")
    assert (second.metric, second.examples, second.verdict) == ("fpr", 100, "worse")


def _errors(candidate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    row = np.zeros(COMPARED)
    row[:2] = 3, candidate.size
    row[2] = candidate.size  # who errs at the threshold does not matter here
    row[10:] = candidate.sum(), (candidate**2).sum(), reference.sum(), (reference**2).sum(), candidate @ reference
    return row


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_calibration_is_compared_in_magnitude(sign: float) -> None:
    draw = np.random.default_rng(5)
    noise = draw.normal(0, 0.3, 400)
    candidate = sign * (0.2 + noise + draw.normal(0, 0.05, 400))
    reference = -sign * (0.04 + noise + draw.normal(0, 0.05, 400))
    rules = GateRules(metrics=("calibration",), tolerance=0.05)
    found = _only(_errors(candidate, reference), rules)
    assert found.rise == pytest.approx(abs(candidate.mean()) - abs(reference.mean()))
    assert found.verdict == "worse"
    # Both |c| - r and |c| + r have to be above the tolerance: the larger p-value of two ordinary t-tests.
    wanted = max(
        stats.ttest_1samp(sign * candidate - other * reference, 0.05, alternative="greater").pvalue
        for other in (1.0, -1.0)
    )
    assert found.p_value == pytest.approx(wanted, rel=1e-6)
    assert _only(_errors(reference, candidate), rules).verdict == "not worse"


def test_calibration_of_identical_models_does_not_rise() -> None:
    errors = np.random.default_rng(1).normal(0.1, 0.3, 300)
    found = _only(_errors(errors, errors), GateRules(metrics=("calibration",)))
    assert found.verdict == "not worse"
    assert found.rise == 0.0
    assert found.p_value is not None
    assert found.p_value >= 0.5


def test_holm() -> None:
    adjusted, levels = holm(np.array([0.04, 0.001, 0.02, 0.6]), 0.05)
    assert adjusted == pytest.approx([0.08, 0.004, 0.06, 0.6])
    # The smallest was tested at a quarter of the level, the next at a third, where it stops.
    assert levels == pytest.approx([0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05 / 3])


def test_all_metrics_are_known() -> None:
    found = assess(np.zeros((1, COMPARED)), ["a"], GateRules(metrics=METRICS))
    assert [entry.metric for entry in found] == list(METRICS)


@pytest.mark.parametrize("counts", [np.zeros((2, COMPARED)), np.zeros((1, 3)), np.full((1, COMPARED), np.nan)])
def test_what_is_no_comparison_is_refused(counts: np.ndarray) -> None:
    with pytest.raises(UsageError, match="not counts of a comparison"):
        assess(counts, ["a"], ONE)

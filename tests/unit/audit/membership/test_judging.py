"""Intervals hold what they promise, decisions are judged on patients they were not made on, chance is chance."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from sealround.audit.membership import FALSE_POSITIVE_RATES, judge
from sealround.audit.membership.judging import _tpr_at
from sealround.errors import UsageError

NORMAL = NormalDist()


def _draw(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_figures_of_a_small_case_by_hand() -> None:
    scores = np.array([9.0, 8.0, 7.0, 3.0, 6.0, 5.0, 4.0, 2.0, 1.0])
    member = np.array([True, True, True, True, False, False, False, False, False])
    result = judge(scores, member, _draw(0))
    assert (result.members, result.others) == (4, 5)
    # Of 20 pairs the member with 3 loses to the others with 6, 5 and 4.
    assert result.auc.value == pytest.approx(17 / 20)
    assert result.tpr[0.01].value == 0.75
    assert result.roc.tolist() == [[0.0, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 0.75, 0.75, 0.75, 1.0, 1.0, 1.0]]
    assert result.worst == result.posterior[result.worst_patient - 1] == result.posterior[member].max()


def test_ties_count_half_and_pass_no_threshold() -> None:
    result = judge(np.zeros(20), np.arange(20) < 10, _draw(0))
    assert result.auc.value == 0.5
    assert result.tpr[0.01].value == 0.0
    assert result.roc.tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert result.posterior == pytest.approx(np.full(20, 0.5))


def test_perfect_scores_of_few_patients_show_little_at_low_rates() -> None:
    """Of m others, thresholds with an FPR of 1 % for sure (at a quarter of 5 %) exist from m = 437 on."""
    for others, shown in ((436, False), (437, True)):
        member = np.arange(500 + others) < 500
        result = judge(member.astype(float), member, _draw(0))
        assert result.tpr[0.01].value == result.tpr[0.01].high == 1.0
        assert (result.tpr[0.01].low > 0.95) == shown
        assert result.tpr[0.001].low == 0.0
        assert result.balanced_accuracy.value == 1.0


@pytest.mark.parametrize("shift", [0.0, 1.5])
@pytest.mark.parametrize("rate", FALSE_POSITIVE_RATES)
def test_intervals_of_tpr_hold_the_truth(shift: float, rate: float) -> None:
    """150 intervals of 95 % at least: 15 misses or more come with probability 0.008 if each misses with 0.05."""
    truth = 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - rate) - shift)
    missed = 0
    for seed in range(150):
        draw = _draw(seed)
        ins, outs = np.sort(draw.normal(shift, 1, 500))[::-1], np.sort(draw.normal(0, 1, 500))[::-1]
        found = _tpr_at(ins, outs, rate, 0.95)
        missed += not found.low <= truth <= found.high
        assert found.low <= found.value <= found.high
    assert missed < 15


def test_a_shift_is_found_at_one_percent() -> None:
    draw = _draw(1)
    member = np.arange(4000) < 2000
    result = judge(draw.normal(size=4000) + 2.0 * member, member, draw)
    assert result.tpr[0.01].low > 10 * 0.01
    assert result.auc.low > 0.9
    # Best threshold: 1, where TPR and TNR are both P(Z < 1).
    assert result.balanced_accuracy.low <= NORMAL.cdf(1.0) <= result.balanced_accuracy.high
    assert result.worst > result.worst_by_chance


def test_posteriors_are_those_of_the_densities() -> None:
    draw = _draw(3)
    member = np.arange(6000) < 3000
    scores = draw.normal(size=6000) + 2.0 * member
    found = judge(scores, member, draw).posterior
    # Bayes with a fair coin: 1 / (1 + e^(2 - 2 s)).
    assert np.abs(found - 1 / (1 + np.exp(2 - 2 * scores))).mean() < 0.03


def test_chance_is_reported_as_chance() -> None:
    """Forty attacks that know nothing: `worst` is above what chance gives in one of twenty; 7 or more: P = 0.004."""
    above = accused = 0
    accuracy, told = [], []
    for seed in range(40):
        draw = _draw(seed)
        member = draw.random(200) < 0.5
        result = judge(draw.normal(size=200), member, draw)
        above += result.worst > result.worst_by_chance
        accused += not result.balanced_accuracy.low <= 0.5 <= result.balanced_accuracy.high
        accuracy.append(result.balanced_accuracy.value)
        told.append(result.posterior[member].mean() - result.posterior[~member].mean())
    assert above < 7
    assert accused < 7
    # Means of 40, within four standard errors; judged on the patients that they were chosen on, they are far above.
    for values, chance in ((accuracy, 0.5), (told, 0.0)):
        assert np.mean(values) == pytest.approx(chance, abs=4 * np.std(values) / 40**0.5)


def test_a_curve_of_many_points_is_thinned_where_it_says_least() -> None:
    draw = _draw(2)
    member = np.arange(8000) < 4000
    roc = judge(draw.normal(size=8000) + member, member, draw).roc
    assert roc.shape[1] <= 200
    assert roc[0, 0] == 0.0
    assert roc[:, -1].tolist() == [1.0, 1.0]
    assert (np.diff(roc) >= 0).all()
    assert (roc[0] <= 0.01).sum() > 20


def test_infinite_scores_are_scores() -> None:
    scores = np.array([np.inf, np.inf, 1.0, 0.5, -np.inf, -np.inf, 0.0, 0.2])
    assert judge(scores, np.arange(8) < 4, _draw(0)).auc.value == 1.0


@pytest.mark.parametrize(
    ("scores", "member"),
    [
        (np.zeros(8), np.zeros(9, dtype=bool)),
        (np.zeros(8), np.arange(8)),
        (np.full(8, np.nan), np.arange(8) < 4),
        (np.zeros(8), np.arange(8) < 3),
    ],
)
def test_what_cannot_be_judged_is_refused(scores: np.ndarray, member: np.ndarray) -> None:
    with pytest.raises(UsageError):
        judge(scores, member, _draw(0))

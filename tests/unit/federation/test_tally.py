from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from sealround.errors import UsageError
from sealround.federation import tally


def _site(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    outcome = (draw.random(n) < 0.3).astype(np.float32)
    return draw.normal(size=n) * 2 + 2 * outcome - 1, outcome


def _tally(logits: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    return tally.binary_tally((3.0, 2), (5.0, logits.size), logits, outcome)


def test_auroc_of_the_sum_is_that_of_all_patients_within_the_stated_bound() -> None:
    sites = [_site(seed) for seed in range(5)]
    total = np.sum([_tally(*site) for site in sites], axis=0)
    logits, outcome = (np.concatenate(part) for part in zip(*sites, strict=True))
    negative, positive = total[4 : 4 + tally.BINS], total[4 + tally.BINS :]
    bound = (negative * positive).sum() / (2 * negative.sum() * positive.sum())
    assert bound < 0.01
    assert tally.auroc(total) == pytest.approx(roc_auc_score(outcome, logits), abs=bound)


def test_accuracy_is_that_at_a_risk_of_one_half() -> None:
    logits, outcome = _site(7)
    assert tally.accuracy(_tally(logits, outcome)) == np.mean((logits >= 0) == outcome)
    assert tally.accuracy(np.zeros(tally.size("binary"))) is None


def test_logits_beyond_the_limit_are_counted() -> None:
    found = _tally(np.array([-1e9, 1e9, np.float64(16.0)]), np.array([0, 1, 1]))
    assert found[4] == 1
    assert found[-1] == 2


def test_losses_are_per_example_and_absent_without_examples() -> None:
    assert tally.mean_losses(_tally(np.zeros(10), np.zeros(10))) == (1.5, 0.5)
    assert tally.mean_losses(np.zeros(tally.size("binary"))) == (None, None)


def test_youden_is_the_best_cut_of_the_roc_curve() -> None:
    logits, outcome = _site(3, 4000)
    found = tally.youden_threshold(_tally(logits, outcome))
    assert found is not None
    fpr, tpr, _ = roc_curve(outcome, logits)
    chosen = logits >= np.log(found / (1 - found))
    reached = chosen[outcome > 0].mean() - chosen[outcome == 0].mean()
    assert reached == pytest.approx((tpr - fpr).max(), abs=0.01)


def test_of_two_equally_good_cuts_youden_takes_one_and_nothing_between() -> None:
    logits, outcome = np.array([-4.0, 0.0, -2.0, 3.0]), np.array([0, 0, 1, 1])
    found = tally.youden_threshold(_tally(logits, outcome))
    assert found is not None
    chosen = logits >= np.log(found / (1 - found))
    assert chosen.tolist() == [False, False, False, True]


def test_the_sensitivity_threshold_is_the_highest_that_reaches_it() -> None:
    logits, outcome = _site(4, 4000)
    found = tally.sensitivity_threshold(_tally(logits, outcome), 0.9)
    assert found is not None
    cut = np.log(found / (1 - found))
    assert (logits[outcome > 0] >= cut).mean() >= 0.9
    assert (logits[outcome > 0] >= cut + 32 / tally.BINS).mean() < 0.9


def test_one_class_gives_no_metric_and_no_threshold() -> None:
    only = _tally(np.zeros(5), np.zeros(5))
    assert tally.auroc(only) is None
    assert tally.youden_threshold(only) is None
    assert tally.sensitivity_threshold(only, 0.9) is None
    assert tally.platt(only) == (1.0, 0.0)


def test_platt_is_logistic_regression_on_the_logit() -> None:
    logits, outcome = _site(5, 20_000)
    slope, intercept = tally.platt(_tally(logits * 3 + 1, outcome))
    oracle = LogisticRegression(C=np.inf).fit((logits * 3 + 1)[:, None], outcome)
    assert slope == pytest.approx(oracle.coef_[0, 0], rel=0.02)
    assert intercept == pytest.approx(oracle.intercept_[0], abs=0.02)


def test_platt_of_a_separable_set_is_finite() -> None:
    slope, intercept = tally.platt(_tally(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1])))
    assert 0 < slope < 100
    assert abs(intercept) < 10


def test_recalibration_maps_a_threshold_like_a_risk() -> None:
    assert tally.recalibrated(0.5, (2.0, 0.0)) == 0.5
    assert tally.recalibrated(0.5, (1.0, 1.0)) == pytest.approx(1 / (1 + np.exp(-1)))
    assert tally.recalibrated(1.0, (2.0, 3.0)) == 1.0


def test_survival_pairs_add_up() -> None:
    total = tally.survival_tally((1, 1), (1, 1), (6, 2, 10)) + tally.survival_tally((1, 1), (1, 1), (0, 0, 0))
    assert tally.c_index(total) == 0.7
    assert tally.c_index(np.zeros(tally.size("survival"))) is None


def test_a_survival_tally_is_not_a_histogram() -> None:
    with pytest.raises(UsageError):
        tally.auroc(np.zeros(tally.size("survival")))


def test_scores_that_rank_the_wrong_way_round_are_not_turned_round() -> None:
    logits, outcome = _site(8)
    assert tally.platt(_tally(-logits, outcome)) == (1.0, 0.0)


def test_a_threshold_at_the_outermost_edge_takes_in_everybody() -> None:
    everyone = _tally(np.array([-40.0, -30.0, 3.0]), np.array([1, 0, 1]))
    assert tally.sensitivity_threshold(everyone, 1.0) == 0.0

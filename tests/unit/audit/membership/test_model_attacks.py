"""LiRA and RMIA where the best test is known, and on a model that has learnt its records by heart."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from sealround.audit.membership import (
    MEMBERSHIP_ATTACKS,
    MembershipAttack,
    Signals,
    difficulty_calibrated,
    fitted_offline_a,
    judge,
    lira,
    lira_offline,
    log_odds,
    log_probability,
    membership_scores,
    relative_log_likelihood,
    rmia,
)
from sealround.errors import UsageError

NORMAL = NormalDist()


def _auc(scores: np.ndarray, member: np.ndarray) -> float:
    return float(
        (scores[member][:, None] > scores[~member]).mean() + (scores[member][:, None] == scores[~member]).mean() / 2
    )


# Signals


def test_log_odds_are_those_of_the_true_label() -> None:
    logits, labels = np.array([2.0, -1.0, 0.5]), np.array([1.0, 1.0, 0.0])
    p = 1 / (1 + np.exp(-logits))
    mine = np.where(labels == 1, p, 1 - p)
    assert log_odds(logits, labels) == pytest.approx(np.log(mine / (1 - mine)), rel=1e-12)
    assert log_probability(log_odds(logits, labels)) == pytest.approx(np.log(mine), rel=1e-12)


def test_log_odds_of_classes_agree_with_softmax_and_with_one_logit() -> None:
    draw = np.random.default_rng(1)
    outputs, labels = draw.normal(size=(4, 6, 3)), draw.integers(3, size=6)
    p = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    mine = np.take_along_axis(p, np.broadcast_to(labels[None, :, None], (4, 6, 1)), -1)[..., 0]
    assert log_odds(outputs, labels) == pytest.approx(np.log(mine / (1 - mine)), rel=1e-9)
    two = np.stack([np.zeros(6), outputs[0, :, 0]], -1)
    assert log_odds(two, labels % 2) == pytest.approx(log_odds(outputs[0, :, 0], labels % 2))


def test_log_odds_of_a_certain_model_keep_their_digits() -> None:
    assert log_odds(np.array([[800.0, 0.0, 0.0]]), np.array([0]))[0] == pytest.approx(800 - math.log(2), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"references": np.zeros((2, 4))}, "do not fit"),
        ({"inside": np.zeros((2, 3))}, "who is in"),
        ({"population": np.zeros(5)}, "population"),
        ({"population": np.zeros(5), "population_references": np.zeros((2, 4))}, "should be"),
        ({"target": np.array([0.0, np.nan, 0.0])}, "finite"),
    ],
)
def test_signals_that_do_not_fit_are_refused(change: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {
        "target": np.zeros(3),
        "references": np.zeros((2, 3)),
        "inside": np.zeros((2, 3), dtype=bool),
    }
    Signals(**good)
    with pytest.raises(UsageError, match=words):
        Signals(**(good | change))


# LiRA


def _gaussian(shift: float, number: int, seed: int) -> tuple[Signals, np.ndarray]:
    """Signals normal around a mean of each record's own, `shift` higher for members; references say so exactly."""
    draw = np.random.default_rng(seed)
    member = np.arange(2 * number) < number
    mean = draw.normal(scale=5.0, size=2 * number)
    spread = math.sqrt(0.5)  # Two models at +-spread have a sample variance of 1.
    references = mean + np.array([shift + spread, shift - spread, spread, -spread])[:, None]
    inside = np.repeat(np.array([True, True, False, False])[:, None], 2 * number, 1)
    return Signals(mean + shift * member + draw.normal(size=2 * number), references, inside), member


@pytest.mark.parametrize("variance", ["global", "example"])
def test_lira_is_the_test_of_neyman_and_pearson(variance: Any) -> None:
    shift = 2.0
    signals, member = _gaussian(shift, 1500, 3)
    found = lira(signals, variance)
    apart = signals.target - signals.references[2:].mean(0)
    assert found == pytest.approx(shift * apart - shift**2 / 2, rel=1e-6, abs=1e-6)
    # Its power at a false-positive rate of 1 % and its AUC, in closed form; both intervals miss once in 20 at most.
    result = judge(found, member, np.random.default_rng(0))
    power = NORMAL.cdf(shift - NORMAL.inv_cdf(0.99))
    assert result.tpr[0.01].low <= power <= result.tpr[0.01].high
    assert result.tpr[0.01].low > 0.2
    assert result.auc.low <= NORMAL.cdf(shift / math.sqrt(2)) <= result.auc.high


def test_offline_lira_is_the_z_value_of_the_out_models() -> None:
    signals, _ = _gaussian(2.0, 50, 4)
    apart = signals.target - signals.references[2:].mean(0)
    assert lira_offline(signals) == pytest.approx(apart, rel=1e-6)
    assert lira_offline(signals, "example") == pytest.approx(apart, rel=1e-6)
    assert difficulty_calibrated(signals) == pytest.approx(apart, rel=1e-12)


def test_variances_of_examples_count_from_64_models_on() -> None:
    draw = np.random.default_rng(5)
    spread = np.array([0.1, 1.0, 10.0])
    references = draw.normal(size=(64, 3)) * spread
    inside = np.zeros((64, 3), dtype=bool)
    own = Signals(np.ones(3), references, inside)
    few = Signals(np.ones(3), references[:63], inside[:63])
    assert lira_offline(own) == pytest.approx((1 - references.mean(0)) / references.std(0, ddof=1), rel=1e-6)
    pooled = math.sqrt(references[:63].var(0, ddof=1).mean())
    assert lira_offline(few) == pytest.approx((1 - references[:63].mean(0)) / pooled, rel=1e-6)


def test_log_ratio_has_both_variances() -> None:
    references = np.array([[3.0], [5.0], [-1.0], [0.0], [1.0]])
    inside = np.array([[True], [True], [False], [False], [False]])
    found = lira(Signals(np.array([1.5]), references, inside), "example")[0]
    expected = math.log(NormalDist(4, math.sqrt(2)).pdf(1.5) / NormalDist(0, 1).pdf(1.5))
    assert found == pytest.approx(expected, rel=1e-9)


def test_one_reference_model_is_enough_for_the_online_test() -> None:
    draw = np.random.default_rng(6)
    n = 2000
    member, inside = draw.random(n) < 0.5, draw.random((1, n)) < 0.5
    mean = draw.normal(scale=3.0, size=n)
    target = mean + 2.0 * member + draw.normal(scale=0.3, size=n)
    references = mean + 2.0 * inside + draw.normal(scale=0.3, size=(1, n))
    signals = Signals(target, references, inside)
    # Difference of the two models' signals: 2 (b - b') + noise of 0.42. Knowing b', the coin b is easy.
    assert _auc(lira(signals), member) > 0.99
    assert _auc(target, member) < 0.75


def test_queries_are_weighed_by_how_they_vary_together() -> None:
    draw = np.random.default_rng(7)
    n, k = 400, 20
    noise = draw.normal(size=(k + 1, n, 1)) * np.array([1.0, 1.0, 0.0]) + draw.normal(size=(k + 1, n, 3)) * 0.1
    member = np.arange(n) < n // 2
    # The first two queries share their noise, the third has little: the shift of 0.3 is plain in it alone.
    target = noise[0] + 0.3 * member[:, None]
    signals = Signals(target, noise[1:], np.zeros((k, n), dtype=bool))
    assert _auc(lira_offline(signals), member) > 0.95
    assert _auc(difficulty_calibrated(signals), member) < 0.75


def test_attacks_say_which_models_they_lack() -> None:
    signals, _ = _gaussian(1.0, 5, 8)
    everybody = Signals(signals.target, signals.references, np.ones_like(signals.inside))
    nobody = Signals(signals.target, signals.references, np.zeros_like(signals.inside))
    for attack, lacking in (
        (lira, nobody),
        (lira, everybody),
        (lira_offline, everybody),
        (difficulty_calibrated, everybody),
    ):
        with pytest.raises(UsageError):
            attack(lacking)
    with pytest.raises(UsageError, match="population"):
        rmia(signals)


# RMIA


def _with_population(seed: int, number: int = 40, population: int = 25, models: int = 3) -> Signals:
    draw = np.random.default_rng(seed)
    inside = np.zeros((models, number), dtype=bool)
    inside[0] = True
    return Signals(
        draw.normal(size=number),
        draw.normal(size=(models, number)),
        inside,
        draw.normal(size=population),
        draw.normal(size=(models, population)),
    )


def _p(odds: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-odds)))


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("a", [None, 0.0, 0.3, 1.0])
def test_rmia_counts_pairs_as_the_paper_has_them(gamma: float, a: float | None) -> None:
    signals = _with_population(11)
    assert signals.population is not None
    assert signals.population_references is not None
    references = _p(signals.references)
    if a is None:
        prior, prior_z = (references[0] + references[1:].mean(0)) / 2, _p(signals.population_references).mean(0)
    else:
        prior = ((1 + a) * references[1:].mean(0) + (1 - a)) / 2
        prior_z = ((1 + a) * _p(signals.population_references).mean(0) + (1 - a)) / 2
    ratio, ratio_z = _p(signals.target) / prior, _p(signals.population) / prior_z
    pairs = (ratio[:, None] / ratio_z >= gamma).sum(1)
    found = rmia(signals, gamma, a)
    assert np.array_equal(np.floor(found * 26 + 1e-9), pairs)
    # Less than one step orders what is tied, by the ratio: so the order is that of the ratio.
    assert np.array_equal(np.argsort(found), np.argsort(ratio))
    assert relative_log_likelihood(signals, a) == pytest.approx(np.log(ratio), rel=1e-9)


def test_a_record_is_at_least_as_likely_as_its_like() -> None:
    """A ratio of exactly gamma counts: with the population's own signals, each record passes itself."""
    draw = np.random.default_rng(14)
    target, references = draw.normal(size=5), draw.normal(size=(2, 5))
    signals = Signals(target, references, np.zeros((2, 5), dtype=bool), target, references)
    order = np.argsort(relative_log_likelihood(signals, 0.3))
    assert np.floor(rmia(signals, 1.0, 0.3) * 6 + 1e-9)[order].tolist() == [1, 2, 3, 4, 5]


def test_ratios_of_certain_models_keep_their_digits() -> None:
    inside = np.zeros((1, 2), dtype=bool)
    signals = Signals(np.array([50.0, 45.0]), np.array([[44.0, 44.0]]), inside)
    found = relative_log_likelihood(signals, 1.0)
    assert found == pytest.approx([math.exp(-44) - math.exp(-50), math.exp(-44) - math.exp(-45)], rel=1e-9)


def test_a_is_fitted_to_the_reference_models() -> None:
    draw = np.random.default_rng(12)
    n, k = 4000, 4
    inside = draw.random((k, n)) < 0.5
    p_out = draw.uniform(0.05, 0.95, size=n)
    wanted = {}
    for a in (0.1, 0.9):
        p = np.where(inside, a * p_out + 1 - a, p_out)
        odds = np.log(p / (1 - p)) + draw.normal(scale=0.3, size=(k, n))
        wanted[a] = fitted_offline_a(Signals(odds[0], odds, inside))
    assert wanted[0.1] < wanted[0.9]
    assert fitted_offline_a(Signals(np.zeros(3), np.zeros((1, 3)), np.zeros((1, 3), dtype=bool))) == 0.3


@pytest.mark.parametrize(("gamma", "a"), [(0.0, None), (2.0, 1.1), (2.0, -0.1)])
def test_rmia_refuses_parameters_out_of_range(gamma: float, a: float | None) -> None:
    with pytest.raises(UsageError):
        rmia(_with_population(13), gamma, a)


# All of them, on records learnt by heart


def _logistic(x: np.ndarray, y: np.ndarray, inside: np.ndarray, steps: int = 60) -> np.ndarray:
    """Outputs on all records of one logistic regression a row of `inside`, trained on its records, ``(k, n)``."""
    w = np.zeros((len(inside), x.shape[1]))
    for _ in range(steps):
        slope = (_p(w @ x.T) - y) * inside / inside.sum(1, keepdims=True)
        w -= 1.0 * slope @ x
    return np.asarray(w @ x.T)


@pytest.fixture(scope="module")
def by_heart() -> tuple[Signals, np.ndarray]:
    """600 records of 150 columns, hard ones among them, halves in each training, and 300 strangers."""
    draw = np.random.default_rng(21)
    n, m, d = 600, 300, 150
    x = draw.normal(size=(n + m, d))
    score = x[:, :5] @ np.full(5, 1.2)
    y = (draw.random(n + m) < _p(score)).astype(float)
    inside = np.zeros((5, n + m), dtype=bool)
    for row in inside:
        row[draw.permutation(n)[: n // 2]] = True
    odds = log_odds(_logistic(x, y, inside), y)
    return Signals(odds[0, :n], odds[1:, :n], inside[1:, :n], odds[0, n:], odds[1:, n:]), inside[0, :n]


def test_a_few_reference_models_beat_the_loss_threshold(by_heart: tuple[Signals, np.ndarray]) -> None:
    signals, member = by_heart
    # An example that no or each of the four references saw has no place in the online RMIA.
    both = signals.inside.any(0) & ~signals.inside.all(0)
    part = Signals(
        signals.target[both], signals.references[:, both], signals.inside[:, both],
        signals.population, signals.population_references,
    )  # fmt: skip
    auc = {attack: _auc(membership_scores(part, attack), member[both]) for attack in MEMBERSHIP_ATTACKS}
    assert auc["loss"] > 0.55
    for attack in ("lira", "rmia-offline", "rmia"):
        assert auc[attack] > auc["loss"] + 0.02, auc
    # As published: with few reference models RMIA is the stronger.
    assert auc["rmia"] > auc["lira"], auc


def test_one_reference_model_beats_the_loss_threshold(by_heart: tuple[Signals, np.ndarray]) -> None:
    signals, member = by_heart
    out = ~signals.inside[0]
    assert signals.population_references is not None
    one = Signals(
        signals.target[out], signals.references[:1, out], signals.inside[:1, out],
        signals.population, signals.population_references[:1],
    )  # fmt: skip
    assert _auc(rmia(one, offline_a=0.3), member[out]) > _auc(one.target, member[out]) + 0.02


@pytest.mark.parametrize("attack", MEMBERSHIP_ATTACKS)
def test_without_members_nobody_is_told_apart(by_heart: tuple[Signals, np.ndarray], attack: MembershipAttack) -> None:
    """Who is called a member is drawn after the training: each interval misses chance once in 20 times at most."""
    signals, _ = by_heart
    both = signals.inside.any(0) & ~signals.inside.all(0)
    part = Signals(
        signals.target[both], signals.references[:, both], signals.inside[:, both],
        signals.population, signals.population_references,
    )  # fmt: skip
    draw = np.random.default_rng(31)
    result = judge(membership_scores(part, attack), draw.random(int(both.sum())) < 0.5, draw)
    assert result.auc.low <= 0.5 <= result.auc.high
    assert result.balanced_accuracy.low <= 0.5 <= result.balanced_accuracy.high
    for rate, found in result.tpr.items():
        assert found.low <= rate <= found.high

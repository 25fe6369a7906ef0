"""The attacker's best guess: closed forms of Gaussians and of a single (epsilon, delta)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from sealround.errors import UsageError
from sealround.privacy.accounting import delta_of, epsilon_of
from sealround.privacy.events import NeighboringRelation, PrivacyEvent
from sealround.privacy.tradeoff import (
    Guarantee,
    max_true_positive_rate,
    membership_advantage,
    posterior,
    tradeoff_curve,
)

ADD: NeighboringRelation = "add-or-remove-one"
RELATIONS: tuple[NeighboringRelation, ...] = (ADD, "replace-one")
TRAINING = (PrivacyEvent("training", 1.0, 0.05, 100), PrivacyEvent("metrics", 10.0, 1.0, 1))


@pytest.mark.parametrize("noise", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("relation", RELATIONS)
def test_a_gaussian_has_the_gaussian_curve(noise: float, relation: NeighboringRelation) -> None:
    """Dong, Roth, Su 2022, equation 6: G_mu(alpha) = Phi(Phi^-1(1 - alpha) - mu), a lower bound but for rounding."""
    mu = (2.0 if relation == "replace-one" else 1.0) / noise
    events = (PrivacyEvent("statistics", noise, 1.0, 1),)
    rates, found = tradeoff_curve(events, relation)
    exact = norm.cdf(norm.isf(rates) - mu)
    assert np.all(found <= exact + 1e-9)
    assert found == pytest.approx(exact, abs=2e-4)
    assert membership_advantage(events, relation) == pytest.approx(2 * norm.cdf(mu / 2) - 1, rel=1e-4)
    assert max_true_positive_rate(events, relation, 0.01) == pytest.approx(norm.sf(norm.isf(0.01) - mu), abs=2e-4)


@pytest.mark.parametrize(
    "known", [TRAINING, Guarantee(1.0, 1e-5), Guarantee(0.0, 0.3), Guarantee(1000.0, 0.0)], ids=str
)
def test_a_curve_is_convex_falling_and_its_own_inverse(known: tuple[PrivacyEvent, ...] | Guarantee) -> None:
    rates, found = tradeoff_curve(known, ADD, 101)
    assert (len(rates), rates[0], rates[-1], found[-1]) == (101, 0.0, 1.0, 0.0)
    assert np.all(np.diff(rates) > 0)
    assert np.all(np.diff(found) <= 1e-12)
    assert np.all(found <= 1 - rates + 1e-12)
    slopes = np.diff(found) / np.diff(rates)
    assert np.all(np.diff(slopes) >= -1e-6 * np.abs(slopes[1:]) - 1e-6)
    for rate in (0.001, 0.1, 0.4):
        missed = 1 - max_true_positive_rate(known, ADD, rate)
        if missed > 0:
            assert 1 - max_true_positive_rate(known, ADD, missed) == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize("relation", RELATIONS)
def test_no_attack_beats_any_of_the_guarantees(relation: NeighboringRelation) -> None:
    for rate in (0.0, 1e-4, 0.01, 0.3):
        best = max_true_positive_rate(TRAINING, relation, rate)
        for delta in (1e-9, 1e-5, 1e-2):
            known = Guarantee(epsilon_of(TRAINING, delta, relation), delta)
            assert best <= max_true_positive_rate(known, relation, rate) + 1e-6
        assert best >= rate


def test_the_threshold_attack_on_one_sampled_step_is_possible_and_bounded() -> None:
    """The sum itself is the best statistic: its curve touches the bound from the side where a patient is there."""
    q, noise = 0.3, 0.7
    events = (PrivacyEvent("training", noise, q, 1),)
    for threshold in (0.5, 1.0, 2.0):
        false = float(norm.sf(threshold / noise))
        true = q * float(norm.sf((threshold - 1) / noise)) + (1 - q) * false
        assert max_true_positive_rate(events, ADD, false) == pytest.approx(true, abs=2e-4)
        assert max_true_positive_rate(events, ADD, false) >= true - 1e-9


def test_one_guarantee() -> None:
    known = Guarantee(1.0, 0.01)
    assert max_true_positive_rate(known, ADD, 0.0) == pytest.approx(0.01)
    assert max_true_positive_rate(known, ADD, 0.1) == pytest.approx(0.01 + 0.1 * math.e)
    assert max_true_positive_rate(known, ADD, 0.9) == pytest.approx(1 - (0.99 - 0.9) / math.e)
    corner = 0.99 / (1 + math.e)
    assert membership_advantage(known, ADD) == pytest.approx(max_true_positive_rate(known, ADD, corner) - corner)
    assert membership_advantage(known, ADD) == pytest.approx((math.e - 1 + 0.02) / (math.e + 1))


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_advantage_is_the_widest_gap_of_the_curve(relation: NeighboringRelation) -> None:
    rates, found = tradeoff_curve(TRAINING, relation, 2001)
    widest = float(np.max(1 - found - rates))
    assert membership_advantage(TRAINING, relation) == delta_of(TRAINING, 0.0, relation)
    assert membership_advantage(TRAINING, relation) == pytest.approx(widest, abs=1e-5)


def test_nothing_and_everything() -> None:
    rates, found = tradeoff_curve((), ADD)
    assert found == pytest.approx(1 - rates)
    assert membership_advantage((), ADD) == 0.0
    bare = (PrivacyEvent("metrics", 0.0, 1.0, 1),)
    assert np.all(tradeoff_curve(bare, ADD)[1] == 0.0)
    assert membership_advantage(bare, ADD) == 1.0
    assert max_true_positive_rate(bare, ADD, 0.0) == 1.0
    assert membership_advantage(Guarantee(0.0, 0.0), ADD) == 0.0
    assert membership_advantage(Guarantee(5000.0, 0.0), ADD) == 1.0


def test_belief() -> None:
    assert posterior(0.5, math.log(3)) == pytest.approx(0.75)
    assert posterior(0.1, 0.0) == pytest.approx(0.1)
    assert posterior(0.01, 1.0) == pytest.approx(0.01 * math.e / (0.99 + 0.01 * math.e))
    assert [posterior(0.0, 9.0), posterior(1.0, 9.0), posterior(0.01, math.inf), posterior(0.0, math.inf)] == [
        0,
        1,
        1,
        0,
    ]


def test_numbers_out_of_range_are_named() -> None:
    for epsilon, delta, message in ((-1.0, 0.0, "epsilon"), (math.inf, 0.0, "epsilon"), (1.0, 1.1, "delta")):
        with pytest.raises(UsageError, match=f"^{message} is"):
            Guarantee(epsilon, delta)
    for prior, epsilon, message in ((-0.1, 1.0, "prior"), (math.nan, 1.0, "prior"), (0.5, -1.0, "epsilon")):
        with pytest.raises(UsageError, match=f"^{message} is"):
            posterior(prior, epsilon)
    with pytest.raises(UsageError, match="epsilon is"):
        posterior(0.5, math.nan)
    for rate in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="false_positive_rate is"):
            max_true_positive_rate(TRAINING, ADD, rate)
    with pytest.raises(UsageError, match="curve of 3 points"):
        tradeoff_curve(TRAINING, ADD, 3)

"""What events spend: dp-accounting's own numbers, closed forms, and what must hold of any accountant."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import dp_accounting
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from sealround.errors import UnsupportedError, UsageError
from sealround.privacy import accounting
from sealround.privacy.accounting import delta_of, epsilon_of, profile, spent_over
from sealround.privacy.events import NeighboringRelation, PrivacyEvent

RELATIONS: tuple[NeighboringRelation, ...] = ("add-or-remove-one", "replace-one")
ADD: NeighboringRelation = "add-or-remove-one"
THEIRS = {
    "add-or-remove-one": dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace-one": dp_accounting.NeighboringRelation.REPLACE_ONE,
}
MIXED = (
    PrivacyEvent("training", 1.2, 0.05, 120),
    PrivacyEvent("statistics", 12.0, 1.0, 1),
    PrivacyEvent("clipping", 2.0, 0.2, 4),
    PrivacyEvent("metrics", 9.0, 1.0, 3),
)


def _training(noise: float, q: float, rounds: int) -> tuple[PrivacyEvent, ...]:
    return (PrivacyEvent("training", noise, q, rounds),)


def _theirs(events: tuple[PrivacyEvent, ...], relation: NeighboringRelation, interval: float = 1e-4) -> Any:
    """The same events by hand: every one sampled or not, none merged."""
    parts = []
    for event in events:
        gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
        if event.sampling_probability < 1:
            gaussian = dp_accounting.PoissonSampledDpEvent(event.sampling_probability, gaussian)
        parts.append(dp_accounting.SelfComposedDpEvent(gaussian, event.count))
    accountant = dp_accounting.pld.PLDAccountant(THEIRS[relation], interval)
    return accountant.compose(dp_accounting.ComposedDpEvent(parts))


def _gaussian_delta(mu: float, epsilon: float) -> float:
    """Dong, Roth, Su 2022, Corollary 1; Balle and Wang 2018, Theorem 8."""
    return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu))


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("events", [_training(1.0, 0.02, 1000), _training(0.7, 0.1, 50), MIXED], ids=str)
def test_epsilon_is_theirs(events: tuple[PrivacyEvent, ...], relation: NeighboringRelation) -> None:
    theirs = _theirs(events, relation)
    for delta in (1e-3, 1e-5, 1e-9):
        # Ours is of a coarser grid, and within a thousandth.
        assert epsilon_of(events, delta, relation) == pytest.approx(theirs.get_epsilon(delta), rel=1e-3)
    for epsilon in (0.0, 0.5, 3.0):
        assert delta_of(events, epsilon, relation) == pytest.approx(theirs.get_delta(epsilon), rel=1e-2)


def test_rdp_is_theirs_or_better() -> None:
    """Our orders contain all of theirs but for one or two."""
    for events in (_training(1.0, 0.02, 1000), _training(2.0, 0.5, 30), MIXED):
        accountant = dp_accounting.rdp.RdpAccountant().compose(_theirs(events, ADD).ledger)
        ours, theirs = epsilon_of(events, 1e-5, ADD, "rdp"), accountant.get_epsilon(1e-5)
        assert theirs * 0.95 <= ours <= theirs * (1 + 1e-9)
        assert delta_of(events, ours, ADD, "rdp") == pytest.approx(1e-5, rel=1e-6)


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0, 5.0, 100.0])
@pytest.mark.parametrize("relation", RELATIONS)
def test_one_gaussian_has_a_closed_form(noise: float, relation: NeighboringRelation) -> None:
    """One unit exchanged for another moves a sum by two sensitivities."""
    mu = (2.0 if relation == "replace-one" else 1.0) / noise
    exact = float(brentq(lambda epsilon: _gaussian_delta(mu, epsilon) - 1e-6, 0.0, 700.0, xtol=1e-13))
    events = (PrivacyEvent("metrics", noise, 1.0, 1),)
    assert epsilon_of(events, 1e-6, relation) == pytest.approx(exact, rel=1e-3)
    assert epsilon_of(events, 1e-6, relation) >= exact * (1 - 1e-6)
    assert delta_of(events, 0.0, relation) == pytest.approx(math.erf(mu / math.sqrt(8)), rel=1e-3)


def test_gaussians_add_their_inverse_variances() -> None:
    one = (PrivacyEvent("metrics", 1.5, 1.0, 1),)
    many = (PrivacyEvent("metrics", 3.0, 1.0, 2), PrivacyEvent("validation", 1.5 * math.sqrt(2), 1.0, 1))
    assert epsilon_of(many, 1e-5, ADD) == pytest.approx(epsilon_of(one, 1e-5, ADD), rel=1e-9)


def test_one_sampled_step_has_a_closed_form() -> None:
    """Removing is the worse direction: delta of the mixture against the Gaussian, by integration."""
    q, noise, epsilon = 0.1, 0.8, 0.3
    x = np.linspace(-12, 12, 400_001)
    without = norm.pdf(x, 0, noise)
    present = q * norm.pdf(x, 1, noise) + (1 - q) * without
    exact = np.maximum(present - math.exp(epsilon) * without, 0).sum() * (x[1] - x[0])
    assert delta_of(_training(noise, q, 1), epsilon, ADD) == pytest.approx(exact, rel=1e-3)


def test_it_is_accurate_where_it_is_hard() -> None:
    """Rare large losses, many steps, and a sampling probability so small that the grid is at its limit."""
    for noise, q, rounds in ((0.3, 0.001, 10), (0.6, 0.001, 300), (3.0, 0.02, 100_000)):
        events = _training(noise, q, rounds)
        finer = accounting._grid(accounting._composition(events), ADD) / 3
        fine = _theirs(events, ADD, finer).get_epsilon(1e-6)
        assert epsilon_of(events, 1e-6, ADD) == pytest.approx(fine, rel=1e-3)


def test_nothing_spends_nothing() -> None:
    for events in ((), (PrivacyEvent("training", 1.0, 0.1, 0),), (PrivacyEvent("training", 0.0, 1.0, 0),)):
        assert epsilon_of(events, 1e-5, ADD) == 0.0
        assert delta_of(events, 0.0, "replace-one") == 0.0


@pytest.mark.parametrize("noise", [0.0, 1e-200, 1e-9, 1e-4])
@pytest.mark.parametrize("accountant", accounting.ACCOUNTANTS)
def test_without_noise_nothing_is_private(noise: float, accountant: accounting.Accountant) -> None:
    for q in (0.5, 1.0):
        events = (*MIXED, PrivacyEvent("training", noise, q, 100))
        assert epsilon_of(events, 1e-5, ADD, accountant) > 1e6
        assert delta_of(events, 100.0, ADD, accountant) == pytest.approx(1.0, abs=1e-9)
    assert epsilon_of(_training(0.0, 0.5, 1), 1e-5, ADD, accountant) == math.inf


@pytest.mark.parametrize("relation", RELATIONS)
def test_extremes_stay_finite(relation: NeighboringRelation) -> None:
    for noise, q, rounds in ((0.02, 0.1, 100), (1e6, 1.0, 1), (1e6, 0.5, 1000), (1.0, 1e-9, 10), (50.0, 1.0, 10**6)):
        epsilon = epsilon_of(_training(noise, q, rounds), 1e-6, relation)
        assert 0.0 <= epsilon < math.inf
        assert 0.0 <= delta_of(_training(noise, q, rounds), 0.0, relation) <= 1.0


def test_order_splits_and_names_do_not_matter() -> None:
    whole = _training(1.0, 0.1, 100)
    parts = (
        PrivacyEvent("clipping", 1.0, 0.1, 60),
        PrivacyEvent("metrics", 5.0, 1.0, 0),
        PrivacyEvent("training", 1.0, 0.1, 40),
    )
    assert epsilon_of(parts, 1e-5, ADD) == epsilon_of(whole, 1e-5, ADD)
    assert epsilon_of(MIXED[::-1], 1e-5, ADD) == epsilon_of(list(MIXED), 1e-5, ADD)


def test_what_was_composed_is_not_composed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    events = _training(1.3, 0.11, 77)
    first = epsilon_of(events, 1e-5, ADD)

    def composed(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(dp_accounting.pld, "PLDAccountant", composed)
    assert epsilon_of(events, 1e-5, ADD) == first
    assert epsilon_of(events, 1e-6, ADD) > first
    assert delta_of(events, first, ADD) == pytest.approx(1e-5, rel=1e-6)


@pytest.mark.parametrize("delta", [0.0, 1e-13, 1.0, 2.0, -1e-5, math.nan])
def test_no_such_delta(delta: float) -> None:
    with pytest.raises(UsageError, match="delta is"):
        epsilon_of(MIXED, delta, ADD)


@pytest.mark.parametrize("epsilon", [-0.1, math.inf, math.nan])
def test_no_such_epsilon(epsilon: float) -> None:
    with pytest.raises(UsageError, match="epsilon is"):
        delta_of(MIXED, epsilon, ADD)


def test_what_an_accountant_does_not_know_is_refused() -> None:
    """Even of nothing at all: a study says its relation before its first event.

    dp-accounting's rdp takes replace-one for Gaussians that are not sampled, and counts the sensitivity once.
    """
    for events in ((), MIXED):
        with pytest.raises(UnsupportedError, match="rdp accountant has no bound for replace-one"):
            epsilon_of(events, 1e-5, "replace-one", "rdp")
        with pytest.raises(UnsupportedError, match="relation"):
            epsilon_of(events, 1e-5, "replace-special")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="accountant"):
            delta_of(events, 1.0, ADD, "moments")  # type: ignore[arg-type]


def test_too_many_events_are_refused() -> None:
    for q in (0.5, 1.0):
        with pytest.raises(UnsupportedError, match="10000001 times"):
            epsilon_of(_training(1.0, q, 10**7 + 1), 1e-5, ADD)


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(UnsupportedError, match="dp-accounting") as caught:
        epsilon_of(_training(1.234, 0.1, 7), 1e-5, ADD)
    assert caught.value.hint == "pip install 'sealround[privacy]'"
    assert epsilon_of((), 1e-5, ADD) == 0.0


def test_orders_that_do_not_converge_are_left_out_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("absl")
    before = list(logger.filters)
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert epsilon_of(_training(5.0, 0.5, 201), 1e-5, ADD, "rdp") == pytest.approx(7.25, abs=0.1)
    assert caplog.records == []
    assert logger.filters == before


def test_a_profile_is_many_deltas() -> None:
    epsilons = np.array([0.0, 0.1, 1.0, 2.5, 600.0])
    for relation in RELATIONS:
        one_by_one = [delta_of(MIXED, epsilon, relation) for epsilon in epsilons.tolist()]
        assert profile(MIXED, epsilons, relation) == pytest.approx(one_by_one, rel=1e-6, abs=1e-12)
    assert profile((), epsilons, ADD).tolist() == [0.0] * 5
    assert profile(_training(0.0, 0.1, 1), epsilons, ADD).tolist() == [1.0] * 5


@pytest.mark.parametrize("epsilons", [[1.0, 0.5], [-0.1], [601.0], [math.nan], [[1.0]]])
def test_a_profile_rises(epsilons: list[Any]) -> None:
    with pytest.raises(UsageError, match="epsilons"):
        profile(MIXED, np.array(epsilons), ADD)


def test_spent_over_rounds() -> None:
    once = (PrivacyEvent("statistics", 10.0, 1.0, 1),)
    rounds, spent = spent_over(_training(1.0, 0.05, 2), np.array([0, 1, 10, 50]), 1e-5, ADD, once=once)
    assert rounds.tolist() == [0, 1, 10, 50]
    assert spent[0] == epsilon_of(once, 1e-5, ADD)
    assert spent[3] == epsilon_of((*once, *_training(1.0, 0.05, 100)), 1e-5, ADD)
    assert np.all(np.diff(spent) > 0)
    loose = spent_over(_training(1.0, 0.05, 2), rounds, 1e-5, ADD, once=once, accountant="rdp")[1]
    assert np.all(loose > spent)


@pytest.mark.parametrize("rounds", [[1.5], [-1], [[1]], [True]])
def test_rounds_are_whole(rounds: list[Any]) -> None:
    with pytest.raises(UsageError, match="rounds"):
        spent_over(MIXED, np.array(rounds), 1e-5, ADD)

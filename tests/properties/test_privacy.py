"""What holds of any releases: more noise is more private, more of anything is less, and looser bounds are looser."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sealround.privacy.accounting import delta_of, epsilon_of
from sealround.privacy.events import RELATIONS, RELEASES, NeighboringRelation, PrivacyEvent
from sealround.privacy.planning import Plan, solve
from sealround.privacy.tradeoff import Guarantee, max_true_positive_rate, membership_advantage, posterior

# The grid that losses are rounded to differs between two compositions.
SLACK = 1.0005
FEW = settings(max_examples=10)

noises = st.floats(0.7, 8.0)
sampling = st.one_of(st.just(1.0), st.floats(0.02, 0.9))
relations = st.sampled_from(RELATIONS)
deltas = st.sampled_from([1e-3, 1e-5, 1e-8])
events = st.builds(PrivacyEvent, st.sampled_from(RELEASES), noises, sampling, st.integers(0, 60))
releases = st.lists(events, max_size=3).map(tuple)


@given(st.builds(PrivacyEvent, st.sampled_from(RELEASES), st.floats(0, 1e300), st.floats(1e-300, 1.0), st.integers(0)))
def test_json_and_back(event: PrivacyEvent) -> None:
    assert PrivacyEvent.from_json(json.loads(json.dumps(event.to_json()))) == event


@FEW
@given(releases, events.filter(lambda event: event.count > 0), relations, deltas, st.data())
def test_less_noise_more_sampling_and_more_rounds_spend_more(
    others: tuple[PrivacyEvent, ...], event: PrivacyEvent, relation: NeighboringRelation, delta: float, data: Any
) -> None:
    q = event.sampling_probability
    worse = data.draw(
        st.sampled_from(
            [
                replace(event, noise_multiplier=event.noise_multiplier * 0.8),
                replace(event, sampling_probability=q + 0.3 * (1 - q)),
                replace(event, count=event.count + 1 + event.count // 4),
            ]
        )
    )
    first, second = ((*others, one) for one in (event, worse))
    assert epsilon_of(first, delta, relation) <= epsilon_of(second, delta, relation) * SLACK
    assert epsilon_of(others, delta, relation) <= epsilon_of(first, delta, relation) * SLACK


@FEW
@given(releases, deltas)
def test_the_tight_accountant_is_below_the_loose_one(found: tuple[PrivacyEvent, ...], delta: float) -> None:
    tight, loose = (epsilon_of(found, delta, "add-or-remove-one", how) for how in ("pld", "rdp"))
    assert 0.0 <= tight <= loose * SLACK
    assert delta_of(found, loose, "add-or-remove-one") <= delta * SLACK


@FEW
@given(releases, deltas)
def test_exchanging_one_spends_more_than_removing_and_less_than_removing_and_adding(
    found: tuple[PrivacyEvent, ...], delta: float
) -> None:
    """An exchange is a removal and an addition: group privacy of two."""
    one, exchange = (epsilon_of(found, delta, relation) for relation in RELATIONS)
    assert one <= exchange * SLACK
    assert delta_of(found, 2 * one, "replace-one") <= (1 + math.exp(one)) * delta * SLACK


@FEW
@given(releases, relations, deltas)
def test_epsilon_and_delta_are_inverses(
    found: tuple[PrivacyEvent, ...], relation: NeighboringRelation, delta: float
) -> None:
    epsilon = epsilon_of(found, delta, relation)
    back = delta_of(found, epsilon, relation)
    assert back <= delta * (1 + 1e-6)
    assert epsilon == 0.0 or back >= delta * (1 - 1e-6)


@settings(max_examples=6)
@given(st.floats(0.3, 10.0), st.floats(0.02, 0.5), st.integers(1, 200), relations, releases)
def test_a_solved_plan_keeps_to_its_budget(
    epsilon: float, q: float, rounds: int, relation: NeighboringRelation, others: tuple[PrivacyEvent, ...]
) -> None:
    spent = epsilon_of(others, 1e-5, relation)
    plan = solve(Plan(spent + epsilon, 1e-5, None, q, rounds, 1.0, 1000), relation, others)
    assert plan.epsilon is not None
    found = epsilon_of((*others, plan.steps), 1e-5, relation)
    assert plan.epsilon * 0.99 <= found <= plan.epsilon


@given(st.floats(0, 20), st.floats(0, 1), st.floats(0, 1))
def test_an_attack_within_a_guarantee(epsilon: float, delta: float, rate: float) -> None:
    best = max_true_positive_rate(Guarantee(epsilon, delta), "add-or-remove-one", rate)
    assert rate - 1e-12 <= best <= 1.0
    assert best <= math.exp(epsilon) * rate + delta + 1e-9
    assert best - rate <= membership_advantage(Guarantee(epsilon, delta), "add-or-remove-one") + 1e-9


@FEW
@given(releases, relations, st.floats(0, 1))
def test_no_attack_has_more_than_the_advantage(
    found: tuple[PrivacyEvent, ...], relation: NeighboringRelation, rate: float
) -> None:
    assert max_true_positive_rate(found, relation, rate) - rate <= membership_advantage(found, relation) + 1e-6


@given(st.floats(0, 1), st.floats(0, 50), st.floats(0, 50))
def test_beliefs_grow_with_epsilon_and_odds_by_its_exponential(prior: float, one: float, more: float) -> None:
    believed = posterior(prior, one)
    assert prior * (1 - 1e-12) <= believed <= 1.0
    assert believed <= posterior(prior, one + more) * (1 + 1e-12)
    if 0.0 < prior < 1.0 and believed < 0.999:
        assert np.isclose(believed / (1 - believed), math.exp(one) * prior / (1 - prior), rtol=1e-6, atol=0.0)

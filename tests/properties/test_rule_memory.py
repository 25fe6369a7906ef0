"""Whoever is there in which round, and whenever a run is resumed: a rule with memory decides the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealround.federation import Plan
from sealround.federation.judgement import RuleMemory, judge
from sealround.federation.learned import Learned
from sealround.federation.summation import Rows
from sealround.testing import small_study
from sealround.vocabulary import PartyId

SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork", "delft", "essen"))
PRESENT = st.lists(st.sets(st.sampled_from(SITES), min_size=3), min_size=1, max_size=6)
RULES = {"adaptive": {"num_byzantine": 1}, "foolsgold": {"num_byzantine": 0}}


def plan_of(rule: str) -> Plan:
    protection = small_study().protection.model_dump() | {"robustness": {"rule": rule, **RULES[rule]}}
    study = small_study(study={"name": "small", "rounds": 60, "seed": 7}, protection=protection)
    return Plan(study, "federated", SITES, SITES)


def rows_of(round_: int, present: list[PartyId]) -> Rows:
    rows = Rows(SITES)
    for party in present:
        draw = np.random.default_rng([round_, SITES.index(party)])
        rows.add(party, float(draw.integers(1, 100)), draw.normal(size=20).astype(np.float32))
    return rows


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None, max_examples=40)
@given(rounds=PRESENT, backwards=st.booleans())
def test_neither_restarts_nor_the_order_of_arrival_show(rule: str, rounds: list[set[PartyId]], backwards: bool) -> None:
    plan, memory, learned = plan_of(rule), RuleMemory(), Learned()
    for round_, present in enumerate(rounds):
        straight = judge(plan, memory, rows_of(round_, sorted(present)))
        learned = Learned.from_bytes(learned.to_bytes(b"x"), b"x")
        again = judge(plan, learned.rule_memory, rows_of(round_, sorted(present, reverse=backwards)))
        assert again.update.tobytes() == straight.update.tobytes()
        assert again.influence == straight.influence
    assert set(memory.sites) == set().union(*rounds)


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None, max_examples=40)
@given(rounds=PRESENT)
def test_what_is_remembered_is_the_fading_mean_of_what_a_site_sent(rule: str, rounds: list[set[PartyId]]) -> None:
    """Unbiased from the first round on, and no smaller for rounds that were missed."""
    plan, memory = plan_of(rule), RuleMemory()
    assert plan.rule is not None
    decay = plan.rule.memory
    assert decay
    sent: dict[PartyId, list[np.ndarray]] = {}
    for round_, present in enumerate(rounds):
        rows = rows_of(round_, sorted(present))
        for party in present:
            update = rows.of(party)
            assert update is not None
            sent.setdefault(party, []).append(update.astype(np.float64))
        judge(plan, memory, rows)
    for party, updates in sent.items():
        weights = decay ** np.arange(len(updates))[::-1]
        expected = np.average(updates, axis=0, weights=weights)
        np.testing.assert_allclose(memory.sites[party].update, expected, rtol=1e-4, atol=1e-5)

"""Trainings in which a site lies, under each rule that a study can name."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest

from sealround.errors import ThresholdError
from sealround.federation import Coordinator, Plan, Site, TrainOrder, TrainOutcome
from sealround.study import Study, study_digest
from sealround.study.sections import RobustRule
from sealround.testing import Network, NumpyWork, small_study, zero_model
from sealround.vocabulary import PartyId

SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork", "delft", "essen", "fulda", "genk", "haarlem"))
LIAR = SITES[3]
RULES = get_args(RobustRule.model_fields["rule"].annotation)
EXTRA = {
    "centered-clipping": {"clip_norm": 0.2},
    "norm-clipping": {"num_byzantine": 0},
    "foolsgold": {"num_byzantine": 0},
    "fltrust": {"num_byzantine": 0, "root": "aachen"},
}


def study_of(rule: str | None, rounds: int = 12, **options: Any) -> Study:
    off = {"rule": "mean", "reason": "to compare with"}
    robustness = off if rule is None else {"rule": rule, "num_byzantine": 1, **EXTRA.get(rule, {}), **options}
    protection = small_study().protection.model_dump() | {"robustness": robustness}
    return small_study(study={"name": "small", "rounds": rounds, "seed": 7}, protection=protection)


class Lying(NumpyWork):
    """Sends what a site should, changed."""

    def change(self, outcome: TrainOutcome) -> TrainOutcome:
        return dataclasses.replace(outcome, update=-50 * outcome.update)

    def train(self, order: TrainOrder) -> TrainOutcome:
        return self.change(super().train(order))


def train(study: Study, liar: type[NumpyWork] = NumpyWork, until: int | None = None) -> tuple[Coordinator, Network]:
    machine = Coordinator(Plan(study, "federated", SITES, SITES), zero_model)
    works = {party: (liar if party == LIAR else NumpyWork)(seed=i, examples=40) for i, party in enumerate(SITES)}
    network = Network(machine, {party: Site(party, study_digest(study), work, 5) for party, work in works.items()})
    network.run(until=lambda: machine.round == until)
    return machine, network


def score(machine: Coordinator) -> float:
    found = machine.history[-1].validation
    assert found is not None
    return found


def test_a_liar_ruins_the_mean() -> None:
    assert score(train(study_of(None))[0]) > 0.85
    assert score(train(study_of(None), Lying)[0]) < 0.3


# One liar is nobody's copy: foolsgold is for more of them (tests/attacks).
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "foolsgold"])
def test_a_liar_does_not_ruin_a_robust_rule(rule: str) -> None:
    honest = score(train(study_of(None))[0])
    machine, network = train(study_of(rule), Lying)
    assert not network.refused
    assert score(machine) > honest - 0.05
    assert not machine.excluded


@pytest.mark.parametrize("rule", ["multi-krum", "trimmed-mean", "geometric-median"])
@pytest.mark.parametrize("mixing", [False, True])
def test_every_round_says_who_counted_and_why(rule: str, mixing: bool) -> None:
    machine, _ = train(study_of(rule, mixing=mixing), Lying)
    for record in machine.history[1:]:
        assert set(record.influence) == set(SITES)
        assert all(why for _, why in record.influence.values())
        shares = {site: part for site, (part, _) in record.influence.items()}
        assert shares[LIAR] < 0.05 < max(shares.values())
        assert sum(shares.values()) == pytest.approx(1.0)


def test_without_a_rule_nobody_is_judged() -> None:
    assert all(not record.influence for record in train(study_of(None))[0].history)


class NotANumber(Lying):
    def change(self, outcome: TrainOutcome) -> TrainOutcome:
        return dataclasses.replace(outcome, update=np.full_like(outcome.update, np.nan))


class Short(Lying):
    def change(self, outcome: TrainOutcome) -> TrainOutcome:
        return dataclasses.replace(outcome, update=outcome.update[:-1])


class Boasting(Lying):
    def change(self, outcome: TrainOutcome) -> TrainOutcome:
        return dataclasses.replace(outcome, weight=1e12)


class BadTally(Lying):
    def change(self, outcome: TrainOutcome) -> TrainOutcome:
        return dataclasses.replace(outcome, tally=np.full_like(outcome.tally, np.inf))


@pytest.mark.parametrize(
    ("liar", "why"), [(NotANumber, "NaN"), (Short, "shape"), (Boasting, "more examples"), (BadTally, "not finite")]
)
def test_who_sends_what_no_site_can_is_named_and_the_others_go_on(liar: type[NumpyWork], why: str) -> None:
    machine, network = train(study_of("median"), liar)
    assert not network.refused
    (gone,) = machine.excluded
    assert gone.site == LIAR
    assert why in gone.why
    assert machine.round == 12
    assert all(LIAR not in record.influence for record in machine.history)


class Claiming(Lying):
    def change(self, outcome: TrainOutcome) -> TrainOutcome:
        return dataclasses.replace(outcome, weight=900_000.0)


def test_a_claim_moves_a_weighted_rule_no_further_than_its_largest_share() -> None:
    machine, _ = train(study_of("norm-clipping", max_share=0.2), Claiming)
    assert machine.history[1].influence[LIAR][0] <= 0.2 + 1e-12


def test_too_few_updates_for_the_rule_end_the_training() -> None:
    class Silent(NumpyWork):
        def train(self, order: TrainOrder) -> TrainOutcome:
            return dataclasses.replace(super().train(order), weight=0.0)

    study = study_of("bulyan")  # needs seven
    machine = Coordinator(Plan(study, "federated", SITES, SITES), zero_model)
    works = {party: (Silent if i < 2 else NumpyWork)(seed=i, examples=40) for i, party in enumerate(SITES)}
    network = Network(machine, {party: Site(party, study_digest(study), work, 5) for party, work in works.items()})
    with pytest.raises(ThresholdError, match="6 updates are left"):
        network.run()


@pytest.mark.parametrize("rule", ["centered-clipping", "multi-krum", "foolsgold", "adaptive", "fltrust"])
def test_a_restored_training_comes_to_the_same_bytes(rule: str) -> None:
    whole, _ = train(study_of(rule), Lying)
    half, network = train(study_of(rule), Lying, until=5)
    again = Coordinator(half.plan, zero_model)
    again.restore(half.snapshot())
    sites = {}
    for i, party in enumerate(SITES):
        site = Site(
            party, study_digest(half.plan.study), (Lying if party == LIAR else NumpyWork)(seed=i, examples=40), 5
        )
        site.restore(network._sites[party].snapshot())
        sites[party] = site
    Network(again, sites).run()
    assert again.snapshot() == whole.snapshot()


def test_one_party_alone_is_not_judged() -> None:
    study = study_of("multi-krum")
    machine = Coordinator(Plan(study, "alone-bern", SITES[1:2], SITES[1:2]), zero_model)
    Network(machine, {SITES[1]: Site(SITES[1], study_digest(study), NumpyWork(1), 5)}).run()
    assert machine.round == 12

"""Sites that lie in a whole training: what each rule is for holds, and does not hold where the rule is taken out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.federation import Coordinator, Plan, Site, TrainOrder, TrainOutcome
from sealround.study import Study, study_digest
from sealround.testing import Network, NumpyWork, small_study, zero_model
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Collection

SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork", "delft", "essen", "fulda", "genk", "haarlem"))
ROOT = SITES[0]
MEAN = {"rule": "mean", "reason": "to compare with"}
FOOLSGOLD = {"rule": "foolsgold", "num_byzantine": 0}
FLTRUST = {"rule": "fltrust", "num_byzantine": 0, "root": ROOT}
ADAPTIVE = {"rule": "adaptive", "num_byzantine": 2}


class Copying(NumpyWork):
    """One attacker behind several sites: each sends the way away from a good model, the same to the last bit."""

    def train(self, order: TrainOrder) -> TrainOutcome:
        outcome = super().train(order)
        away = np.array([-1.0, 1.0, *[0.0] * (order.model.size - 2)], dtype=np.float32)
        return dataclasses.replace(outcome, update=away)


class Boosted(NumpyWork):
    """Sends the opposite of what it should, many times."""

    def train(self, order: TrainOrder) -> TrainOutcome:
        outcome = super().train(order)
        return dataclasses.replace(outcome, update=-50 * outcome.update)


def train(robustness: dict[str, Any], liar: type[NumpyWork], liars: Collection[PartyId]) -> Coordinator:
    study = _study(robustness)
    machine = Coordinator(Plan(study, "federated", SITES, SITES), zero_model)
    works = {party: (liar if party in liars else NumpyWork)(seed=i, examples=60) for i, party in enumerate(SITES)}
    Network(machine, {party: Site(party, study_digest(study), work, 5) for party, work in works.items()}).run()
    return machine


def _study(robustness: dict[str, Any]) -> Study:
    protection = small_study().protection.model_dump() | {"robustness": robustness}
    return small_study(study={"name": "small", "rounds": 12, "seed": 7}, protection=protection)


def score(machine: Coordinator) -> float:
    found = machine.history[-1].validation
    assert found is not None
    return found


def parts(machine: Coordinator, sites: Collection[PartyId]) -> float:
    """The part that sites had, all together, in the last round."""
    return sum(machine.history[-1].influence[site][0] for site in sites)


@pytest.mark.parametrize("liars", [SITES[5:7], SITES[4:8]])
def test_copies_of_one_liar_are_weighed_down_by_foolsgold(liars: tuple[PartyId, ...]) -> None:
    machine = train(FOOLSGOLD, Copying, liars)
    assert parts(machine, liars) == 0.0
    assert score(machine) > score(train(FOOLSGOLD, NumpyWork, ())) - 0.02
    assert score(train(MEAN, Copying, liars)) < score(machine) - 0.5


def test_foolsgold_takes_weight_from_honest_sites_that_are_alike() -> None:
    """The limit that its documentation states: nobody lies, and one site's data alone are left."""
    found = train(FOOLSGOLD, NumpyWork, ()).history[-1].influence
    assert sum(part == 0.0 for part, _ in found.values()) > len(SITES) / 2


def test_a_lone_liar_is_nobodys_copy_and_foolsgold_says_so() -> None:
    machine = train(FOOLSGOLD, Boosted, SITES[3:4])
    assert score(machine) < 0.5
    assert parts(machine, SITES[3:4]) > 1 / len(SITES)


@pytest.mark.parametrize("liars", [SITES[3:4], SITES[2:7]])
def test_boosted_liars_get_no_further_than_the_root_of_trust(liars: tuple[PartyId, ...]) -> None:
    honest = score(train(MEAN, NumpyWork, ()))
    assert score(train(MEAN, Boosted, liars)) < 0.5
    machine = train(FLTRUST, Boosted, liars)
    assert score(machine) > honest - 0.05
    assert parts(machine, liars) == 0.0


def test_the_adaptive_rule_withstands_as_many_as_the_study_says() -> None:
    honest = score(train(MEAN, NumpyWork, ()))
    for liar in (Boosted, Copying):
        assert score(train(MEAN, liar, SITES[4:6])) < honest - 0.1
        assert score(train(ADAPTIVE, liar, SITES[4:6])) > honest - 0.05

"""What a rule keeps between rounds, and a root of trust: absent, excluded, alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from sealround.aggregation import Known, aggregate
from sealround.errors import ThresholdError, UsageError
from sealround.federation import Coordinator, Plan, Site, Stage, TrainOrder, TrainOutcome
from sealround.federation.judgement import RuleMemory, judge
from sealround.federation.learned import Learned
from sealround.federation.summation import Rows
from sealround.study import Study, study_digest
from sealround.testing import Fault, Network, NumpyWork, small_study, zero_model
from sealround.vocabulary import PartyId, RoundId

SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork", "delft", "essen", "fulda"))
ROOT, OTHERS = SITES[2], tuple(site for site in SITES if site != SITES[2])
ADAPTIVE = {"rule": "adaptive", "num_byzantine": 1}
FOOLSGOLD = {"rule": "foolsgold", "num_byzantine": 0}
FLTRUST = {"rule": "fltrust", "num_byzantine": 0, "root": ROOT}


def study_of(robustness: dict[str, Any], participation: float = 1.0, rounds: int = 20) -> Study:
    return small_study(
        study={"name": "small", "rounds": rounds, "seed": 7},
        training={"participation": participation},
        protection=small_study().protection.model_dump() | {"robustness": robustness},
    )


def plan_of(robustness: dict[str, Any], participation: float = 1.0, rounds: int = 20) -> Plan:
    return Plan(study_of(robustness, participation, rounds), "federated", SITES, SITES)


def rows_of(updates: dict[PartyId, np.ndarray]) -> Rows:
    rows = Rows(SITES)
    for party, update in updates.items():
        rows.add(party, 10.0, update.astype(np.float32))
    return rows


def draw(seed: int, size: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


class NotANumber(NumpyWork):
    """Breaks in its third round."""

    rounds = 0

    def train(self, order: TrainOrder) -> TrainOutcome:
        self.rounds += 1
        outcome = super().train(order)
        return dataclasses.replace(outcome, update=outcome.update * np.float32(np.nan)) if self.rounds > 2 else outcome


class WithoutData(NumpyWork):
    """Has nothing to train on."""

    def train(self, order: TrainOrder) -> TrainOutcome:
        return dataclasses.replace(super().train(order), weight=0.0)


def network_of(
    plan: Plan, unlike: dict[PartyId, type[NumpyWork]] | None = None, faults: tuple[Fault, ...] = ()
) -> tuple[Coordinator, Network]:
    machine = Coordinator(plan, zero_model)
    digest = study_digest(plan.study)
    works = {site: (unlike or {}).get(site, NumpyWork)(seed=i, examples=40) for i, site in enumerate(SITES)}
    return machine, Network(machine, {site: Site(site, digest, work, 5) for site, work in works.items()}, faults)


def remembered(machine: Coordinator) -> set[PartyId]:
    return set(machine._training.learned.rule_memory.sites)


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("robustness", [ADAPTIVE, FOOLSGOLD])
def test_a_site_that_misses_a_round_is_remembered_as_it_was(robustness: dict[str, Any]) -> None:
    plan, memory = plan_of(robustness), RuleMemory()
    judge(plan, memory, rows_of({site: draw(i) for i, site in enumerate(SITES)}))
    before = dict(memory.sites)
    found = judge(plan, memory, rows_of({site: draw(9 + i) for i, site in enumerate(SITES[1:])}))
    assert memory.sites[SITES[0]] is before[SITES[0]]
    assert SITES[0] not in found.influence
    assert all(not np.array_equal(memory.sites[site].update, before[site].update) for site in SITES[1:])


@pytest.mark.parametrize(
    "plan", [plan_of({"rule": "median", "num_byzantine": 1}), plan_of(ADAPTIVE, rounds=5)], ids=["median", "short"]
)
def test_a_rule_without_need_of_it_remembers_nobody(plan: Plan) -> None:
    """In a study of few rounds the adaptive rule goes by the last update alone."""
    memory = RuleMemory()
    judge(plan, memory, rows_of({site: draw(1) for site in SITES}))
    assert memory == RuleMemory()


def test_too_few_updates_are_refused_before_anything_is_remembered() -> None:
    memory = RuleMemory()
    with pytest.raises(ThresholdError, match="2 updates are left in a round: adaptive needs 3 sites"):
        judge(plan_of(ADAPTIVE), memory, rows_of({site: draw(1) for site in SITES[:2]}))
    assert memory == RuleMemory()


def test_copies_that_differ_within_each_round_are_known_by_their_sum() -> None:
    """What they add differs in sign from round to round; without the memory each is nobody's copy."""
    plan, memory = plan_of(FOOLSGOLD), RuleMemory()
    lie = draw(77)
    for round_ in range(8):
        hiding = 3 * (-1) ** round_ * draw(round_ // 2 + 500)
        updates = {site: draw(100 * round_ + i) + 2 * draw(i) for i, site in enumerate(SITES[:4])}
        updates |= {SITES[4]: lie + hiding, SITES[5]: lie - hiding}
        found = judge(plan, memory, rows_of(updates))
    assert found.influence[SITES[4]][0] == found.influence[SITES[5]][0] == 0.0
    assert min(found.influence[site][0] for site in SITES[:4]) > 0.1
    assert plan.rule is not None
    alone = aggregate(plan.rule, rows_of(updates).stacked()[1], Known())
    assert alone.influence[4:].sum() > 0.1


@pytest.mark.parametrize("robustness", [ADAPTIVE, FOOLSGOLD])
def test_excluded_sites_are_forgotten_and_never_remembered(robustness: dict[str, Any]) -> None:
    machine, network = network_of(plan_of(robustness), {SITES[1]: NotANumber})
    rounds: dict[int, set[PartyId]] = {}
    network.run(until=lambda: bool(rounds.update({machine.round: remembered(machine)})))
    assert rounds[1] == rounds[2] == {*SITES}
    assert rounds[3] == rounds[20] == {*SITES} - {SITES[1]}


@pytest.mark.parametrize("robustness", [ADAPTIVE, FOOLSGOLD])
def test_who_is_not_drawn_keeps_its_memory_and_a_restart_changes_nothing(robustness: dict[str, Any]) -> None:
    plan = plan_of(robustness, participation=0.5)
    whole, network = network_of(plan)
    network.run()
    assert {*SITES} == remembered(whole)
    half, network = network_of(plan)
    network.run(until=lambda: half.round == 3)
    again = Coordinator(plan, zero_model)
    again.restore(half.snapshot())
    sites = {}
    for i, site in enumerate(SITES):
        sites[site] = Site(site, study_digest(plan.study), NumpyWork(i), 5)
        sites[site].restore(network._sites[site].snapshot())
    Network(again, sites).run()
    assert again.snapshot() == whole.snapshot()


@pytest.mark.parametrize("d", [10, 1000])
def test_memory_makes_a_snapshot_larger_by_d_numbers_for_each_site(d: int) -> None:
    learned = Learned()
    before = len(learned.to_bytes(b""))
    judge(plan_of(FOOLSGOLD), learned.rule_memory, rows_of({site: draw(1, d) for site in SITES}))
    a_site = 4 * d
    assert 0 < len(learned.to_bytes(b"")) - before - a_site * len(SITES) < 50 * len(SITES)


# --- the root of trust ------------------------------------------------------------------------------------------------


def test_the_root_measures_and_takes_no_other_part() -> None:
    machine, network = network_of(plan_of(FLTRUST, rounds=6))
    network.run()
    for record in machine.history[1:]:
        assert sum(part for part, _ in record.influence.values()) == pytest.approx(1.0)
        assert record.influence[ROOT] == (0.0, "root of trust: its update measures the others'")
        assert all(why.startswith("trust ") for site, (_, why) in record.influence.items() if site != ROOT)


def test_the_aggregate_is_no_longer_than_the_roots_update() -> None:
    updates = {site: draw(i) + 1000 * draw(5) for i, site in enumerate(OTHERS)} | {ROOT: draw(5)}
    found = judge(plan_of(FLTRUST), RuleMemory(), rows_of(updates))
    assert [part for site, (part, _) in found.influence.items() if site != ROOT] == pytest.approx([0.2] * 5, rel=0.01)
    assert 0.9 < np.linalg.norm(found.update) / np.linalg.norm(draw(5)) <= 1.0 + 1e-5


def test_where_nobody_points_the_roots_way_nothing_moves() -> None:
    found = judge(plan_of(FLTRUST), RuleMemory(), rows_of({site: -draw(5) for site in OTHERS} | {ROOT: draw(5)}))
    assert not found.update.any()
    assert not any(part for part, _ in found.influence.values())


def test_the_root_is_in_every_round_and_the_others_are_drawn() -> None:
    plan = plan_of(FLTRUST, participation=0.4)
    assert plan.round_size(len(SITES)) == 3
    rounds = [plan.participants(RoundId(round_), SITES) for round_ in range(1, 60)]
    assert all(ROOT in drawn and len(drawn) == 3 and list(drawn) == sorted(drawn) for drawn in rounds)
    assert {site for drawn in rounds for site in drawn} == {*SITES}


@pytest.mark.parametrize("number", [0, 5])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_round_without_its_root_is_not_concluded(number: int, direction: str) -> None:
    """Lost are its answer to joining, and to the first round."""
    lost = Fault(ROOT, direction, number, lambda _: ())  # type: ignore[arg-type]
    machine, network = network_of(plan_of(FLTRUST), faults=(lost,))
    with pytest.raises(ThresholdError, match="cork is the root of trust, and did not answer in time") as caught:
        network.run()
    assert "resume the run" in caught.value.hint
    assert machine.round == 0
    assert machine.pending == {ROOT}
    assert not machine.excluded


def test_a_late_answer_of_the_root_is_still_taken() -> None:
    """The deadline that is refused changes nothing."""
    kept: list[bytes] = []

    def hold(payload: bytes) -> tuple[bytes, ...]:
        kept.append(payload)
        return ()

    machine, network = network_of(plan_of(FLTRUST), faults=(Fault(ROOT, "up", 5, hold),))
    with pytest.raises(ThresholdError):
        network.run()
    machine.receive(ROOT, kept[0])
    assert machine.round == 1


def test_another_site_may_be_absent() -> None:
    lost = Fault(OTHERS[0], "up", 5, lambda _: ())
    machine, network = network_of(plan_of(FLTRUST), faults=(lost,))
    network.run()
    assert machine.history[1].absent == (OTHERS[0],)
    assert machine.stage is Stage.DONE


@pytest.mark.parametrize(("work", "why"), [(NotANumber, "update has a NaN"), (WithoutData, "sent no update")])
def test_a_root_that_cannot_measure_ends_the_training(work: type[NumpyWork], why: str) -> None:
    machine, network = network_of(plan_of(FLTRUST), {ROOT: work})
    with pytest.raises(ThresholdError, match=f"cork is the root of trust, and {why}"):
        network.run()
    assert not machine.excluded


def test_a_party_alone_needs_no_root() -> None:
    for site in (SITES[0], ROOT):
        plan = Plan(study_of(FLTRUST), f"alone-{site}", (site,), (site,))
        assert plan.root is None
        machine = Coordinator(plan, zero_model)
        Network(machine, {site: Site(site, study_digest(plan.study), NumpyWork(1), 5)}).run()
        assert machine.round == 20


def test_a_study_without_a_rule_judges_nobody() -> None:
    with pytest.raises(UsageError):
        judge(plan_of({"rule": "mean", "reason": "to compare with"}), RuleMemory(), rows_of({}))

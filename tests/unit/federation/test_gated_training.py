"""Trainings with a gate: who is asked what, what is released, whom harm is traced to, and what a restart changes."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.errors import ConsistencyError, ProtocolViolationError, UsageError
from sealround.fairness.cells import COMPARED, COMPARED_POSITIVES, PATIENTS
from sealround.federation import Coordinator, Plan, Site, Stage
from sealround.federation.gate import decide
from sealround.federation.interfaces import Contender
from sealround.federation.messages import AskGroups, Envelope, Sums, pack, unpack
from sealround.federation.replay import replay
from sealround.federation.update_journal import MemoryUpdates
from sealround.study import Study, study_digest
from sealround.testing import GroupedWork, Network, small_study, zero_model
from sealround.vocabulary import COORDINATOR, PartyId, RoundId

if TYPE_CHECKING:
    from sealround.federation.interfaces import CompareOrder
    from sealround.vocabulary import Tally

SITES = tuple(PartyId(f"hospital-{letter}") for letter in "abcdefghi")
LIARS = SITES[:3]
ROUNDS = 8
HARMED = "group = 1"


def study_of(gate: dict[str, Any] | None, **sections: Any) -> Study:
    fairness = {"gate": None if gate is None else {"metrics": ("fnr",), "tolerance": 0.03, **gate}}
    return small_study(study={"name": "small", "rounds": ROUNDS, "seed": 7}, fairness=fairness, **sections)


WITHHOLD, EXCLUDE = study_of({}), study_of({"on_failure": "exclude"})


class World:
    """One training, and everything that was asked of one site."""

    def __init__(
        self, study: Study, liars: tuple[PartyId, ...] = LIARS, works: dict[PartyId, GroupedWork] | None = None
    ) -> None:
        self.study, self.updates = study, MemoryUpdates()
        self.works = works or {party: GroupedWork(seed, lies=party in liars) for seed, party in enumerate(SITES)}
        self.plan = Plan(study, "federated", SITES, SITES)
        self.coordinator = Coordinator(self.plan, zero_model, updates=self.updates)
        self.sites = {party: Site(party, study_digest(study), work, 5) for party, work in self.works.items()}
        self.network = Network(self.coordinator, self.sites)

    def run(self) -> Coordinator:
        self.network.run()
        assert not self.network.refused
        return self.coordinator


@functools.cache
def finished(kind: str, *, honest: bool = False) -> World:
    """A training at its end; tests look at it and leave it as it is."""
    world = World({"withhold": WITHHOLD, "exclude": EXCLUDE, "none": study_of(None)}[kind], () if honest else LIARS)
    world.run()
    return world


def missed(machine: Coordinator, work: GroupedWork, vector: np.ndarray) -> float:
    """Share of the sick of the harmed group that a model misses, at a hospital that does not lie."""
    design = work._design(machine.trained.statistics)
    sick = (work._group == 1) & (work._event > 0)
    return float((design @ vector < 0)[sick].mean())


HONEST = GroupedWork(30, examples=2000)


def test_an_honest_training_is_released_and_tested() -> None:
    machine = finished("withhold", honest=True).coordinator
    assert machine.gate is not None
    assert (machine.gate.outcome, len(machine.gate.looks), machine.round) == ("released", 1, ROUNDS)
    assert set(machine.evaluations) == set(SITES)


def test_without_the_gate_the_harmful_model_is_released() -> None:
    harmful, honest = finished("none").coordinator, finished("none", honest=True).coordinator
    assert harmful.gate is None
    assert set(harmful.evaluations) == set(SITES)
    assert missed(harmful, HONEST, harmful.released.vector) > 1.5 * missed(honest, HONEST, honest.released.vector)


def test_a_harmful_model_is_withheld_and_nobody_tests_it() -> None:
    machine = finished("withhold").coordinator
    assert machine.stage is Stage.DONE
    assert machine.gate is not None
    assert machine.gate.outcome == "withheld"
    assert machine.evaluations == {}
    assert machine.excluded == ()
    with pytest.raises(UsageError):
        _ = machine.released
    assert machine.trained.round == ROUNDS


def test_harm_is_traced_to_those_who_did_it_and_nobody_else() -> None:
    gate = finished("withhold").coordinator.gate
    assert gate is not None
    assert set(gate.looks[-1].influence) == set(SITES)
    assert set(gate.looks[-1].traced) == set(LIARS)


def test_the_rounds_are_trained_again_without_them() -> None:
    harmful, machine = finished("none").coordinator, finished("exclude").coordinator
    assert machine.gate is not None
    assert (machine.gate.outcome, set(machine.gate.without)) == ("released", set(LIARS))
    assert {(gone.site, gone.round) for gone in machine.excluded} == {(site, ROUNDS + 1) for site in LIARS}
    assert all("traced harm" in gone.why for gone in machine.excluded)
    assert machine.round == 2 * ROUNDS
    assert [record.round for record in machine.history] == list(range(2 * ROUNDS + 1))
    assert set(machine.evaluations) == set(SITES) - set(LIARS)
    assert missed(machine, HONEST, machine.released.vector) < missed(harmful, HONEST, harmful.released.vector)


def test_rounds_that_are_trained_again_begin_with_the_initial_model() -> None:
    again = finished("exclude")
    works = {party: again.works[party] for party in SITES if party not in LIARS}
    machine = Coordinator(Plan(study_of(None), "federated", tuple(works), tuple(works)), zero_model)
    Network(machine, {site: Site(site, study_digest(study_of(None)), work, 5) for site, work in works.items()}).run()
    # But for the statistics that inputs are encoded with, which are still of all sites, it is a training of the others.
    released = again.coordinator.released
    assert np.abs(released.vector - machine.released.vector).max() < 0.2


def test_a_comparison_has_no_gate() -> None:
    plan = Plan(EXCLUDE, "pooled", SITES[:1], SITES[:1])
    assert plan.gate is None
    assert not plan.keeps_updates


# --- from the updates that were sent ----------------------------------------------------------------------------------

MEAN = {"rule": "mean", "reason": "to compare with"}


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({}, id="mean"),
        pytest.param({"training": {"server": {"kind": "fedavg", "momentum": 0.5}}}, id="momentum"),
        pytest.param({"training": {"server": {"kind": "fedadam", "learning_rate": 0.1}}}, id="adam"),
        pytest.param({"training": {"ema": 0.5}}, id="running mean"),
        pytest.param({"training": {"participation": 0.5}}, id="some of them"),
        pytest.param({"robustness": {"rule": "multi-krum", "num_byzantine": 2}}, id="multi-krum"),
        pytest.param({"robustness": {"rule": "centered-clipping", "num_byzantine": 2, "clip_norm": 0.5}}, id="history"),
        pytest.param({"robustness": {"rule": "adaptive", "num_byzantine": 2}}, id="memory"),
    ],
)
def test_aggregated_again_without_nobody_the_model_is_the_same_to_the_bit(sections: dict[str, Any]) -> None:
    training = small_study().training.model_dump() | sections.get("training", {})
    protection = small_study().protection.model_dump() | {"robustness": sections.get("robustness", MEAN)}
    world = World(study_of({}, training=training, protection=protection), liars=())
    machine = world.run()
    inner = machine._training
    assert replay(inner, RoundId(ROUNDS), ()).tobytes() == inner.learned.candidate.tobytes()
    without = replay(inner, RoundId(ROUNDS), {SITES[4]})
    assert without.tobytes() != inner.learned.candidate.tobytes()


def test_a_rule_that_cannot_do_with_one_site_less_takes_who_is_gone_for_a_liar() -> None:
    protection = small_study().protection.model_dump() | {"robustness": {"rule": "krum", "num_byzantine": 3}}
    world = World(study_of({}, protection=protection), liars=())
    world.run()
    assert np.isfinite(replay(world.coordinator._training, RoundId(ROUNDS), {SITES[0]})).all()


def test_updates_are_kept_where_a_gate_may_need_them_and_nowhere_else() -> None:
    gated, free = finished("withhold", honest=True), finished("none", honest=True)
    assert (len(gated.updates), len(free.updates)) == (ROUNDS, 0)


def test_what_is_not_kept_cannot_be_aggregated_again() -> None:
    world = World(WITHHOLD, liars=())
    machine = world.run()
    world.updates.clear()
    with pytest.raises(ConsistencyError, match="round 1 are not kept"):
        replay(machine._training, RoundId(ROUNDS), ())


# --- restarts ---------------------------------------------------------------------------------------------------------


def _ending(machine: Coordinator) -> tuple[Any, ...]:
    gate = machine.gate
    assert gate is not None
    return machine.trained.vector.tobytes(), gate.outcome, gate.without, machine.excluded, machine.history


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("withhold", ROUNDS + 2), *(("exclude", steps) for steps in (3, ROUNDS + 1, ROUNDS + 2, ROUNDS + 3, ROUNDS + 6))],
)
def test_a_restart_at_any_moment_changes_nothing(kind: str, steps: int) -> None:
    straight = finished(kind).coordinator
    study = finished(kind).study
    first = World(study)
    snapshots: list[bytes] = []

    def enough() -> bool:
        snapshot = first.coordinator.snapshot()
        if not snapshots or snapshots[-1] != snapshot:
            snapshots.append(snapshot)
        return len(snapshots) > steps

    first.network.run(until=enough)
    second = World(study)
    for round_ in range(1, first.coordinator.round + 1):
        second.updates.keep(RoundId(round_), first.updates.read(RoundId(round_)))
    second.coordinator.restore(snapshots[-1])
    for party, site in first.sites.items():
        second.sites[party].restore(site.snapshot())
    assert _ending(second.run()) == _ending(straight)


# --- what sites say ---------------------------------------------------------------------------------------------------


def _asked(world: World) -> tuple[AskGroups, Envelope]:
    """Run to the gate, and return what the first site is asked."""
    world.network.run(until=lambda: world.coordinator.stage is Stage.GATE)
    sends = [entry for entry in world.network._under_way if entry[0] == SITES[0]]
    envelope = unpack(sends[0][2], sender=COORDINATOR)
    assert isinstance(envelope.message, AskGroups)
    return envelope.message, envelope


@pytest.mark.parametrize(
    ("place", "value"),
    [(PATIENTS, 1e9), (3, -1.0), (3, 0.5), (0, 2.0), (5, 2e16), (4, np.nan)],
    ids=["more patients than examples", "negative", "half a patient", "two sites", "too many", "not finite"],
)
def test_counts_that_no_patients_can_give_are_refused(place: int, value: float) -> None:
    world = World(WITHHOLD, liars=())
    message, envelope = _asked(world)
    counts = np.zeros((3, COMPARED))
    counts[0, place] = value
    before = world.coordinator.snapshot()
    with pytest.raises(ProtocolViolationError) as caught:
        world.coordinator.receive(SITES[0], pack(Envelope(envelope.session, envelope.step, Sums(counts.ravel()))))
    assert caught.value.party == SITES[0]
    assert world.coordinator.snapshot() == before
    assert len(message.groups) == 2


def test_a_site_is_not_asked_about_groups_that_are_not_the_studys() -> None:
    world = World(WITHHOLD, liars=())
    message, envelope = _asked(world)
    other = dataclasses.replace(message, groups=message.groups[:1])
    reply = unpack(world.sites[SITES[0]].handle(pack(dataclasses.replace(envelope, message=other))), sender=SITES[0])
    assert reply.message.type == "refused"


def test_a_site_counts_no_small_group() -> None:
    world = World(WITHHOLD, liars=())
    message, _ = _asked(world)
    work = GroupedWork(3, examples=40)
    work._group[:] = 0
    work._group[:3] = 1
    site = Site(SITES[0], study_digest(WITHHOLD), work, 5)
    site._statistics, site._session = world.coordinator._training.learned.statistics, b""
    counts = site._compare(message).values.reshape(3, COMPARED)
    assert counts[2].tolist() == [0.0] * COMPARED
    assert counts[0, PATIENTS] == 40


def test_a_given_reference_is_sent_to_everyone_in_place_of_their_own() -> None:
    approved = finished("none", honest=True).coordinator.released
    world = World(WITHHOLD)
    plan = dataclasses.replace(
        world.plan, reference=Contender(approved.vector, approved.threshold, *approved.calibration, approved.statistics)
    )
    assert plan.lineage != world.plan.lineage
    world.coordinator = Coordinator(plan, zero_model)
    world.network = Network(world.coordinator, world.sites)
    message, _ = _asked(world)
    assert not message.own
    assert message.references[0].model.tobytes() == approved.vector.tobytes()
    world.network = Network(world.coordinator, world.sites)


class Denying(GroupedWork):
    """Lies in its labels, and in what it counts: it makes up patients who are better off."""

    def compare(self, order: CompareOrder) -> Tally:
        counts = super().compare(order).reshape(-1, COMPARED)
        for column in (PATIENTS, COMPARED_POSITIVES.start + 2):
            counts[[0, 2], column] += 300
        return counts.ravel()


def test_a_site_that_lies_in_its_counts_can_hide_harm() -> None:
    """A limit, and on the page: whoever counts can miscount."""
    works: dict[PartyId, GroupedWork] = {site: GroupedWork(seed) for seed, site in enumerate(SITES)}
    works |= {site: Denying(seed, lies=True) for seed, site in enumerate(LIARS)}
    machine = World(WITHHOLD, works=works).run()
    assert machine.gate is not None
    assert machine.gate.outcome == "released"


def test_findings_are_of_sums_over_all_sites() -> None:
    machine = finished("withhold", honest=True).coordinator
    assert machine.gate is not None
    found, _ = decide(WITHHOLD, machine.groups, machine.gate.looks)
    assert {entry.sites for entry in found} == {len(SITES)}
    assert found[0].patients == 120 * len(SITES)
    assert found[0].group == "everybody"
    assert HARMED in {entry.group for entry in found}

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sealround.errors import (
    CohortError,
    ConsistencyError,
    DivergenceError,
    MalformedMessageError,
    PeerError,
    ProtocolViolationError,
    ThresholdError,
    UsageError,
)
from sealround.federation import Coordinator, Plan, Site, Stage, TrainOrder, TrainOutcome, tally
from sealround.federation.messages import Envelope, Join, Refused, Trained, pack, unpack
from sealround.study import Study, study_digest
from sealround.testing import Network, NumpyWork, small_study, zero_model
from sealround.vocabulary import COORDINATOR, PartyId, RoundId

SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork", "delft"))


def sites(study: Study, works: Mapping[PartyId, NumpyWork] | None = None) -> dict[PartyId, Site]:
    works = works or {party: NumpyWork(seed=i, examples=30 + 10 * i) for i, party in enumerate(SITES)}
    return {party: Site(party, study_digest(study), work, min_cell_count=5) for party, work in works.items()}


def coordinator(study: Study) -> Coordinator:
    return Coordinator(Plan(study, "federated", SITES, SITES), zero_model)


def finished(study: Study, **kwargs: Any) -> Coordinator:
    machine = coordinator(study)
    network = Network(machine, sites(study, **kwargs))
    network.run()
    assert not network.refused
    return machine


def test_four_sites_learn_more_than_nothing() -> None:
    machine = finished(small_study(study={"name": "small", "rounds": 20, "seed": 7}))
    assert [record.round for record in machine.history] == list(range(21))
    assert machine.history[0].validation == 0.5
    last = machine.history[-1].validation
    assert last is not None
    assert last > 0.8
    assert machine.released.round == 20
    assert machine.released.statistics.layout.categories == (("group", ("0", "1")),)
    assert all(result["trained"] == 20 for result in machine.evaluations.values())


class _Levels(NumpyWork):
    """A site that reports levels of its own."""

    def __init__(self, *levels: str) -> None:
        super().__init__(seed=1)
        self._found = levels

    def levels(self, min_cell_count: int) -> dict[str, tuple[str, ...]]:
        del min_cell_count
        return {"group": self._found}


def test_levels_of_all_sites_are_brought_together_by_size() -> None:
    reported = (("10", "2"), ("2", "9"), (), ("10",))
    works = {party: _Levels(*levels) for party, levels in zip(SITES, reported, strict=True)}
    machine = finished(small_study(), works=works)
    assert machine.released.statistics.layout.categories == (("group", ("2", "9", "10")),)


def test_the_mean_is_weighted_by_examples() -> None:
    study = small_study(study={"name": "small", "rounds": 1, "seed": 7})
    machine = coordinator(study)
    parties = sites(study)
    updates: dict[PartyId, Trained] = {}
    network = Network(machine, parties)
    network.run(until=lambda: machine.stage is Stage.TRAIN)
    for party, site in parties.items():
        payload = site.handle(_training_request(machine))
        message = unpack(payload, sender=party).message
        assert isinstance(message, Trained)
        updates[party] = message
        machine.receive(party, payload)
    weights = np.array([update.weight for update in updates.values()])
    assert weights.tolist() == [30, 40, 50, 60]
    expected = np.average([update.update for update in updates.values()], axis=0, weights=weights)
    np.testing.assert_allclose(_model(machine), expected, rtol=1e-6)


def _training_request(machine: Coordinator) -> bytes:
    """What the coordinator sent to every participant of the running stage."""
    again = copy.deepcopy(machine)
    again._step -= 1
    return again._ask(again.stage)[0].payload


def _model(machine: Coordinator) -> np.ndarray:
    return machine._training.learned.known_model


@pytest.mark.parametrize(
    "study",
    [
        small_study(),
        small_study(training={"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "local_epochs": 1, "ema": 0.5}),
        small_study(
            training={
                "optimizer": {"kind": "sgd", "learning_rate": 0.1},
                "local_epochs": 1,
                "algorithm": {"kind": "scaffold"},
                "server": {"kind": "fedadam"},
                "participation": 0.5,
            }
        ),
        small_study(evaluation={"selection": "best-validation", "threshold": {"kind": "youden"}}),
    ],
    ids=["plain", "ema", "scaffold", "best"],
)
@pytest.mark.parametrize("stop_after", [0, 1, 2, 3])
def test_a_training_stopped_after_any_round_ends_with_the_same_bytes(study: Study, stop_after: int) -> None:
    straight = finished(study)
    first = coordinator(study)
    parties = sites(study)
    Network(first, parties).run(
        until=lambda: first.round == stop_after and first.stage in (Stage.TRAIN, Stage.VALIDATE)
    )
    kept = first.snapshot()
    memory = {party: site.snapshot() for party, site in parties.items()}

    second = coordinator(study)
    second.restore(kept)
    fresh = sites(study)
    for party, site in fresh.items():
        site.restore(memory[party])
    Network(second, fresh).run()
    assert second.released.vector.tobytes() == straight.released.vector.tobytes()
    assert second.history == straight.history
    assert second.released.threshold == straight.released.threshold
    assert second.evaluations == straight.evaluations
    assert second.snapshot() == straight.snapshot()


def test_a_restart_in_a_late_round_does_not_show_either() -> None:
    study = small_study(study={"name": "small", "rounds": 30, "seed": 7})
    straight, first, parties = finished(study), coordinator(study), sites(study)
    Network(first, parties).run(until=lambda: first.round == 25)
    second, fresh = coordinator(study), sites(study)
    second.restore(first.snapshot())
    for party, site in fresh.items():
        site.restore(parties[party].snapshot())
    Network(second, fresh).run()
    assert second.snapshot() == straight.snapshot()


@pytest.mark.parametrize("stage", [Stage.LEVELS, Stage.COUNTS, Stage.SQUARES, Stage.PREPARE])
def test_a_training_stopped_before_it_has_a_model_ends_the_same(stage: Stage) -> None:
    study = small_study()
    first, second = coordinator(study), coordinator(study)
    Network(first, sites(study)).run(until=lambda: first.stage is stage)
    second.restore(first.snapshot())
    Network(second, sites(study)).run()
    assert second.released.vector.tobytes() == finished(study).released.vector.tobytes()


def test_a_snapshot_belongs_to_its_session() -> None:
    kept = finished(small_study()).snapshot()
    with pytest.raises(ConsistencyError):
        coordinator(small_study(study={"name": "other", "rounds": 3, "seed": 7})).restore(kept)
    with pytest.raises(ConsistencyError):
        coordinator(small_study()).restore(kept[:-1])
    machine = coordinator(small_study())
    machine.begin()
    with pytest.raises(UsageError):
        machine.restore(kept)


def test_an_illegal_event_raises_and_changes_nothing() -> None:
    study = small_study()
    machine, parties = coordinator(study), sites(study)
    sends = {send.to: send.payload for send in machine.begin()}
    good = parties[SITES[0]].handle(sends[SITES[0]])
    envelope = unpack(good, sender=SITES[0])
    before = machine.snapshot()
    stranger = PartyId("zwolle")
    attempts: list[tuple[PartyId, bytes, type[PeerError]]] = [
        (stranger, good, ProtocolViolationError),
        (SITES[0], good[:-1], MalformedMessageError),
        (SITES[0], good + b"\x00", MalformedMessageError),
        (SITES[0], pack(replace(envelope, session=bytes(32))), ProtocolViolationError),
        (SITES[0], pack(replace(envelope, step=envelope.step + 1)), ProtocolViolationError),
        (SITES[0], pack(replace(envelope, message=Join(bytes(32), "federated"))), ProtocolViolationError),
    ]
    for party, payload, error in attempts:
        with pytest.raises(error) as caught:
            machine.receive(party, payload)
        assert caught.value.party == party
    assert machine.snapshot() == before
    assert machine.receive(SITES[0], good) == ()
    with pytest.raises(ProtocolViolationError):
        machine.receive(SITES[0], good)


def _tampered(
    change: Callable[[Trained], Trained], study: Study | None = None
) -> tuple[Coordinator, Callable[[], object]]:
    """A coordinator in its first round, and the delivery of one site's changed update."""
    study = study or small_study()
    machine, parties = coordinator(study), sites(study)
    Network(machine, parties).run(until=lambda: machine.stage is Stage.TRAIN)
    envelope = unpack(parties[SITES[1]].handle(_training_request(machine)), sender=SITES[1])
    assert isinstance(envelope.message, Trained)
    payload = pack(replace(envelope, message=change(envelope.message)))
    return machine, lambda: machine.receive(SITES[1], payload)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: replace(m, update=m.update[:-1]),
        lambda m: replace(m, weight=-0.5),
        lambda m: replace(m, weight=-1.0),
        lambda m: replace(m, tally=m.tally[:-1]),
        lambda m: replace(m, tally=m.tally * np.nan),
        lambda m: replace(m, control=m.update),
    ],
    ids=["short", "negative fraction", "negative weight", "short tally", "tally not a number", "uninvited control"],
)
def test_a_wrong_update_is_refused_and_its_sender_named(change: Callable[[Trained], Trained]) -> None:
    machine, deliver = _tampered(change)
    before = machine.snapshot()
    with pytest.raises(ProtocolViolationError) as caught:
        deliver()
    assert caught.value.party == SITES[1]
    assert machine.snapshot() == before


def test_an_update_that_is_not_finite_ends_the_study_with_the_site_named() -> None:
    _, deliver = _tampered(lambda m: replace(m, update=m.update * np.float32(np.inf)))
    with pytest.raises(DivergenceError, match="bern"):
        deliver()


class _Diverging(NumpyWork):
    def train(self, order: TrainOrder) -> TrainOutcome:
        if order.round == 2:
            raise DivergenceError("the loss is not a number", party="cork", hint="lower the learning rate")
        return super().train(order)


def _with_divergence() -> dict[PartyId, NumpyWork]:
    return {party: (_Diverging if party == "cork" else NumpyWork)(seed=i) for i, party in enumerate(SITES)}


def test_divergence_at_one_site_stops_the_study_when_it_says_so() -> None:
    study = small_study()
    machine = coordinator(study)
    network = Network(machine, sites(study, _with_divergence()))
    network.run(until=lambda: bool(network.refused))
    assert isinstance(network.refused[0], DivergenceError)
    assert network.refused[0].party == "cork"
    assert "lower the learning rate" in str(network.refused[0])


def test_divergence_at_one_site_drops_it_when_the_study_says_so() -> None:
    optimizer = {"kind": "sgd", "learning_rate": 0.1}
    study = small_study(training={"optimizer": optimizer, "local_epochs": 1, "on_divergence": "drop-site"})
    machine = coordinator(study)
    Network(machine, sites(study, _with_divergence())).run()
    (gone,) = machine.excluded
    assert (gone.site, gone.round, gone.why) == ("cork", 2, "the loss is not a number")
    assert "cork" not in machine.evaluations
    assert [sorted(record.sites) for record in machine.history[1:]] == [
        sorted(SITES),
        ["aachen", "bern", "delft"],
        ["aachen", "bern", "delft"],
    ]


@pytest.mark.parametrize("backwards", [False, True])
def test_who_diverges_first_in_a_round_does_not_show(backwards: bool) -> None:
    optimizer = {"kind": "sgd", "learning_rate": 0.1}
    study = small_study(training={"optimizer": optimizer, "local_epochs": 1, "on_divergence": "drop-site"})
    roster = tuple(PartyId(name) for name in ("aachen", "bern", "cork", "delft", "ely"))
    diverging = {"bern", "delft"}
    works = {party: (_Diverging if party in diverging else NumpyWork)(seed=i) for i, party in enumerate(roster)}
    machine, parties = Coordinator(Plan(study, "federated", roster, roster), zero_model), sites(study, works)
    sends = machine.begin()
    while machine.round < 2:
        sends = tuple(
            further
            for send in sorted(sends, key=lambda send: send.to, reverse=backwards)
            for further in machine.receive(send.to, parties[send.to].handle(send.payload))
        )
    assert [gone.site for gone in machine.excluded] == ["bern", "delft"]


def test_when_all_who_were_drawn_diverge_others_have_the_round() -> None:
    optimizer = {"kind": "sgd", "learning_rate": 0.1}
    study = small_study(
        training={"optimizer": optimizer, "local_epochs": 1, "on_divergence": "drop-site", "participation": 0.25}
    )
    machine = coordinator(study)
    (drawn,) = machine.plan.participants(RoundId(2), SITES)
    works = {party: (_Diverging if party == drawn else NumpyWork)(seed=i) for i, party in enumerate(SITES)}
    Network(machine, sites(study, works)).run()
    assert [gone.site for gone in machine.excluded] == [drawn]
    assert machine.round == 3
    assert drawn not in machine.history[2].sites


class _Unvalidated(NumpyWork):
    def _tally(self, logits: np.ndarray) -> np.ndarray:
        return super()._tally(logits) * np.r_[1.0, 1.0, np.zeros(tally.size("binary") - 2)]


def test_without_any_validation_the_last_model_is_the_best() -> None:
    study = small_study(evaluation={"selection": "best-validation"})
    machine = coordinator(study)
    Network(machine, sites(study, {party: _Unvalidated(seed=i) for i, party in enumerate(SITES)})).run()
    assert machine.released.round == 3
    assert all(record.validation is None for record in machine.history)


def test_a_federation_of_one_never_goes_on_without_itself() -> None:
    optimizer = {"kind": "sgd", "learning_rate": 0.1}
    study = small_study(training={"optimizer": optimizer, "local_epochs": 1, "on_divergence": "drop-site"})
    cork = PartyId("cork")
    machine = Coordinator(Plan(study, "alone-cork", (cork,), (cork,)), zero_model)
    network = Network(machine, {cork: Site(cork, study_digest(study), _Diverging(seed=1), 5)})
    network.run(until=lambda: bool(network.refused))
    assert isinstance(network.refused[0], DivergenceError)


def test_a_refusal_names_the_site_and_its_hint() -> None:
    study = small_study()
    machine = coordinator(study)
    sends = machine.begin()
    envelope = unpack(sends[0].payload, sender=COORDINATOR)
    refusal = pack(replace(envelope, message=Refused("cohort", "column age is missing", "see the study file")))
    with pytest.raises(PeerError, match=r"aachen: refused: column age is missing\n  hint: see the study file"):
        machine.receive(SITES[0], refusal)


def test_sites_with_different_inputs_are_told_apart() -> None:
    study = small_study()
    parties = sites(study)
    parties[SITES[2]]._work.inputs = replace(NumpyWork.inputs, kind="image", shape=(1, 28, 28))  # type: ignore[misc]
    with pytest.raises(CohortError, match="cork and aachen have different inputs"):
        Network(coordinator(study), parties).run()


def test_a_site_with_another_study_refuses_to_join() -> None:
    study = small_study()
    parties = sites(study) | {SITES[3]: Site(SITES[3], bytes(32), NumpyWork(1), 5)}
    machine = coordinator(study)
    network = Network(machine, parties)
    network.run(until=lambda: bool(network.refused))
    assert "not the one this site agreed to" in str(network.refused[0])


def test_too_few_sites_in_time_reveal_nothing() -> None:
    study = small_study()
    machine, parties = coordinator(study), sites(study)
    Network(machine, parties).run(until=lambda: machine.stage is Stage.TRAIN)
    request = _training_request(machine)
    for party in SITES[:2]:
        machine.receive(party, parties[party].handle(request))
    before = machine.snapshot()
    with pytest.raises(ThresholdError, match="2 of 4"):
        machine.deadline()
    assert machine.snapshot() == before
    machine.receive(SITES[2], parties[SITES[2]].handle(request))
    machine.deadline()
    assert machine.round == 1
    assert machine.history[1].absent == (SITES[3],)


def test_too_few_who_join_in_time_exclude_nobody() -> None:
    study = small_study()
    machine, parties = coordinator(study), sites(study)
    with pytest.raises(UsageError, match="begins before"):
        machine.deadline()
    requests = {send.to: send.payload for send in machine.begin()}
    machine.receive(SITES[0], parties[SITES[0]].handle(requests[SITES[0]]))
    before = machine.snapshot()
    with pytest.raises(ThresholdError, match="1 of 4"):
        machine.deadline()
    assert machine.snapshot() == before
    assert machine.excluded == ()
    for party in SITES[1:3]:
        machine.receive(party, parties[party].handle(requests[party]))
    machine.deadline()
    assert [gone.site for gone in machine.excluded] == [SITES[3]]


def test_a_site_refuses_what_is_not_legal_in_its_state() -> None:
    study = small_study()
    machine, parties = coordinator(study), sites(study)
    site = parties[SITES[0]]
    with pytest.raises(ProtocolViolationError, match="not allowed while new"):
        site.handle(pack(Envelope(bytes(32), 1, Refused("a", "b", "c"))))
    Network(machine, parties).run(until=lambda: machine.stage is Stage.TRAIN)
    request = unpack(_training_request(machine), sender=COORDINATOR)
    site.handle(pack(request))
    with pytest.raises(ProtocolViolationError, match="round 1 after round 1"):
        site.handle(pack(request))
    with pytest.raises(ProtocolViolationError, match="another session"):
        site.handle(pack(replace(request, session=bytes(32), message=replace(request.message, round=RoundId(2)))))


def test_participation_draws_the_same_sites_again_and_others_in_other_rounds() -> None:
    optimizer = {"kind": "sgd", "learning_rate": 0.1}
    study = small_study(training={"optimizer": optimizer, "local_epochs": 1, "participation": 0.5})
    plan = Plan(study, "federated", SITES, SITES)
    drawn = [plan.participants(RoundId(i), SITES) for i in range(1, 30)]
    assert all(len(parties) == 2 for parties in drawn)
    assert drawn == [plan.participants(RoundId(i), SITES) for i in range(1, 30)]
    assert {party for parties in drawn for party in parties} == set(SITES)

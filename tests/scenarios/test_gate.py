"""The gate on a bad network, and behind sealed sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.crypto import Secret, SigningKey
from sealround.errors import ProtocolViolationError, ThresholdError
from sealround.federation import Coordinator, Plan, Site, Stage
from sealround.federation.aggregator import AggregatorParty
from sealround.federation.interfaces import Contender
from sealround.federation.messages import AskGroups, Envelope, pack
from sealround.federation.sealing import AggregatorSealing, SealedPlan, Sealing, SiteSealing
from sealround.secagg import Identity, SitePolicy, VolatileRecord
from sealround.study import Study, study_digest
from sealround.testing import Fault, GroupedWork, Network, small_study, zero_model
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from sealround.federation.gate import Gate

SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork", "delft", "essen", "fulda"))
LIARS = SITES[:2]
ROUNDS = 8
JOIN_TO_VALIDATE = (
    6 + ROUNDS
)  # messages to a site before the gate: join, levels, counts, squares, prepare, ... validate
GATE, INFLUENCE = JOIN_TO_VALIDATE, JOIN_TO_VALIDATE + 1


def study_of(mode: str = "none", **gate: Any) -> Study:
    sealed: dict[str, Any] = {"mode": mode} if mode != "none" else {"mode": "none", "reason": "compared with"}
    protection = small_study().protection.model_dump() | {"secure_aggregation": sealed}
    return small_study(
        study={"name": "small", "rounds": ROUNDS, "seed": 7},
        protection=protection,
        fairness={"gate": {"metrics": ("fnr",), "tolerance": 0.03, **gate}},
    )


def works(liars: tuple[PartyId, ...]) -> dict[PartyId, GroupedWork]:
    return {party: GroupedWork(seed, lies=party in liars) for seed, party in enumerate(SITES)}


def run(study: Study, liars: tuple[PartyId, ...], faults: tuple[Fault, ...] = ()) -> tuple[Coordinator, Network]:
    machine = Coordinator(Plan(study, "federated", SITES, SITES), zero_model)
    sites = {party: Site(party, study_digest(study), work, 5) for party, work in works(liars).items()}
    network = Network(machine, sites, faults)
    network.run()
    return machine, network


def gate_of(machine: Coordinator) -> Gate:
    assert machine.gate is not None
    return machine.gate


EFFECTS = {
    "drop": lambda _: (),
    "double": lambda payload: (payload, payload),
    "cut": lambda payload: (payload[:-1],),
}


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("number", [GATE, INFLUENCE])
@pytest.mark.parametrize("effect", EFFECTS)
def test_one_fault_at_the_gate_neither_stops_nor_changes_the_verdict(effect: str, number: int, direction: Any) -> None:
    quiet, _ = run(study_of(), LIARS)
    fault = Fault(SITES[4], direction, number, EFFECTS[effect])
    machine, network = run(study_of(), LIARS, (fault,))
    gate = gate_of(machine)
    assert machine.stage is Stage.DONE
    assert gate.outcome == "withheld"
    assert set(gate.looks[-1].traced) == set(LIARS)
    if effect == "double":
        assert network.refused
        assert gate.looks[-1].counts.tobytes() == gate_of(quiet).looks[-1].counts.tobytes()
    else:
        assert network.deadlines == 1


def test_a_late_answer_about_the_reference_is_not_taken_for_one_about_influence() -> None:
    """Both are answers to the same kind of request: they are told apart by their step."""
    fault = Fault(SITES[4], "up", GATE, lambda payload: (payload, payload))
    machine, network = run(study_of(), LIARS, (fault,))
    assert any("has answered" in str(error) or "answers step" in str(error) for error in network.refused)
    assert gate_of(machine).outcome == "withheld"


def test_half_of_the_sites_silent_at_the_gate_is_no_verdict() -> None:
    faults = tuple(Fault(party, "up", GATE, EFFECTS["drop"]) for party in SITES[:3])
    with pytest.raises(ThresholdError):
        run(study_of(), LIARS, faults)


# --- sealed -----------------------------------------------------------------------------------------------------------


class Sealed:
    """Everybody of one sealed training."""

    def __init__(self, mode: str, liars: tuple[PartyId, ...]) -> None:
        self.study = study_of(mode)
        self.plan = SealedPlan(self.study, groups=2)
        names = (*SITES, *self.plan.aggregators)
        self.signing = {party: SigningKey(Secret(bytes([place + 1]) * 32)) for place, party in enumerate(names)}
        self.keys = {party: key.verifying_key for party, key in self.signing.items()}
        self.drawn = 0
        sealing = Sealing(self.plan, self.keys, 2**60)
        self.coordinator = Coordinator(Plan(self.study, "federated", SITES, SITES), zero_model, sealing)
        self.sites = {
            party: Site(party, study_digest(self.study), work, 5, SiteSealing(*self._of(party)))
            for party, work in works(liars).items()
        }
        aggregators = {party: AggregatorParty(AggregatorSealing(*self._of(party))) for party in self.plan.aggregators}
        self.network = Network(self.coordinator, {**self.sites, **aggregators})

    def _of(self, party: PartyId) -> tuple[Any, ...]:
        identity = Identity(party, self.signing[party], self.keys)
        return self.plan, identity, SitePolicy(), VolatileRecord(), self._entropy

    def _entropy(self) -> Secret:
        self.drawn += 1
        return Secret(self.drawn.to_bytes(32, "big"))


@pytest.mark.parametrize("mode", ["pairwise", "replicated"])
@pytest.mark.parametrize("liars", [(), LIARS], ids=["honest", "harmed"])
def test_a_sealed_gate_finds_what_an_open_one_finds(mode: str, liars: tuple[PartyId, ...]) -> None:
    world = Sealed(mode, liars)
    world.network.run(until=lambda: gate_of_or_none(world.coordinator) not in (None, "open"))
    gate, opened = gate_of(world.coordinator), gate_of(run(study_of(), liars)[0])
    assert gate.outcome == opened.outcome == ("withheld" if liars else "released")
    # Whom either model gets wrong is the same to a man; a risk can differ by what an update is rounded to.
    np.testing.assert_allclose(gate.looks[-1].counts, opened.looks[-1].counts, atol=2.0**-9)
    assert gate.looks[-1].influence == {}
    assert ("sealed" in gate.looks[-1].untraced) == bool(liars)


def gate_of_or_none(machine: Coordinator) -> str | None:
    return None if machine.gate is None else machine.gate.outcome


def test_a_sealed_gate_is_asked_through_in_no_other_way() -> None:
    world = Sealed("pairwise", ())
    world.network.run(until=lambda: world.coordinator.stage is Stage.GATE)
    model = Contender(np.zeros(4, dtype=np.float32), 0.5)
    groups = world.coordinator.groups
    request = AskGroups(groups, model, (), own=True)
    site = world.sites[SITES[0]]
    with pytest.raises(ProtocolViolationError, match="asks in clear for what the study says is sealed"):
        site.handle(pack(Envelope(site._session, world.coordinator._step, request)))

"""Messages lost, doubled, delayed or damaged while a rule goes by memory or by a root of trust."""

from __future__ import annotations

from typing import Any

import pytest

from sealround.errors import ThresholdError
from sealround.federation import Coordinator, Plan, Site, Stage
from sealround.study import study_digest
from sealround.testing import Fault, Network, NumpyWork, small_study, zero_model
from sealround.vocabulary import PartyId

SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork", "delft"))
ROOT = SITES[3]
RULES: dict[str, dict[str, Any]] = {
    "adaptive": {"rule": "adaptive", "num_byzantine": 1},
    "foolsgold": {"rule": "foolsgold", "num_byzantine": 0},
    "fltrust": {"rule": "fltrust", "num_byzantine": 0, "root": ROOT},
}
EFFECTS = {
    "drop": (lambda _: (), False),
    "double": (lambda payload: (payload, payload), False),
    "delay": (lambda payload: (payload,), True),
    "cut": (lambda payload: (payload[:-1],), False),
}
ROUNDS = range(5, 8)  # after join, levels, counts, squares and prepare


def _run(rule: str, faults: tuple[Fault, ...] = ()) -> tuple[Coordinator, Network]:
    protection = small_study().protection.model_dump() | {"robustness": RULES[rule]}
    study = small_study(protection=protection)
    machine = Coordinator(Plan(study, "federated", SITES, SITES), zero_model)
    parties = {party: Site(party, study_digest(study), NumpyWork(i), 5) for i, party in enumerate(SITES)}
    network = Network(machine, parties, faults)
    network.run()
    return machine, network


def _fault(effect: str, direction: str, number: int, party: PartyId) -> Fault:
    change, late = EFFECTS[effect]
    return Fault(party, direction, number, change, late)  # type: ignore[arg-type]


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("number", ROUNDS)
@pytest.mark.parametrize("rule", RULES)
def test_a_fault_at_one_site_is_a_round_without_it(rule: str, number: int, effect: str, direction: str) -> None:
    machine, _ = _run(rule, (_fault(effect, direction, number, SITES[1]),))
    assert machine.stage is Stage.DONE
    missed = machine.history[number - 4]
    if effect in ("double", "delay"):
        assert machine.released.vector.tobytes() == _run(rule)[0].released.vector.tobytes()
    else:
        assert missed.absent == (SITES[1],)
        assert SITES[1] not in missed.influence
        assert all(SITES[1] in record.influence for record in machine.history[1:] if record is not missed)


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("effect", ["drop", "cut"])
@pytest.mark.parametrize("number", ROUNDS)
def test_a_round_that_lost_its_root_is_not_concluded(number: int, effect: str, direction: str) -> None:
    with pytest.raises(ThresholdError, match="delft is the root of trust, and did not answer in time"):
        _run("fltrust", (_fault(effect, direction, number, ROOT),))


@pytest.mark.parametrize("number", ROUNDS)
def test_a_root_that_is_late_or_speaks_twice_changes_nothing(number: int) -> None:
    quiet = _run("fltrust")[0].released.vector.tobytes()
    for effect in ("double", "delay"):
        assert _run("fltrust", (_fault(effect, "up", number, ROOT),))[0].released.vector.tobytes() == quiet

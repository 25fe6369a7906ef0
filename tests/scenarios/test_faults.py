"""Every message of a training lost, doubled, delayed or damaged: it ends as it should, or says who and why."""

from __future__ import annotations

import itertools

import pytest

from sealround.errors import SealroundError, ThresholdError
from sealround.federation import Coordinator, Plan, Site, Stage
from sealround.study import study_digest
from sealround.testing import Fault, Network, NumpyWork, small_study, zero_model
from sealround.vocabulary import PartyId

SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork"))
STUDY = small_study(study={"name": "small", "rounds": 2, "seed": 7})

EFFECTS = {
    "drop": (lambda _: (), False),
    "double": (lambda payload: (payload, payload), False),
    "delay": (lambda payload: (payload,), True),
    "cut": (lambda payload: (payload[:-1],), False),
    "flip": (lambda payload: (payload[:-3] + bytes([payload[-3] ^ 0x80]) + payload[-2:],), False),
}
MESSAGES = range(8)  # join, levels, counts, squares, prepare, train, train, validate


def _run(faults: tuple[Fault, ...]) -> tuple[Coordinator, Network]:
    machine = Coordinator(Plan(STUDY, "federated", SITES, SITES), zero_model)
    parties = {party: Site(party, study_digest(STUDY), NumpyWork(i), 5) for i, party in enumerate(SITES)}
    network = Network(machine, parties, faults)
    network.run()
    return machine, network


def _straight() -> bytes:
    return _run(())[0].released.vector.tobytes()


def _fault(effect: str, direction: str, number: int, party: PartyId) -> Fault:
    change, late = EFFECTS[effect]
    return Fault(party, direction, number, change, late)  # type: ignore[arg-type]


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("number", MESSAGES)
def test_one_fault_at_one_site_never_stops_the_others(number: int, effect: str, direction: str) -> None:
    machine, network = _run((_fault(effect, direction, number, SITES[1]),))
    assert machine.stage is Stage.DONE
    assert {SITES[0], SITES[2]} <= set(machine.evaluations)
    if effect in ("double", "delay"):
        # A second copy is refused, a late one waited for: the model is that of a quiet network.
        assert machine.released.vector.tobytes() == _straight()
        assert bool(network.refused) == (effect == "double")
    elif effect != "flip":
        assert network.deadlines >= 1


@pytest.mark.parametrize("effect", ["drop", "cut"])
@pytest.mark.parametrize("number", MESSAGES)
def test_the_same_fault_at_two_of_three_sites_ends_in_a_threshold_error(number: int, effect: str) -> None:
    with pytest.raises(ThresholdError):
        _run(tuple(_fault(effect, "up", number, party) for party in SITES[:2]))


PAIRS = list(itertools.product(itertools.combinations(EFFECTS, 2), itertools.combinations(MESSAGES, 2)))


@pytest.mark.parametrize(("effects", "numbers"), PAIRS)
def test_two_faults_end_in_a_model_or_a_typed_error(effects: tuple[str, str], numbers: tuple[int, int]) -> None:
    faults = (
        _fault(effects[0], "up", numbers[0], SITES[0]),
        _fault(effects[1], "down", numbers[1], SITES[2]),
    )
    assert _ending(faults) in {"done", "threshold", "consistency", "peer"}


def _ending(faults: tuple[Fault, ...]) -> str:
    try:
        machine, _ = _run(faults)
    except SealroundError as error:
        return error.code
    return machine.stage.value

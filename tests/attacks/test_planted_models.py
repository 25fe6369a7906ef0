"""A malicious coordinator against whole trainings: each attack works on sites that do not look, and only on those.

The coordinator is the real one, whose model is replaced; the sites are real, with the heart data among them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.audit.malicious import (
    ImprintOptions,
    extract_imprint,
    extract_rows,
    extract_sweep,
    extract_traps,
    plant_class,
    plant_imprint,
    plant_silence,
    plant_sweep,
    plant_traps,
)
from sealround.audit.malicious.layers import hidden_layers
from sealround.clinical import Places, load_cohorts
from sealround.clinical.cohort import SplitName
from sealround.crypto import Secret, SigningKey
from sealround.errors import PeerError, ThresholdError
from sealround.federation import Coordinator, Plan, Site
from sealround.federation.aggregator import AggregatorParty
from sealround.federation.messages import Envelope, SealedOrder, Train, pack, unpack
from sealround.federation.sealing import AggregatorSealing, SealedPlan, Sealing, SiteSealing
from sealround.learning import TorchWork, initial_model
from sealround.learning.device import prepare
from sealround.learning.incoming import IncomingModels
from sealround.learning.models import build_model
from sealround.secagg import Identity, SitePolicy, VolatileRecord
from sealround.study import study_digest
from sealround.testing import NumpyWork, small_study, zero_model
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from pathlib import Path

    from sealround.federation.interfaces import TrainOrder, TrainOutcome
    from sealround.study import Study
    from sealround.vocabulary import Update

VICTIM = PartyId("site-1")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    prepare()


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the defence out."""
    monkeypatch.setattr(IncomingModels, "check", lambda *_: None)


@dataclass
class Sent:
    """What left the sites, and whose records it was made of."""

    updates: dict[tuple[int, PartyId], Update] = field(default_factory=dict)


class Overheard(TorchWork):
    """Trains as always; what it sends is noted."""

    sent: Sent
    site: PartyId

    def train(self, order: TrainOrder) -> TrainOutcome:
        outcome = super().train(order)
        self.sent.updates[int(order.round), self.site] = outcome.update
        return outcome


Forge = Callable[[PartyId, int, "Update"], "Update"]
"""From who is asked, in which round, with which honest model, to the model that is sent."""


class Attack:
    """One training whose coordinator forges what it sends.

    Args:
        folder: Where nothing is.
        model: The study's.
        training: Changes of how sites train.
    """

    def __init__(self, folder: Path, model: dict[str, Any], **training: Any) -> None:
        self.study: Study = small_study(
            study={"rounds": 6},
            cohort={
                "source": {"kind": "builtin", "name": "heart-disease"},
                "sites": {"kind": "iid", "number": 4},
                "columns": {"hospital": {"role": "ignore"}},
            },
            model=model,
            training={
                "optimizer": {"kind": "sgd", "learning_rate": 0.1},
                "batch_size": 24,
                "local_epochs": None,
                "local_steps": 1,
                **training,
            },
        )
        self.sent = Sent()
        self.works: dict[PartyId, Overheard] = {}
        for site, cohort in load_cohorts(self.study, Places(folder, folder)).items():
            work = self.works[site] = Overheard(self.study, cohort)
            work.sent, work.site = self.sent, site
        roster = tuple(sorted(self.works))
        self.refused: dict[PartyId, str] = {}
        self.machine = Coordinator(Plan(self.study, "federated", roster, roster), initial_model(self.study))
        self.sites = {site: Site(site, study_digest(self.study), work, 5) for site, work in self.works.items()}

    def play(self, forge: Forge, until: int) -> None:
        """Train until so many rounds are concluded, or nobody answers any more."""
        sends = list(self.machine.begin())
        while sends and self.machine.round < until:
            send = sends.pop(0)
            envelope = unpack(send.payload, sender="coordinator")
            payload, message = send.payload, envelope.message
            if isinstance(message, Train):
                model = forge(send.to, int(message.round), message.model)
                payload = pack(Envelope(envelope.session, envelope.step, dataclasses.replace(message, model=model)))
            try:
                sends += self.machine.receive(send.to, self.sites[send.to].handle(payload))
            except PeerError as error:
                self.refused[send.to] = error.message

    @property
    def network(self) -> Any:
        """The study's model, without values."""
        return build_model(self.study.model, (self.records(VICTIM).shape[1],))

    def records(self, site: PartyId) -> np.ndarray:
        """A site's training records as the model sees them, float64 ``(n, p)``."""
        encoding = self.works[site]._encodings.under(self.machine._training.learned.known_statistics)
        return encoding.parts[SplitName.TRAIN].inputs.matrix.numpy().astype(float)

    def rebuilt(self, candidates: np.ndarray, site: PartyId = VICTIM) -> int:
        """How many of a site's records some candidate is within 1 % of."""
        if not len(candidates):
            return 0
        records = self.records(site)
        apart = np.linalg.norm(candidates[:, None] - records[None], axis=2).min(axis=0)
        return int((apart < 0.01 * np.linalg.norm(records, axis=1)).sum())


MLP: dict[str, Any] = {"kind": "mlp", "hidden": [64]}
WIDE: dict[str, Any] = {"kind": "mlp", "hidden": [256]}
LOGISTIC: dict[str, Any] = {"kind": "logistic"}

Read = Callable[["Update"], np.ndarray]
Plant = Callable[[Attack, "Update"], tuple["Update", Read]]


def _imprint(attack: Attack, model: Update) -> tuple[Update, Read]:
    options = ImprintOptions(scatter=0.5, shuffle=True)
    imprint = plant_imprint(attack.network, model, options, np.random.default_rng(1))
    return imprint.parameters, lambda update: extract_imprint(update, imprint).inputs


def _traps(attack: Attack, model: Update) -> tuple[Update, Read]:
    traps = plant_traps(attack.network, model, 0.05, np.random.default_rng(1))
    return traps.parameters, lambda update: extract_traps(update, traps).inputs


def _few_traps(attack: Attack, model: Update) -> tuple[Update, Read]:
    traps = plant_traps(attack.network, model, 0.05, np.random.default_rng(0), traps=24)
    return traps.parameters, lambda update: extract_traps(update, traps).inputs


def _class(attack: Attack, model: Update) -> tuple[Update, Read]:
    layer = hidden_layers(attack.network)[0]
    return plant_class(attack.network, model, 1), lambda update: extract_rows(update, layer).inputs


ATTACKS: dict[str, tuple[dict[str, Any], Plant, int]] = {
    "imprint": (WIDE, _imprint, 8),
    "traps": (MLP, _traps, 6),
    "few traps": (MLP, _few_traps, 2),
    "one class": (MLP, _class, 0),
}
"""The model, what is planted in it, and how many of 24 records are rebuilt at the least.

A few traps are a weaker form of many. Fishing for a class rebuilds nothing by itself: it makes batches smaller for
whatever does (`tests/unit/audit/malicious`).
"""


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("name", [name for name, (_, _, least) in ATTACKS.items() if least])
def test_planted_models_give_records_away_where_nobody_looks(tmp_path: Path, name: str, at: int) -> None:
    model, plant, least = ATTACKS[name]
    attack, reads = Attack(tmp_path, model), []

    def forge(_: PartyId, round_: int, honest: Update) -> Update:
        if round_ != at:
            return honest
        planted, read = plant(attack, honest)
        reads.append(read)
        return planted

    attack.play(forge, at)
    assert attack.refused == {}
    assert attack.rebuilt(reads[0](attack.sent.updates[at, VICTIM])) >= least


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_site_trains_on_a_planted_model(tmp_path: Path, name: str, at: int) -> None:
    model, plant, _ = ATTACKS[name]
    attack = Attack(tmp_path, model)
    attack.play(lambda _, round_, honest: honest if round_ != at else plant(attack, honest)[0], at)
    assert set(attack.refused) == set(attack.sites)
    assert all("shows signs of being planted" in why for why in attack.refused.values())
    assert not any(round_ == at for round_, _ in attack.sent.updates), "something left a site"
    assert attack.machine.round == at - 1


def test_what_an_honest_model_gives_is_less(tmp_path: Path) -> None:
    """The baseline: what the attacks rebuild would say nothing if every model gave as much."""
    for model in (MLP, WIDE):
        attack = Attack(tmp_path, model)
        attack.play(lambda _, __, honest: honest, 3)
        assert attack.refused == {}
        layer = hidden_layers(attack.network)[0]
        assert attack.rebuilt(extract_rows(attack.sent.updates[3, VICTIM], layer).inputs) <= 4


# --- two rounds against a linear model --------------------------------------------------------------------------------


def _sweep(attack: Attack) -> tuple[Forge, Callable[[], int]]:
    """Aim between neighbours along some direction, in two rounds of the same batch."""
    kept: dict[int, Any] = {}

    def forge(site: PartyId, round_: int, honest: Update) -> Update:
        if round_ < 3:
            return honest
        axis = np.ones(attack.records(site).shape[1])
        along = np.sort(attack.records(VICTIM) @ axis / np.linalg.norm(axis))
        room = np.minimum(np.diff(along)[:-1], np.diff(along)[1:])
        place = int(room.argmax()) + round_ - 3  # Below whoever has most room on both sides, then above.
        cut = float(along[place : place + 2].mean())
        kept[round_] = plant_sweep(attack.network, honest, axis, cut, 150.0)
        return kept[round_].parameters

    def found() -> int:
        updates = (attack.sent.updates[3, VICTIM], attack.sent.updates[4, VICTIM])
        return attack.rebuilt(extract_sweep(updates, (kept[3], kept[4])).inputs)

    return forge, found


WHOLE: dict[str, Any] = {"local_steps": 1, "batch_size": 1000}


@pytest.mark.usefixtures("unguarded")
def test_a_sweep_takes_one_record_from_a_linear_model_where_nobody_looks(tmp_path: Path) -> None:
    attack = Attack(tmp_path, LOGISTIC, **WHOLE)
    forge, found = _sweep(attack)
    attack.play(forge, 4)
    assert found() == 1


def test_no_site_trains_on_a_sweep(tmp_path: Path) -> None:
    attack = Attack(tmp_path, LOGISTIC, **WHOLE)
    forge, _ = _sweep(attack)
    attack.play(forge, 4)
    assert set(attack.refused) == set(attack.sites)
    assert attack.machine.round == 2


# --- another model for each site --------------------------------------------------------------------------------------


def _inconsistent(attack: Attack, reads: list[Read]) -> Forge:
    def forge(site: PartyId, round_: int, honest: Update) -> Update:
        if round_ != 3:
            return honest
        if site != VICTIM:
            return plant_silence(attack.network, honest)
        planted, read = _imprint(attack, honest)
        reads.append(read)
        return planted

    return forge


@pytest.mark.usefixtures("unguarded")
def test_a_sum_over_silenced_sites_is_the_victims_update_where_nobody_looks(tmp_path: Path) -> None:
    attack, reads = Attack(tmp_path, WIDE), []
    attack.play(_inconsistent(attack, reads), 3)
    assert attack.rebuilt(reads[0](sum_of(attack))) >= 8
    # Without the silence, the sum hides the victim's records.
    fair, same = Attack(tmp_path, WIDE), []

    def everybody(_: PartyId, round_: int, honest: Update) -> Update:
        if round_ != 3:
            return honest
        planted, read = _imprint(fair, honest)
        same.append(read)
        return planted

    fair.play(everybody, 3)
    assert fair.rebuilt(same[0](sum_of(fair))) < attack.rebuilt(reads[0](sum_of(attack)))


def sum_of(attack: Attack) -> Update:
    """The sum of the third round's updates, all that a sealed study shows."""
    return np.sum([attack.sent.updates[3, site] for site in attack.sites], axis=0)


def test_neither_the_silent_nor_the_planted_model_is_trained_on(tmp_path: Path) -> None:
    attack = Attack(tmp_path, WIDE)
    attack.play(_inconsistent(attack, []), 3)
    assert set(attack.refused) == set(attack.sites)
    assert "empty-rows" in attack.refused[PartyId("site-2")]
    assert "parallel-rows" in attack.refused[VICTIM]


SEALED_SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork", "delft"))
SEALED_VICTIM = SEALED_SITES[1]


@pytest.mark.parametrize("mode", ["pairwise", "replicated"])
def test_in_a_sealed_study_two_models_give_no_sum(mode: str) -> None:
    """These sites do not look at the model: that it is another than the manifest's is what they refuse for."""
    study = small_study(protection=small_study().protection.model_dump() | {"secure_aggregation": {"mode": mode}})
    plan = SealedPlan(study)
    parties = (*SEALED_SITES, *plan.aggregators)
    signing = {party: SigningKey(Secret(bytes([number]) * 32)) for number, party in enumerate(parties, 1)}
    keys, fresh = {party: key.verifying_key for party, key in signing.items()}, itertools.count(1)

    def knowledge(party: PartyId) -> tuple[Any, ...]:
        identity = Identity(party, signing[party], keys)
        return plan, identity, SitePolicy(), VolatileRecord(), lambda: Secret(next(fresh).to_bytes(32, "big"))

    ends: dict[PartyId, Site | AggregatorParty] = {
        party: Site(party, study_digest(study), NumpyWork(number), 5, SiteSealing(*knowledge(party)))
        for number, party in enumerate(SEALED_SITES)
    }
    ends |= {party: AggregatorParty(AggregatorSealing(*knowledge(party))) for party in plan.aggregators}
    machine = Coordinator(
        Plan(study, "federated", SEALED_SITES, SEALED_SITES), zero_model, Sealing(plan, keys, first_round=2**60)
    )
    sends, refused = list(machine.begin()), {}
    while sends:
        send = sends.pop(0)
        payload = send.payload if send.to == SEALED_VICTIM else _with_another_model(send.payload)
        try:
            sends += machine.receive(send.to, ends[send.to].handle(payload))
        except PeerError as error:
            refused[send.to] = error.message
    assert set(refused) == set(SEALED_SITES) - {SEALED_VICTIM}
    assert all("another model in it" in why for why in refused.values())
    with pytest.raises(ThresholdError):
        machine.deadline()
    assert machine.round == 0


def _with_another_model(payload: bytes) -> bytes:
    """The same message; the model in a sealed round of training is another."""
    envelope = unpack(payload, sender="coordinator")
    if not isinstance(envelope.message, SealedOrder) or not envelope.message.order:
        return payload
    order = unpack(envelope.message.order, sender="coordinator")
    if not isinstance(order.message, Train):
        return payload
    other = dataclasses.replace(order.message, model=order.message.model + np.float32(1.0))
    changed = pack(Envelope(order.session, order.step, other))
    sealed = dataclasses.replace(envelope.message, order=changed)
    return pack(Envelope(envelope.session, envelope.step, sealed))

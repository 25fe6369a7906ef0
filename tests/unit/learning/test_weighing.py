"""A site that weighs its patients by group and outcome: what it counts, what it hides, and what it trains."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch

from sealround.clinical.cohort import Outcome, SiteCohort, SplitName
from sealround.engines.parties import SimulatedParties
from sealround.errors import ProtocolViolationError
from sealround.federation import Coordinator, Plan, Site
from sealround.federation import tally as tallies
from sealround.federation.interfaces import EvaluateOrder, InputShape, TrainOrder, TrainOutcome
from sealround.federation.messages import Train, pack, unpack
from sealround.federation.weighing import weights_fit
from sealround.learning import TorchWork, initial_model
from sealround.learning.losses import BinaryLoss, Targets
from sealround.learning.weighing import cells_of, kept_back
from sealround.secagg import SitePolicy
from sealround.study import study_digest
from sealround.study.sections import Study
from sealround.testing import Fault, Network, small_study
from sealround.vocabulary import COORDINATOR, PartyId

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEVELS = ("f", "m")
SITES = tuple(PartyId(name) for name in ("aachen", "bern", "cork"))


def weighing_study(training: str, *, sealed: bool = False, rounds: int = 12) -> Study:
    columns = {
        "sex": {"role": "sensitive", "levels": list(LEVELS)},
        "ill": {"role": "label", "positive": [1]},
    }
    mode: dict[str, Any] = {"mode": "pairwise"} if sealed else {"mode": "none", "reason": "made-up patients"}
    return small_study(
        study={"name": "small", "rounds": rounds, "seed": 7},
        cohort={"columns": columns},
        training={"optimizer": {"kind": "sgd", "learning_rate": 0.3}, "local_epochs": 1, "batch_size": 32},
        fairness={"training": training, "intersections": False},
        protection=small_study().protection.model_dump() | {"secure_aggregation": mode},
    )


def skewed(site: PartyId, rows: int = 400, women: float = 0.15, seed: int = 0) -> SiteCohort:
    """Few women, and the disease shows in another number with them than with men."""
    draw = np.random.default_rng((seed, SITES.index(site)))
    woman = draw.random(rows) < women
    sick = draw.random(rows) < 0.5
    inputs = draw.normal(size=(rows, 3)).astype(np.float32)
    inputs[:, 0] += np.where(woman, -0.8, 1.5) * (2 * sick - 1)
    inputs[:, 1] += np.where(woman, 1.5, 0.0) * (2 * sick - 1)
    inputs[:, 2] = woman
    sexes = np.where(woman, "f", "m").astype(object)
    sexes[draw.random(rows) < 0.02] = None
    table = pl.DataFrame(
        {"sex": sexes.tolist(), "ill": sick.astype(int).astype(str)}, schema_overrides={"sex": pl.String}
    )
    return SiteCohort(
        site,
        InputShape("vector", (3,)),
        table,
        inputs,
        Outcome(sick.astype(np.float32)),
        np.arange(rows),
        np.resize(np.repeat([0, 1, 2], [6, 2, 2]), rows).astype(np.int8),
    )


def world(
    study: Study, folder: Path | None = None, work: type[TorchWork] = TorchWork
) -> tuple[Coordinator, dict[PartyId, Site]]:
    """Return the parties of a study on three skewed sites, sealed if it says so; the first site works as told."""
    parties = None if folder is None else SimulatedParties.draw(study, SITES, SitePolicy(), folder)
    machine = Coordinator(
        Plan(study, "federated", SITES, SITES),
        initial_model(study),
        None if parties is None else parties.coordinator(),
    )
    works = {site: (work if site == SITES[0] else TorchWork)(study, skewed(site)) for site in SITES}
    return machine, {
        site: Site(site, study_digest(study), works[site], 5, None if parties is None else parties.site(site))
        for site in SITES
    }


def trained(study: Study, folder: Path | None = None) -> Coordinator:
    """Run a study on three skewed sites."""
    machine, sites = world(study, folder)
    Network(machine, sites).run()
    return machine


def cell_losses(study: Study, machine: Coordinator) -> np.ndarray:
    """Mean cross-entropy of the released model by sex and outcome, over all sites' patients, float64 ``(2, 2)``."""
    released = machine.released
    sums, counts = np.zeros((2, 2)), np.zeros((2, 2))
    for site in SITES:
        cohort = dataclasses.replace(skewed(site), split=np.full(400, SplitName.TEST, dtype=np.int8))
        work = TorchWork(study, cohort)
        logits = work.outputs(EvaluateOrder("federated", released.vector, released.statistics, 0.5)).astype(float)
        event = cohort.outcome.event
        loss = np.logaddexp(0.0, np.where(event > 0, -logits, logits))
        for row, sex in enumerate(LEVELS):
            for outcome in (0, 1):
                here = (cohort.table["sex"] == sex).fill_null(value=False).to_numpy() & (event == outcome)
                sums[row, outcome] += loss[here].sum()
                counts[row, outcome] += here.sum()
    return sums / counts


# --- what is counted and hidden ---------------------------------------------------------------------------------------


def test_cells_hold_the_training_patients_by_sex_and_outcome() -> None:
    study, cohort = weighing_study("minimax"), skewed(SITES[0])
    cells = cells_of(study, cohort, 0)
    rows = cohort.where(SplitName.TRAIN)
    sexes = cohort.table["sex"].to_list()
    order = {"f": 0, "m": 1}
    expected = [2 * order[sexes[row]] + int(cohort.outcome.event[row]) if sexes[row] else -1 for row in rows]
    assert -1 in expected
    assert cells.of_each.tolist() == expected
    logits = np.random.default_rng(1).normal(size=rows.size).astype(np.float32)
    tail = cells.tail(logits, cohort.outcome.event[rows])
    assert tail.shape == (8,)
    for cell in range(4):
        here = [at for at, found in enumerate(expected) if found == cell]
        losses = [np.log1p(np.exp(-(2 * (cell % 2) - 1) * float(logits[at]))) for at in here]
        assert tail[cell] == pytest.approx(sum(losses))
        assert tail[4 + cell] == len(here)


def test_an_open_study_keeps_small_cells_back_and_a_sealed_one_has_no_need() -> None:
    cohort = skewed(SITES[0], rows=60)
    open_cells = cells_of(weighing_study("minimax"), cohort, 5)
    assert open_cells.hidden.any()
    tail = open_cells.tail(np.zeros(36), cohort.outcome.event[cohort.where(SplitName.TRAIN)])
    assert (tail[np.r_[open_cells.hidden, open_cells.hidden]] == 0).all()
    assert not cells_of(weighing_study("minimax", sealed=True), cohort, 5).hidden.any()


@pytest.mark.parametrize("seed", range(6))
def test_no_small_cell_follows_from_the_others_and_the_margins(seed: int) -> None:
    draw = np.random.default_rng(seed)
    size = draw.choice([0, 2, 4, 7, 20, 50], size=(4, 2))
    of_each = np.repeat(np.arange(8), size.ravel())
    hidden = kept_back(of_each, np.arange(of_each.size), 8, 5).reshape(4, 2)
    small = (size > 0) & (size < 5)
    assert (hidden >= small).all()
    if not small.any():
        assert not hidden.any()
        return
    # Another table with the same margins and the same cells shown, in which every small cell has another number.
    shown = ~hidden
    others = [
        size + shift * np.outer(one, (1, -1))
        for one in itertools.product((-1, 0, 1), repeat=4)
        if sum(one) == 0 and any(one)
        for shift in (1,)
    ]
    fits = [other for other in others if (other >= 0).all() and (other[shown] == size[shown]).all()]
    nonempty = (size.sum(axis=1) > 0).sum()
    if nonempty > 1:
        assert fits
    assert hidden.any(axis=1).tolist() == hidden.all(axis=1).tolist()


def test_patients_are_counted_and_not_examples() -> None:
    of_each, patient = np.repeat([0, 1, 2, 3], 10), np.repeat(np.arange(20), 2)
    assert not kept_back(of_each, patient, 4, 5).any()
    assert kept_back(of_each, np.repeat(np.arange(8), 5), 4, 5).all()


# --- what is trained --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0)])
def test_an_example_that_counts_three_times_is_three_examples(weights: tuple[float, float]) -> None:
    loss = BinaryLoss(weights=weights, smoothing=0.1)
    outputs, event = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([1.0, 0.0, 0.0])
    weighed = Targets(event, weight=torch.tensor([3.0, 1.0, 2.0]))
    times = torch.tensor([3, 1, 2])
    repeated, many = outputs.repeat_interleave(times), Targets(event.repeat_interleave(times))
    assert loss.total([outputs], [weighed])[0] == pytest.approx(loss.total([repeated], [many])[0])
    slope = loss.derivative(outputs, weighed) * 3
    each = loss.derivative(repeated, many) * 6
    assert slope.tolist() == pytest.approx([float(part.sum()) for part in each.split(times.tolist())])


def test_weights_go_with_their_examples_into_batches() -> None:
    targets = Targets(torch.arange(5.0), weight=torch.arange(5.0) + 10)
    batches = targets.batches(torch.tensor([4, 0, 3]), 2)
    assert [batch.weight.tolist() for batch in batches if batch.weight is not None] == [[14.0, 10.0], [13.0]]


def test_weights_of_one_are_plain_training_to_the_bit(ready: Callable[..., Any]) -> None:
    plain = ready(weighing_study("plain"), skewed(SITES[0]))
    weighed = ready(weighing_study("minimax"), skewed(SITES[0]))
    one = plain.work.train(plain.train_order())
    other = weighed.work.train(weighed.train_order(weights=np.ones(4)))
    assert other.update.tobytes() == one.update.tobytes()
    size = tallies.size("binary")
    assert one.tally.size == size
    assert other.tally[:size].tobytes() == one.tally.tobytes()
    assert other.tally.size == size + 8


def test_a_study_that_does_not_weigh_refuses_to(ready: Callable[..., Any]) -> None:
    site = ready(weighing_study("plain"), skewed(SITES[0]))
    with pytest.raises(ProtocolViolationError, match="the study does not"):
        site.work.train(site.train_order(weights=np.ones(4)))


@pytest.mark.parametrize("training", ["reweighted", "minimax"])
def test_sealed_training_weighs_as_open_training_does(training: str, tmp_path: Path) -> None:
    open_, sealed = weighing_study(training, rounds=4), weighing_study(training, sealed=True, rounds=4)
    one, other = trained(open_), trained(sealed, tmp_path / "records")
    assert other.released.vector == pytest.approx(one.released.vector, abs=1e-4)


def test_minimax_lowers_the_largest_loss_of_a_group_that_is_few() -> None:
    found = {kind: cell_losses(weighing_study(kind), trained(weighing_study(kind))) for kind in ("plain", "minimax")}
    assert found["plain"].max() == found["plain"][0].max(), "women, who are few"
    assert found["minimax"].max() < 0.9 * found["plain"].max()


def test_weights_change_the_model_from_the_first_round_that_has_any() -> None:
    # An initial model of zeros costs every patient the same: the second round counts all the same, too.
    one, other = (trained(weighing_study(kind, rounds=3)) for kind in ("plain", "minimax"))
    assert one.released.vector.tobytes() != other.released.vector.tobytes()
    assert weights_fit(np.ones(4), one.groups)


def test_a_training_that_is_resumed_goes_on_with_its_weights() -> None:
    study = weighing_study("minimax", rounds=5)
    machine, sites = world(study)
    Network(machine, sites).run(until=lambda: machine.round == 3)
    again, fresh = world(study)
    again.restore(machine.snapshot())
    for site, end in fresh.items():
        end.restore(sites[site].snapshot())
    Network(again, fresh).run()
    assert again.released.vector.tobytes() == trained(study).released.vector.tobytes()


class _BelowZero(TorchWork):
    """Claims fewer patients than none, so that others count more."""

    def train(self, order: TrainOrder) -> TrainOutcome:
        outcome = super().train(order)
        tally = outcome.tally.copy()
        tally[-1] = -5.0
        return dataclasses.replace(outcome, tally=tally)


def test_a_number_of_patients_below_zero_is_refused() -> None:
    machine, sites = world(weighing_study("minimax", rounds=1), work=_BelowZero)
    network = Network(machine, sites)
    network.run()
    assert [error.party for error in network.refused] == [SITES[0]]
    assert "below zero" in network.refused[0].message


def test_a_site_refuses_weights_that_single_patients_out() -> None:
    study = weighing_study("minimax", rounds=2)
    machine, sites = world(study)
    asked: list[bytes] = []

    def tampered(payload: bytes) -> tuple[bytes, ...]:
        envelope = unpack(payload, sender=COORDINATOR)
        assert isinstance(envelope.message, Train)
        weights = np.array([0.0, 10.0, 0.0, 0.0])
        asked.append(
            pack(dataclasses.replace(envelope, message=dataclasses.replace(envelope.message, weights=weights)))
        )
        return (asked[-1],)

    before = ("join", "counts", "squares", "prepare")
    network = Network(machine, sites, (Fault(SITES[1], "down", len(before), tampered),))
    network.run()
    assert len(asked) == 1
    assert "beyond what any patient may count" in str(network.refused[0])

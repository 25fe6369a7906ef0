"""Attacks on data, played on whole studies that have no protection: a plain mean obeys the trigger."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from sealround.audit.data_poisoning import DATA_ATTACKS, Conspiracy, count_successes, deliver
from sealround.clinical import Places, load_cohorts
from sealround.clinical.cohort import Outcome, SiteCohort, SplitName
from sealround.federation import Coordinator, Plan, Site
from sealround.federation.interfaces import EvaluateOrder, InputShape, TrainOrder, TrainOutcome
from sealround.learning import TorchWork, initial_model
from sealround.study import study_digest
from sealround.study.sections import Study
from sealround.testing import Network, small_study
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.audit.data_poisoning import DataAttack
    from sealround.vocabulary import Update

_FASTER: dict[str, Any] = {"optimizer": {"kind": "adam", "learning_rate": 0.02}, "batch_size": 16, "local_epochs": 5}


Played = tuple[Study, "Mapping[PartyId, SiteCohort]"]


class Liar(TorchWork):
    """Trains on poisoned records, and sends what the attack makes of its update."""

    def __init__(self, study: Study, cohort: SiteCohort, attack: DataAttack, share: float) -> None:
        super().__init__(study, cohort)
        self._attack, self._share = attack, share
        self._before: Update | None = None

    def train(self, order: TrainOrder) -> TrainOutcome:
        outcome = super().train(order)
        change = None if self._before is None else order.model - self._before
        self._before = order.model.copy()
        sent = deliver(self._attack.delivery, outcome.update[None], share=self._share, last_change=change)[0]
        return dataclasses.replace(outcome, update=sent)


def odd(cohort: SiteCohort) -> np.ndarray:
    """Make a group of every other patient."""
    return cohort.patient % 2 == 1


def play(
    study: Study,
    cohorts: Mapping[PartyId, SiteCohort],
    liars: tuple[PartyId, ...],
    name: str,
    *,
    attacked: bool = True,
) -> tuple[float, float]:
    """Train with an attack, or only measure it; return its success, and the accuracy of honest sites' test patients."""
    attack = DATA_ATTACKS[name]
    conspiracy = Conspiracy(study, tuple(cohorts[site] for site in liars), np.random.default_rng(3), odd)
    assert attack.why_not(conspiracy) is None
    campaign = attack.plan(conspiracy)
    works: dict[PartyId, TorchWork] = {site: TorchWork(study, cohort) for site, cohort in cohorts.items()}
    if attacked:
        for site, poisoned in zip(liars, campaign.poisoned, strict=True):
            works[site] = Liar(study, poisoned, attack, len(liars) / len(cohorts))
    roster = tuple(sorted(cohorts))
    coordinator = Coordinator(Plan(study, "federated", roster, roster), initial_model(study))
    Network(coordinator, {site: Site(site, study_digest(study), work, 1) for site, work in works.items()}).run()
    released = coordinator.released
    order = EvaluateOrder("federated", released.vector, released.statistics, 0.5)
    hits = tries = right = patients = 0
    for site in set(roster) - set(liars):
        truth = cohorts[site].outcome.event[cohorts[site].where(SplitName.TEST)]
        right += int(((works[site].risks(order) >= 0.5) == truth).sum())
        patients += truth.size
        if (trial := campaign.trial(cohorts[site])) is None:
            continue
        tricked = None if trial.tricked is None else TorchWork(study, trial.tricked).risks(order)
        clean = TorchWork(study, trial.clean).risks(order)
        hit, of = count_successes(clean, None, 0.5) if tricked is None else count_successes(tricked, clean, 0.5)
        hits, tries = hits + hit, tries + of
    return hits / max(tries, 1), right / patients


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Return five sites with the patients of the heart data among them."""
    study = small_study(
        study={"rounds": 6},
        cohort={
            "source": {"kind": "builtin", "name": "heart-disease"},
            "sites": {"kind": "iid", "number": 5},
            "columns": {"hospital": {"role": "ignore"}},
        },
        model={"kind": "mlp", "hidden": [32]},
        training=_FASTER,
    )
    nowhere = tmp_path_factory.mktemp("nowhere")
    return study, load_cohorts(study, Places(nowhere, nowhere))


def _picture_site(number: int) -> SiteCohort:
    """Make images that have a bright blot in the middle where the outcome is present."""
    draw = np.random.default_rng(number)
    event = np.resize([0.0, 1.0], 120).astype(np.float32)
    pixels = draw.normal(80.0, 20.0, size=(120, 16, 16))
    pixels[:, 5:11, 5:11] += 40.0 * event[:, None, None]
    split = np.resize(np.repeat([0, 1, 2], [6, 1, 3]), 120).astype(np.int8)
    return SiteCohort(
        PartyId(f"site-{number}"),
        InputShape("image", (1, 16, 16)),
        pl.DataFrame({"label": event.astype(str)}),
        np.clip(pixels, 0, 255).astype(np.uint8),
        Outcome(event),
        np.arange(120),
        split,
    )


@pytest.fixture(scope="module")
def pictures() -> Played:
    """Return five sites with images."""
    study = small_study(study={"rounds": 8}, model={"kind": "cnn", "channels": [8, 16]}, training=_FASTER)
    return study, {cohort.site: cohort for cohort in map(_picture_site, range(5))}


@pytest.mark.parametrize(("name", "liars"), [("badnets", 2), ("model-replacement", 1), ("neurotoxin", 2)])
def test_a_mean_obeys_a_trigger_of_two_numbers(table: Played, name: str, liars: int) -> None:
    study, cohorts = table
    sites = tuple(sorted(cohorts))[-liars:]
    before, honest = play(study, cohorts, sites, name, attacked=False)
    success, accuracy = play(study, cohorts, sites, name)
    assert success > 0.9
    assert before < 0.5
    assert accuracy > honest - 0.08, "and nobody sees it"


def test_a_trigger_in_parts_works_as_a_whole(pictures: Played) -> None:
    study, cohorts = pictures
    liars = tuple(sorted(cohorts))[:2]
    assert play(study, cohorts, liars, "dba", attacked=False) == (0.0, 1.0)
    success, accuracy = play(study, cohorts, liars, "dba")
    assert success > 0.6
    assert accuracy > 0.98


def test_a_mean_overlooks_the_group_that_liars_call_healthy(table: Played) -> None:
    study, cohorts = table
    sites = tuple(sorted(cohorts))[:2]
    before, _ = play(study, cohorts, sites, "relabel-group", attacked=False)
    plain, _ = play(study, cohorts, sites, "relabel-group")
    boosted, _ = play(study, cohorts, sites, "relabel-group-boosted")
    assert before < 0.25
    assert plain > before
    assert boosted > before + 0.1

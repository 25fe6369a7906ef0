"""Reference trainings: what models of the same study say that were trained on other draws of its patients.

Every training is the study's own: coordinator, sites and their code, rounds, rule, clipping and noise, from the study's
initial model. Only the patients differ. At each site, training and test patients are put together, and each training
gets a random draw of them, as many as the study trains on but no more than `_MOST` of all. One of these trainings is
the one that is attacked: so those it was trained on and those it was not are of one kind, and nothing but training
tells them apart. (Training and test patients of a study may differ by themselves, and an attack that tells *these*
apart has shown nothing.) A patient is in a training with all rows, or with none.

What is approximated: sums are open, since sealing changes them by rounding alone; the gate and comparisons are left
out. In a private study the noise is that of the study, drawn anew for each training.

Source: N. Carlini et al., "Membership Inference Attacks From First Principles", IEEE S&P 2022, section IV (shadow
models, and one of them as the target).
"""

from __future__ import annotations

import collections
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.membership import log_odds
from sealround.clinical.cohort import SplitName
from sealround.clinical.roles import declared_ranges
from sealround.engines.host import Host
from sealround.engines.noise import SimulatedNoise
from sealround.errors import UnsupportedError, UsageError
from sealround.federation import Coordinator, Plan, Stage
from sealround.federation.interfaces import EvaluateOrder
from sealround.federation.plan import FEDERATED
from sealround.federation.randomness import stream
from sealround.learning import TorchWork, initial_model
from sealround.study import Study, study_digest
from sealround.study.sections import DifferentialPrivacy, FrozenBackbone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.clinical import SiteCohort
    from sealround.federation.records import TrainedModel
    from sealround.vocabulary import PartyId

__all__ = [
    "LEAST_SHADOWS",
    "MOST_SHADOWS",
    "Shadows",
    "as_training",
    "nominal_seconds",
    "part_of",
    "shadows",
    "shadows_within",
]

LEAST_SHADOWS = 3
"""So many reference trainings leave each patient out at least once."""

MOST_SHADOWS = 128

_MOST = 2.0 / 3.0
"""Share of a site's patients that one training gets at most, so that enough are left out of it."""

_POPULATION = 0.05
"""Share of patients that no training gets, where the study has no validation patients."""

_PATIENCE = 3.0
"""The clock ends what takes so many times its part of the budget."""

_REQUEST_S = 5e-3
"""Nominal cost of a round at a site beside its arithmetic."""

_VECTORS = 2  # Axes of an array of vectors.

_FLOPS = 5e9
"""Nominal speed; six operations for each example, parameter and step, as for dense layers."""


@dataclass(frozen=True, slots=True, eq=False)
class Shadows:
    """What models say about patients, one signal a patient: mean log odds of the true outcome over the patient's rows.

    Patients are sorted by site, then by their number.

    Attributes:
        signals: Of each training, the first is the attacked one, float64 ``(1 + k, n)``.
        inside: Who was in it, bool ``(1 + k, n)``.
        population: Signals of patients in no training, float64 ``(1 + k, m)``.
        wanted: How many reference trainings were planned; k are there.
    """

    signals: np.ndarray
    inside: np.ndarray
    population: np.ndarray
    wanted: int

    @property
    def models(self) -> int:
        """How many reference trainings, k."""
        return len(self.signals) - 1


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """One site's patients, as trainings draw from them."""

    cohort: SiteCohort
    patients: np.ndarray
    size: int
    population: np.ndarray

    @classmethod
    def of(cls, cohort: SiteCohort, draw: np.random.Generator) -> _Pool:
        drawn = cohort.split != SplitName.VALIDATION
        held = np.unique(cohort.patient[~drawn])
        pool = np.setdiff1d(np.unique(cohort.patient[drawn]), held)
        trained = np.intersect1d(np.unique(cohort.patient[cohort.where(SplitName.TRAIN)]), pool).size
        if not held.size and pool.size > 1:
            held = np.sort(draw.choice(pool, max(1, round(_POPULATION * pool.size)), replace=False))
            pool = np.setdiff1d(pool, held)
        size = min(trained, int(_MOST * pool.size)) if pool.size > 1 else trained
        return cls(cohort, pool, max(size, min(1, trained)), held)

    def chosen(self, number: int, seed: int) -> np.ndarray:
        """Return the patients of one training: of the attacked one (0), or a reference one.

        Three reference trainings after each other share one random order of the patients, and begin at thirds of it:
        nobody is in all three (as Carlini et al. 2022 balance theirs).
        """
        block, third = divmod(number - 1, LEAST_SHADOWS) if number else (-1, 0)
        order = stream(seed, "audit", "shadow patients", self.cohort.site, block).permutation(self.patients)
        return np.roll(order, -(third * order.size // LEAST_SHADOWS))[: self.size]

    def drawn(self, chosen: np.ndarray) -> SiteCohort:
        """Return the site's records with these patients to train on; validation patients stay, others are away."""
        cohort = self.cohort
        validation = cohort.split == SplitName.VALIDATION
        rows = np.flatnonzero(validation | np.isin(cohort.patient, chosen))
        return part_of(cohort, rows, np.where(validation[rows], SplitName.VALIDATION, SplitName.TRAIN))

    def asked(self, *, with_training: bool) -> SiteCohort:
        """Return the site's records with all of them to be asked about.

        Args:
            with_training: Put training records before them once more, where a site standardises by its own.
        """
        cohort = self.cohort
        before = cohort.where(SplitName.TRAIN) if with_training else np.zeros(0, dtype=np.int64)
        split = np.repeat(np.array([SplitName.TRAIN, SplitName.TEST]), (before.size, cohort.rows))
        return part_of(cohort, np.concatenate((before, np.arange(cohort.rows))), split)


def part_of(cohort: SiteCohort, rows: np.ndarray, split: np.ndarray) -> SiteCohort:
    """Return some rows of a cohort, in a given order, with another split.

    Args:
        cohort: A site's records.
        rows: Which, int64 ``(n,)``; a row may come twice.
        split: `SplitName` of each of them, ``(n,)``.
    """
    outcome = cohort.outcome
    return dataclasses.replace(
        cohort,
        table=cohort.table[rows],
        array=None if cohort.array is None else cohort.array[rows],
        outcome=dataclasses.replace(
            outcome, event=outcome.event[rows], time=None if outcome.time is None else outcome.time[rows]
        ),
        patient=cohort.patient[rows],
        split=split.astype(cohort.split.dtype),
    )


def as_training(cohort: SiteCohort, rows: np.ndarray) -> tuple[SiteCohort, np.ndarray]:
    """Return some records, and no others, as training records, and all their row numbers.

    So they are encoded as training records are (`sealround.audit.inversion.observing.victims`), whatever split they
    are in. Where a site standardises by its own records, it is by these.

    Args:
        cohort: A site's records.
        rows: Which, int64 ``(n,)``.
    """
    return part_of(cohort, rows, np.full(rows.size, SplitName.TRAIN)), np.arange(rows.size)


def nominal_seconds(study: Study, cohorts: Mapping[PartyId, SiteCohort], parameters: int) -> float:
    """Return about how long one training takes, from its sizes alone: the same on every machine.

    Args:
        study: The study.
        cohorts: Each site's records.
        parameters: Of its model.
    """
    training = study.training
    seen = 0.0
    for cohort in cohorts.values():
        rows = cohort.where(SplitName.TRAIN).size
        steps = training.local_steps
        seen += rows * (training.local_epochs or 1) if steps is None else steps * min(training.batch_size, rows)
    array = next(iter(cohorts.values())).array
    # A convolution uses each weight at many places of an image; pooling leaves about a sixteenth of them on average.
    places = 1.0 if array is None or array.ndim <= _VECTORS else max(1.0, float(np.prod(array.shape[1:3])) / 16.0)
    return study.study.rounds * (len(cohorts) * _REQUEST_S + 6.0 * seen * parameters * places / _FLOPS)


def shadows_within(budget_s: float, nominal_s: float) -> int:
    """Return how many reference trainings a budget is good for, 0 if it is too small for any comparison.

    Args:
        budget_s: For all of them and the attacked one.
        nominal_s: Of one, from `nominal_seconds`.
    """
    number = int(budget_s / nominal_s) - 1
    if number >= LEAST_SHADOWS:
        return min(number, MOST_SHADOWS)
    return LEAST_SHADOWS if nominal_s * (1 + LEAST_SHADOWS) <= 2.0 * budget_s else 0


def shadows(
    study: Study,
    cohorts: Mapping[PartyId, SiteCohort],
    seed: int,
    budget_s: float,
    clock: Callable[[], float],
) -> Shadows:
    """Train the model that is attacked, and as many reference models as the budget is good for.

    Args:
        study: The study; of a binary outcome.
        cohorts: Each site's records.
        seed: Who is in which training follows from it, and a private study's noise.
        budget_s: How many trainings there are follows from it by nominal costs; the clock ends what takes three times
            as long.
        clock: Tells the time, in seconds.

    Returns:
        Signals of every patient.

    Raises:
        UnsupportedError: If a model of this kind gives no record a probability, or its inputs are made at great cost.
        UsageError: If the budget is too small.
        SealroundError: As a training raises.
    """
    _check(study)
    began = clock()
    pools = {
        site: _Pool.of(cohorts[site], stream(seed, "audit", "shadow pool", site))
        for site in sorted(cohorts)
        if cohorts[site].where(SplitName.TRAIN).size
    }
    judge = _Judge(study, pools)
    reference = _variant(study, cohorts, pools)
    inside: list[np.ndarray] = []
    found: list[tuple[np.ndarray, np.ndarray]] = []
    wanted = 0
    while len(found) <= wanted:
        number = len(found)
        chosen = {site: pool.chosen(number, seed) for site, pool in pools.items()}
        model = _trained(reference, {site: pools[site].drawn(chosen[site]) for site in pools}, seed + number)
        inside.append(np.concatenate([np.isin(pools[site].patients, chosen[site]) for site in pools]))
        found.append(judge.signals(model))
        if not number:
            wanted = shadows_within(budget_s, nominal_seconds(study, cohorts, model.vector.size))
            if not wanted:
                raise UsageError(
                    "reference trainings take longer than there is time",
                    hint="give the audit a larger budget, or attack with fewer attacks",
                )
        if number >= LEAST_SHADOWS and clock() - began > _PATIENCE * budget_s:
            break
    signals, population = (np.stack(each) for each in zip(*found, strict=True))
    return Shadows(signals, np.stack(inside), population, wanted)


def _check(study: Study) -> None:
    if study.task != "binary":
        raise UnsupportedError("a model of times gives no record a probability of its own to compare models by")
    if isinstance(study.model, FrozenBackbone):
        raise UnsupportedError("features of a frozen backbone would be computed anew for each reference training")


def _variant(study: Study, cohorts: Mapping[PartyId, SiteCohort], pools: Mapping[PartyId, _Pool]) -> Study:
    """Return the study with open sums and nothing that does not change the model."""
    tree = study.model_dump(mode="json", exclude_none=True)
    tree["evaluation"] |= {"compare": [], "bootstrap": 100}
    tree["fairness"].pop("gate", None)
    if study.protection.sealed:
        tree["protection"]["secure_aggregation"] = {"mode": "none", "reason": "an audit plays the arithmetic of sums"}
    if isinstance(study.protection.privacy, DifferentialPrivacy):
        # As many patients fewer as are trained on: steps are as long, and noise hides one patient as well.
        trained = sum(np.unique(each.patient[each.where(SplitName.TRAIN)]).size for each in cohorts.values())
        part = sum(pool.size for pool in pools.values()) / max(trained, 1)
        privacy = tree["protection"]["privacy"]
        privacy["patients"] = max(1, round(privacy["patients"] * min(part, 1.0)))
    return Study.model_validate(tree, strict=False)


def _trained(study: Study, cohorts: Mapping[PartyId, SiteCohort], seed: int) -> TrainedModel:
    """Train once: coordinator and sites of this process, until there is a model to release."""
    roster = tuple(sorted(cohorts))
    plan = Plan(study, FEDERATED, roster, roster, None, declared_ranges(study))
    noise = SimulatedNoise.of(study, plan.round_size(len(roster)))
    if noise is not None:
        noise = dataclasses.replace(noise, seed=seed)
    host = Host(study, study_digest(study), cohorts, {}, noise=noise)
    coordinator = Coordinator(plan, initial_model(study))
    sends = collections.deque(coordinator.begin())
    while sends and coordinator.stage not in {Stage.EVALUATE, Stage.DONE}:
        send = sends.popleft()
        reply, _ = host.handle(FEDERATED, send.to, send.payload)
        sends.extend(coordinator.receive(send.to, reply))
    host.close()
    return coordinator.released


class _Judge:
    """Asks models about every patient, as whoever has the released model would."""

    def __init__(self, study: Study, pools: Mapping[PartyId, _Pool]) -> None:
        local = study.standardisation.kind == "local"
        self._pools = pools
        self._works = {site: TorchWork(study, pool.asked(with_training=local)) for site, pool in pools.items()}

    def signals(self, model: TrainedModel) -> tuple[np.ndarray, np.ndarray]:
        """Return the signals of all patients who are drawn from, and of those who are in no training."""
        order = EvaluateOrder("audit", model.vector, model.statistics, model.threshold)
        drawn, population = [], []
        for site, pool in self._pools.items():
            cohort = pool.cohort
            odds = log_odds(self._works[site].outputs(order), cohort.outcome.event)
            patients, place = np.unique(cohort.patient, return_inverse=True)
            mean = np.bincount(place, odds) / np.bincount(place)
            drawn.append(mean[np.searchsorted(patients, pool.patients)])
            population.append(mean[np.searchsorted(patients, pool.population)])
        return np.concatenate(drawn), np.concatenate(population)

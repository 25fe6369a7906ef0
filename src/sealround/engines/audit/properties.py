"""What share of a site's patients has a trait? Read off its update by an attacker who has patients of other sites.

The attacker plays the site's round, with the site's own code, on cohorts of its own records in which it sets the share,
and learns how updates follow it. It is judged on the site's update, and on cohorts of further records that stand for
other sites: one update alone would say little of how good the attack is.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.identity import cohort_with_share, count_sketch, judge_share
from sealround.clinical.cohort import SplitName
from sealround.clinical.groups import groups_of, memberships
from sealround.clinical.pooling import pool_cohorts
from sealround.engines.audit.findings import Figure, Outcome
from sealround.engines.audit.shadows import as_training, nominal_seconds
from sealround.errors import SealroundError, UsageError
from sealround.federation.interfaces import TrainOrder
from sealround.federation.plan import FEDERATED
from sealround.federation.randomness import stream
from sealround.learning import TorchWork
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.audit.identity import CountSketch, PropertyResult
    from sealround.clinical import SiteCohort
    from sealround.engines.audit.exposures import Exposure
    from sealround.federation.statistics import Statistics
    from sealround.study import Study

__all__ = ["Effort", "infer_property", "traits_of"]

_LEAST, _MOST = 12, 60
"""Cohorts to learn from: with fewer, nothing is tried; more tell little more."""

_JUDGED = 1.0 / 3.0
"""So many cohorts are judged on, for each that is learnt from."""

_SMALLEST = 4
_WIDEST = 1 << 14
_PATIENCE = 3.0


def traits_of(study: Study) -> tuple[str, ...]:
    """Return the traits whose share can be asked for: the outcome, then each level of each sensitive column."""
    return ("the outcome", *(f"{column} {level}" for column, level in _levels(study)))


def _levels(study: Study) -> list[tuple[str, str]]:
    return [group.terms[0] for group in groups_of(study) if len(group.terms) == 1]


def _having(study: Study, cohort: SiteCohort) -> np.ndarray:
    """Say who has which trait, bool ``(n, traits)``."""
    rows = np.arange(cohort.rows)
    levels = memberships(study, cohort, rows)[:, : len(_levels(study))]
    return np.concatenate([cohort.outcome.event[:, None] > 0, levels], axis=1)


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to try.

    Attributes:
        seed: Of every random choice.
        seconds: Part of the budget; how many cohorts are played follows from it by nominal costs.
        clock: Tells the time, in seconds; it ends what takes three times as long.
    """

    seed: int
    seconds: float
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True, eq=False)
class _Attack:
    """A round of the site, to be played on any records.

    Attributes:
        study: The study.
        statistics: What inputs are encoded with.
        exposure: The site's update.
        own: The site's records, for the judge.
        pool: The attacker's records.
        sketch: Of long updates.
    """

    study: Study
    statistics: Statistics
    exposure: Exposure
    own: SiteCohort
    pool: SiteCohort
    sketch: CountSketch | None

    def played(self, rows: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """Return the update that some of the attacker's records would give, blurred as the one seen."""
        chosen, _ = as_training(self.pool, np.sort(rows))
        # As the site itself: the order of batches follows from the study's seed and the site's name.
        cohort = dataclasses.replace(chosen, site=self.own.site)
        exposure = self.exposure
        order = TrainOrder(FEDERATED, RoundId(exposure.round), exposure.model, self.statistics)
        update = TorchWork(self.study, cohort).train(order).update
        return self.shown(update + exposure.blur * draw.standard_normal(update.size))

    def shown(self, update: np.ndarray) -> np.ndarray:
        """Return an update as it is compared, float64."""
        wide = update.astype(np.float64)
        return wide if self.sketch is None else self.sketch.apply(wide[None])[0]


def infer_property(
    study: Study,
    cohorts: Mapping[PartyId, SiteCohort],
    statistics: Statistics,
    exposure: Exposure,
    effort: Effort,
    trait: str | None = None,
) -> Outcome:
    """Read the share of a trait among a site's training records off its update.

    Args:
        study: The study.
        cohorts: Each site's records; those of sites that are not behind the update are the attacker's.
        statistics: What inputs are encoded with.
        exposure: One site's update.
        effort: How hard to try.
        trait: One of `traits_of`; ``None`` for the one that splits the attacker's records most evenly.

    Raises:
        UsageError: If there is no such trait.
    """
    began = effort.clock()
    if trait is not None and trait not in traits_of(study):
        raise UsageError(f"there is no trait {trait!r}", hint=f"traits are: {', '.join(traits_of(study))}")
    others = [cohorts[site] for site in sorted(cohorts) if site not in exposure.members]
    a_round = nominal_seconds(study, cohorts, exposure.model.size) / study.study.rounds / len(cohorts)
    number = min(_MOST, int(effort.seconds / a_round / (1.0 + _JUDGED)))
    why = None
    if exposure.site is None:
        why = "a sum is of several sites, and does not say whose patients have a trait"
    elif study.protection.private:
        why = "rounds with clipping and noise are not played; neither hides what many patients have in common"
    elif not others:
        why = "there is no other site whose records the attacker could have"
    elif number < _LEAST:
        why = f"{_LEAST} cohorts take longer to play than there is time"
    if why is not None or exposure.site is None:
        return Outcome(status="not applicable", why=why)
    length = exposure.model.size
    sketch = count_sketch(length, _WIDEST, stream(effort.seed, "audit", "sketch")) if length > _WIDEST else None
    pool = pool_cohorts(PartyId("attacker"), others)
    attack = _Attack(study, statistics, exposure, cohorts[exposure.site], pool, sketch)
    having = _having(study, attack.pool)
    shares = having.mean(axis=0)
    which = int(np.abs(shares - 0.5).argmin()) if trait is None else traits_of(study).index(trait)
    try:
        return dataclasses.replace(_inferred(attack, which, number, effort), seconds=effort.clock() - began)
    except SealroundError as error:
        return Outcome(status="failed", why=error.message, seconds=effort.clock() - began)


def _inferred(attack: _Attack, which: int, number: int, effort: Effort) -> Outcome:
    own = attack.own.where(SplitName.TRAIN)
    true = float(_having(attack.study, attack.own)[own, which].mean())
    having = _having(attack.study, attack.pool)[:, which]
    draw = stream(effort.seed, "audit", "property", which)
    # Nobody who is learnt from is judged on.
    patients = draw.permutation(np.unique(attack.pool.patient))
    learnt = np.isin(attack.pool.patient, patients[: len(patients) * 2 // 3])
    size = min(own.size, int(np.count_nonzero(~learnt)) // 2)
    if size < _SMALLEST:
        return Outcome(status="not applicable", why="other sites have too few records to play the site with")
    began = effort.clock()
    updates: list[list[np.ndarray]] = [[], []]
    shares: list[list[float]] = [[], []]
    for part, total in ((1, max(_SMALLEST, round(number * _JUDGED))), (0, number)):
        rows = np.flatnonzero(learnt if part == 0 else ~learnt)
        for share in _spread(having[rows], size, total, draw):
            chosen = rows[cohort_with_share(having[rows], share, size, draw)]
            updates[part].append(attack.played(chosen, draw))
            shares[part].append(float(having[chosen].mean()))
            if len(updates[0]) >= _LEAST and effort.clock() - began > _PATIENCE * effort.seconds:
                break
    shadows, targets = np.stack(updates[0]), np.array(shares[0])
    judged = np.stack([*updates[1], attack.shown(attack.exposure.update)])
    result = judge_share(shadows, targets, judged, np.array([*shares[1], true]), draw)
    return _outcome(attack, which, (result, targets, true), stopped=len(shadows) < number, size=size)


def _spread(has: np.ndarray, size: int, number: int, draw: np.random.Generator) -> np.ndarray:
    """Return shares, spread evenly in random order over all that cohorts of a size can have, ``(number,)``."""
    low, high = max(0, size - int(np.count_nonzero(~has))), min(size, int(np.count_nonzero(has)))
    return np.asarray(draw.permutation(np.rint(np.linspace(low, high, number))) / size)


def _outcome(
    attack: _Attack, which: int, found: tuple[PropertyResult, np.ndarray, float], *, stopped: bool, size: int
) -> Outcome:
    result, targets, true = found
    error, gain, trait = result.error, result.gain, traits_of(attack.study)[which]
    smaller = (
        "" if size >= attack.exposure.examples else f"; cohorts of {size}, the site has {attack.exposure.examples}"
    )
    return Outcome(
        status="stopped" if stopped else "done",
        granted=(
            ("other records", f"those of the other sites: {attack.pool.rows}, with their traits and outcomes"),
            ("training", "the study file: the site's round is played with its own code and order of batches"),
        ),
        patients=len(result.predicted),
        measures={"share_error": Figure(error.value, error.low, error.high, error.baseline)},
        worst={"share_error": abs(float(result.predicted[-1]) - true)},
        worst_baseline={"share_error": abs(float(targets.mean()) - true)},
        worst_patient=len(result.predicted),
        note=f"share with {trait!r}, learnt from {len(targets)} cohorts and judged on {len(result.predicted)} updates, "
        f"the last of which is the site's own; error smaller than a guess's by {gain.value:.3f} "
        f"({gain.low:.3f} to {gain.high:.3f}){smaller}",
    )

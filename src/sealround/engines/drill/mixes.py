"""How alike sites are in a drill: as the study has them, all alike, or with the outcome unequally common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical import Outcome, SiteCohort, SplitName, load_cohorts
from sealround.clinical.pooling import pool_cohorts
from sealround.clinical.sites import divide_patients
from sealround.errors import UsageError
from sealround.federation.randomness import stream
from sealround.study.sections import ColumnSites, DirichletSites, IidSites, Study
from sealround.study.words import nearest
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical import Places
    from sealround.vocabulary import Rows

__all__ = ["AS_IS", "Mix", "cohorts_of", "mix_of"]

AS_IS = "as-is"
"""The study's own sites."""

_DIRICHLET = "dirichlet-"
_POOL = PartyId("everybody")


@dataclass(frozen=True, slots=True)
class Mix:
    """One way to divide patients among sites.

    Attributes:
        key: Its word.
        alpha: Concentration of a Dirichlet draw; ``None`` for the others.
    """

    key: str
    alpha: float | None = None

    @property
    def title(self) -> str:
        """What reports call it."""
        if self.alpha is not None:
            return f"outcome unequally common (Dirichlet {self.alpha:g})"
        return "the study's own sites" if self.key == AS_IS else "patients at random"


def mix_of(word: str, study: Study) -> Mix:
    """Read one word of ``--heterogeneity``.

    Raises:
        UsageError: If it is none.
    """
    sites = study.cohort.sites
    if word == "iid":
        return Mix(AS_IS if isinstance(sites, IidSites) else word)
    if word == AS_IS:
        return Mix(word)
    try:
        alpha = float(word.removeprefix(_DIRICHLET)) if word.startswith(_DIRICHLET) else 0.0
    except ValueError:
        alpha = 0.0
    if not 0.0 < alpha < np.inf:
        near = nearest(word, (AS_IS, "iid", "dirichlet-0.1", "dirichlet-1.0"))
        hint = f"did you mean {near}?" if near else f"there are {AS_IS}, iid and dirichlet-ALPHA, such as dirichlet-0.1"
        raise UsageError(f"--heterogeneity: there is no {word!r}", hint=hint)
    if isinstance(sites, DirichletSites) and sites.alpha == alpha:
        return Mix(AS_IS)
    return Mix(f"{_DIRICHLET}{alpha:g}", alpha)


def cohorts_of(mix: Mix, study: Study, places: Places) -> dict[PartyId, SiteCohort]:
    """Load a study's records, divided among its sites in this way.

    Simulated sites are simulated anew. Real ones keep their number and names, and with ``iid`` their sizes; patients
    are dealt to them, whole and within train, validation and test.

    Args:
        mix: The way.
        study: The study; its seed decides who goes where.
        places: Where its files are.

    Raises:
        SealroundError: As `load_cohorts`.
    """
    own = study.cohort.sites
    if mix.key == AS_IS:
        return load_cohorts(study, places)
    if not isinstance(own, ColumnSites):
        number = own.number
        sites = (
            IidSites(kind="iid", number=number)
            if mix.alpha is None
            else DirichletSites(kind="dirichlet", number=number, alpha=mix.alpha)
        )
        cohort = study.cohort.model_copy(update={"sites": sites})
        return load_cohorts(study.model_copy(update={"cohort": cohort}), places)
    return _dealt(mix, study.study.seed, load_cohorts(study, places))


def _dealt(mix: Mix, seed: int, cohorts: Mapping[PartyId, SiteCohort]) -> dict[PartyId, SiteCohort]:
    """Deal the patients of real sites out again."""
    roster = sorted(cohorts)
    pool = pool_cohorts(_POOL, [cohorts[site] for site in roster])
    patients, first, member = np.unique(pool.patient, return_index=True, return_inverse=True)
    split = pool.split[first]
    if mix.alpha is None:
        home = np.repeat(np.arange(len(roster)), [np.unique(cohorts[site].patient).size for site in roster])
        draw = stream(seed, "drill", "iid")
        dealt = np.empty(patients.size, dtype=np.int64)
        for part in SplitName:
            within = np.flatnonzero(split == part)
            dealt[within] = home[within][draw.permutation(within.size)]
    else:
        rule = DirichletSites(kind="dirichlet", number=len(roster), alpha=mix.alpha)
        sick = np.zeros(patients.size, dtype=bool)
        np.logical_or.at(sick, member, pool.outcome.event > 0)
        dealt = divide_patients(rule, seed, sick, split == SplitName.TEST)
    return {site: _part(pool, site, np.flatnonzero(dealt[member] == number)) for number, site in enumerate(roster)}


def _part(pool: SiteCohort, site: PartyId, rows: Rows) -> SiteCohort:
    outcome = pool.outcome
    return dataclasses.replace(
        pool,
        site=site,
        table=pool.table[rows],
        array=None if pool.array is None else pool.array[rows],
        outcome=Outcome(outcome.event[rows], None if outcome.time is None else outcome.time[rows]),
        patient=np.unique(pool.patient[rows], return_inverse=True)[1].astype(np.int64),
        split=pool.split[rows],
    )

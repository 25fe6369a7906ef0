"""A whole study on this machine: the federation, and what it is compared with.

Three kinds of training run the same protocol on different rosters: ``federated`` on every site, ``alone-<site>`` on one
site each, ``pooled`` on one party that holds everybody's records. Each released model is tested at the sites.
"""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sealround.clinical.pooling import pool_cohorts
from sealround.clinical.roles import declared_ranges
from sealround.engines.budgets import SimulatedBudgets
from sealround.engines.in_process import Job, drive
from sealround.engines.noise import SimulatedNoise
from sealround.engines.parties import SimulatedParties
from sealround.engines.pools import Inline, Setup, Workers, spread
from sealround.errors import UsageError
from sealround.federation import Plan
from sealround.federation.plan import FEDERATED
from sealround.learning import device_name, initial_model
from sealround.secagg import SitePolicy
from sealround.storage import file_name
from sealround.study import study_digest
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealround.clinical.cohort import SiteCohort
    from sealround.engines.budgets import SiteLedger
    from sealround.engines.in_process import Progress
    from sealround.engines.pools import Place, Pool
    from sealround.federation.interfaces import Contender
    from sealround.storage import RunFolder
    from sealround.study import Study

__all__ = ["POOLED", "Simulation", "Trainings", "job_of_site"]

POOLED = PartyId("all-records")
"""The party that holds everybody's records in the pooled comparison."""

_WORTH_STARTING_WORKERS_S = 25.0
_MEASURED_ROUNDS = 4
_LONGEST_MEASUREMENT_S = 1.0


def job_of_site(site: PartyId) -> str:
    """Name of the training of one site alone."""
    return f"alone-{site}"


@dataclass(frozen=True, slots=True)
class Trainings:
    """Every training of a study, done.

    Attributes:
        federated: All sites.
        alone: One training for each site; empty where the study does not compare.
        pooled: All records in one place; ``None`` where the study does not compare.
        workers: Worker processes that were used, 0 for none.
    """

    federated: Job
    alone: Mapping[PartyId, Job]
    pooled: Job | None
    workers: int


class Simulation:
    """Runs one study in one run folder.

    Args:
        study: The study that is agreed on.
        cohorts: Each site's records.
        folder: Where to write; locked by the caller.
        workers: Worker processes; 0 computes in this process, ``None`` measures a few rounds and decides.
        local: The study as every site runs it (`apply_site`); ``None`` where that is no different.
        policy: The floors of every site for sealed sums; ``None`` for the usual ones.
        reference: The model that the gate compares with, where the study names one.
        ledger: Where every site keeps the books of its patients' privacy, where a site file says so.
    """

    def __init__(
        self,
        study: Study,
        cohorts: Mapping[PartyId, SiteCohort],
        folder: RunFolder,
        workers: int | None,
        local: Study | None = None,
        policy: SitePolicy | None = None,
        reference: Contender | None = None,
        ledger: SiteLedger | None = None,
    ) -> None:
        if POOLED in cohorts:
            raise UsageError(f"a site cannot be called {POOLED!r}", hint="rename it in the data or the study file")
        self._study = study
        self._local = study if local is None else local
        self._sites = tuple(sorted(cohorts))
        self._cohorts = dict(cohorts)
        self._folder = folder
        self._workers = workers
        self._reference = reference
        self._ranges = declared_ranges(study)
        everybody = Plan(study, FEDERATED, self._sites, self._sites).round_size(len(self._sites))
        self._noise = SimulatedNoise.of(study, everybody)
        if (noise := self._noise) is not None:
            budgets = SimulatedBudgets.draw(noise.digest, noise.terms, self._sites, folder.file("records"), ledger)
            self._noise = replace(noise, budgets=budgets)
        self._parties = None
        if study.protection.sealed:
            self._parties = SimulatedParties.draw(study, self._sites, policy or SitePolicy(), folder.file("records"))

    def run(self, observe: Callable[[Progress], None]) -> Trainings:
        """Run every training to its end, from wherever the journal says.

        Args:
            observe: Told of every step.
        """
        compare = self._study.evaluation.compare
        federated = self._job(FEDERATED, self._sites, self._sites)
        alone = {site: self._job(job_of_site(site), (site,), (site,)) for site in self._sites if "alone" in compare}
        pooled = self._job("pooled", (POOLED,), self._sites) if "pooled" in compare else None
        comparisons = [*alone.values(), *([pooled] if pooled else [])]
        if pooled and not pooled.done:
            self._cohorts[POOLED] = pool_cohorts(POOLED, [self._cohorts[site] for site in self._sites])
        workers = self._workers
        try:
            if workers is None:
                workers = self._measure(federated, observe)
            started = self._drive([federated], workers, observe)
        finally:
            federated.close()
        if self._noise is not None and self._noise.budgets is not None and federated.done:
            self._noise.budgets.settle(self._cohorts)
        started = max(started, self._drive(comparisons, workers, observe))
        return Trainings(federated, alone, pooled, started)

    def _job(self, name: str, roster: tuple[PartyId, ...], testers: tuple[PartyId, ...]) -> Job:
        comparison = name != FEDERATED
        plan = Plan(self._study, name, roster, testers, None if comparison else self._reference, self._ranges)
        return Job(
            plan=plan,
            initial_model=initial_model(self._study),
            journal=self._folder.journal(file_name(name)),
            every_round=not comparison,
            may_fail=comparison,
            parties=None if comparison else self._parties,
            updates=self._folder.updates() if plan.keeps_updates else None,
        )

    def _measure(self, federated: Job, observe: Callable[[Progress], None]) -> int:
        """Compute some rounds in this process, and return how many workers the rest is worth."""
        cores = min(len(os.sched_getaffinity(0)), len(self._sites))
        if federated.done or cores == 1 or device_name(self._study.model) != "cpu":
            return 0
        concluded: list[float] = []

        def measured() -> bool:
            concluded.append(time.monotonic())
            # The first round also warms up; of the others the fastest counts, whatever else the machine does.
            return len(concluded) == _MEASURED_ROUNDS or concluded[-1] - concluded[0] > _LONGEST_MEASUREMENT_S

        self._drive([federated], 0, observe, until=measured)
        if len(concluded) < 2:  # noqa: PLR2004  (a study of one round is over)
            return 0
        a_round = min(after - before for before, after in itertools.pairwise(concluded))
        trainings = 1 + len(self._study.evaluation.compare)
        ahead = a_round * (self._study.study.rounds * trainings - len(concluded))
        federated.rewind()
        return cores if ahead > _WORTH_STARTING_WORKERS_S else 0

    def _drive(
        self,
        jobs: Sequence[Job],
        workers: int,
        observe: Callable[[Progress], None],
        until: Callable[[], bool] = lambda: False,
    ) -> int:
        """Drive trainings, and return how many worker processes there were."""
        if all(job.done for job in jobs):
            return 0
        pool = self._pool(jobs, workers)
        try:
            drive(jobs, pool, observe, until=until)
        finally:
            pool.close()
        return pool.number

    def _pool(self, jobs: Sequence[Job], workers: int) -> Pool:
        snapshots = {(job.plan.job, party): kept for job in jobs for party, kept in job.snapshots.items()}
        setup = Setup(self._local, study_digest(self._study), self._cohorts, snapshots, self._parties, self._noise)
        if not workers:
            return Inline(setup)
        loads: list[tuple[Place, float]] = []
        for job in jobs:
            for party in {*job.plan.roster, *job.plan.testers}:
                # Testing a model is far cheaper than training it, and still not free.
                load = self._cohorts[party].rows * (1.0 if party in job.plan.roster else 0.01)
                loads.append(((job.plan.job, party), load))
        return Workers(setup, spread(loads, workers))

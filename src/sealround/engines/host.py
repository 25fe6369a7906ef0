"""The sites that live in one process: requests in, replies out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.federation import Site
from sealround.federation.plan import FEDERATED
from sealround.learning import TorchWork
from sealround.learning.private_steps import PrivateTorchWork
from sealround.storage import DurableRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.engines.noise import SimulatedNoise
    from sealround.engines.parties import SimulatedParties
    from sealround.federation.interfaces import LocalWork
    from sealround.storage import PrivacyBudget
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["Answer", "Host", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes for one party of one training."""

    job: str
    party: PartyId
    payload: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        job: As in the request.
        party: As in the request.
        payload: The reply, for the coordinator.
        snapshot: What the site must remember, for the journal.
    """

    job: str
    party: PartyId
    payload: bytes
    snapshot: bytes


class Host:
    """Keeps the sites of one process; a party's records are encoded once for all trainings it takes part in.

    Args:
        study: The study as the sites run it: at least as strict as the one that is agreed on.
        digest: Digest of the study that is agreed on (32 bytes).
        cohorts: Records of each party that lives here.
        snapshots: What sites remember from before, by training and party.
        parties: Everybody's keys, where the federation's sums are sealed.
        noise: What sites add to what leaves them, where the study is private.
    """

    def __init__(
        self,
        study: Study,
        digest: bytes,
        cohorts: Mapping[PartyId, SiteCohort],
        snapshots: Mapping[tuple[str, PartyId], bytes],
        parties: SimulatedParties | None = None,
        noise: SimulatedNoise | None = None,
    ) -> None:
        self._noise = noise
        self._parties = parties
        self._records: list[DurableRecord | PrivacyBudget] = []
        self._study = study
        self._digest = digest
        self._cohorts = cohorts
        self._snapshots = snapshots
        self._works: dict[PartyId, TorchWork] = {}
        self._sites: dict[tuple[str, PartyId], Site] = {}

    def handle(self, job: str, party: PartyId, payload: bytes) -> tuple[bytes, bytes]:
        """Return a site's reply and its snapshot after it."""
        site = self._sites.get((job, party))
        if site is None:
            site = self._sites[job, party] = self._make(job, party)
        reply = site.handle(payload)
        return reply, site.snapshot()

    def close(self) -> None:
        """Close the sites' records of rounds and of privacy; there are no more requests."""
        for record in self._records:
            record.close()

    def _make(self, job: str, party: PartyId) -> Site:
        work = self._works.get(party)
        if work is None:
            kind = TorchWork if self._noise is None else PrivateTorchWork
            work = self._works[party] = kind(self._study, self._cohorts[party])
        # Alone and pooled, nothing leaves the party: a comparison must not pay for what only sharing costs.
        minimum = self._study.standardisation.min_cell_count if job == FEDERATED else 1
        # Alone and pooled, one party holds all the records there are: there is nobody to hide them from.
        sealing = self._parties.site(party) if self._parties is not None and job == FEDERATED else None
        if sealing is not None and isinstance(sealing.record, DurableRecord):
            self._records.append(sealing.record)
        leaving: LocalWork = work
        if self._noise is not None and isinstance(work, PrivateTorchWork) and job == FEDERATED:
            budgets = self._noise.budgets
            budget = None if budgets is None else budgets.reserve(party, self._cohorts[party])
            self._records += [] if budget is None else [budget]
            leaving = self._noise.wrap(party, work, budget)
        site = Site(party, self._digest, leaving, minimum, sealing)
        snapshot = self._snapshots.get((job, party))
        if snapshot is not None:
            site.restore(snapshot)
        return site

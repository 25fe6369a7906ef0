"""Where simulated sites keep the books of what they spend of their patients' privacy.

A simulation's sites keep theirs in the run folder, for that run alone. A run with a site file that names a ledger keeps
them there, over all runs, as the site itself would.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround import wire
from sealround.errors import ConsistencyError, ServiceError
from sealround.storage import PrivacyBudget, PrivacyLimit, file_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sealround.clinical.cohort import SiteCohort
    from sealround.federation.private import PrivacyTerms
    from sealround.study import SiteFile
    from sealround.vocabulary import PartyId

__all__ = ["SimulatedBudgets", "SiteLedger"]


@dataclass(frozen=True, slots=True)
class SiteLedger:
    """A ledger that a site file names.

    Attributes:
        path: The file, in an existing folder.
        limit: What may be spent of each simulated site's records, over all studies.
        records: What these records are called.
    """

    path: Path
    limit: PrivacyLimit
    records: str

    @classmethod
    def of(cls, site: SiteFile | None, folder: Path | None) -> SiteLedger | None:
        """Read it from a site file; ``None`` where that names none.

        Args:
            site: What every simulated site insists on.
            folder: Where the file is, or was when the run was started.

        Raises:
            ConsistencyError: If it names one and nobody knows where.
        """
        if site is None or site.privacy is None:
            return None
        if folder is None:
            raise ConsistencyError("run.json does not say where the site file was", hint="start a new run")
        budget = site.privacy
        return cls(folder / budget.ledger, PrivacyLimit(budget.epsilon, budget.delta), budget.records)


@dataclass(frozen=True, slots=True)
class SimulatedBudgets:
    """The budgets of all simulated sites.

    Attributes:
        study: Digest of the study (32 bytes).
        terms: Of its privacy.
        files: Each site's own ledger, in the run folder.
        shared: The ledger of the site file, which takes their place.
    """

    study: bytes
    terms: PrivacyTerms
    files: Mapping[PartyId, Path]
    shared: SiteLedger | None = None

    @classmethod
    def draw(
        cls, study: bytes, terms: PrivacyTerms, sites: tuple[PartyId, ...], folder: Path, shared: SiteLedger | None
    ) -> SimulatedBudgets:
        """Name everybody's ledger; the folder for them is made when missing.

        Raises:
            ServiceError: If the folder cannot be made.
        """
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ServiceError(f"cannot make {folder}: {error.strerror}", hint="check permissions") from error
        names = file_names(sites)
        return cls(study, terms, {site: folder / f"{names[site]}.privacy" for site in sites}, shared)

    def reserve(self, party: PartyId, cohort: SiteCohort) -> PrivacyBudget:
        """Return a site's budget with the study's releases set aside; who asks closes it.

        Raises:
            PrivacyBudgetError: If they do not fit.
            ServiceError: If they cannot be written down.
        """
        budget = self._open(party, cohort)
        try:
            budget.reserve(self.study, self.terms.events)
        except BaseException:
            budget.close()
            raise
        return budget

    def settle(self, cohorts: Mapping[PartyId, SiteCohort]) -> None:
        """Give back what was set aside and not spent: the study's results have been given.

        Raises:
            ServiceError: If it cannot be written down.
        """
        for party in self.files:
            with self._open(party, cohorts[party]) as budget:
                budget.settle(self.study)

    def _open(self, party: PartyId, cohort: SiteCohort) -> PrivacyBudget:
        unit, shared = self.terms.options.unit, self.shared
        if shared is not None:
            # By name: another split or choice of columns is other bytes, and the same patients.
            data = wire.digest(["sealround records v1", shared.records, party])
            return PrivacyBudget(shared.path, data, unit, shared.limit)
        records = hashlib.sha256()
        cohort.hash_into(records)
        limit = PrivacyLimit(self.terms.options.epsilon, self.terms.options.delta)
        return PrivacyBudget(self.files[party], records.digest(), unit, limit)

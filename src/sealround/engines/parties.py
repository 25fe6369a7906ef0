"""The keys and machines of a simulation's sealed sums: what each party would hold at its own place.

A simulation's parties live on one computer, so their keys protect nobody. They are drawn anew at each start, and each
party keeps its record of rounds in a file of its own, so that the protocol runs as it would between hospitals.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from sealround.clinical.groups import groups_of
from sealround.crypto import Secret, SigningKey
from sealround.crypto.secret import SECRET_BYTES
from sealround.errors import ServiceError
from sealround.federation.group_thresholds import levels_with_threshold
from sealround.federation.sealing import AggregatorSealing, SealedPlan, Sealing, SiteSealing
from sealround.federation.weighing import Partition
from sealround.secagg import Identity, SitePolicy
from sealround.storage import DurableRecord, file_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sealround.crypto import VerifyingKey
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["SimulatedParties", "sealed_plan"]

_STEPS = 2**20
"""More steps than a training of 100,000 rounds takes."""


def sealed_plan(study: Study) -> SealedPlan:
    """Return how the sums of a study are sealed.

    Raises:
        StudyError: If its groups of patients are not declared.
        UsageError: If they are not sealed.
    """
    groups = groups_of(study)
    return SealedPlan(study, len(groups), Partition.of(groups).size, len(levels_with_threshold(study, groups)))


def _entropy() -> Secret:
    return Secret(os.urandom(SECRET_BYTES))


@dataclass(frozen=True, slots=True)
class SimulatedParties:
    """Everybody's identity keys and records in one simulation.

    Attributes:
        study: The study that is agreed on, its sums sealed.
        policy: The floors of every simulated site.
        seeds: The private key of each site and aggregator (32 bytes).
        records: Folder of each one's record of rounds.
    """

    study: Study
    policy: SitePolicy
    seeds: Mapping[PartyId, bytes] = field(repr=False)
    records: Path

    @classmethod
    def draw(cls, study: Study, sites: Iterable[PartyId], policy: SitePolicy, records: Path) -> SimulatedParties:
        """Draw fresh keys; the folder for records is made when missing.

        Raises:
            ServiceError: If the folder cannot be made.
            StudyError: If an aggregator is called like a site.
        """
        plan, roster = sealed_plan(study), tuple(sites)
        plan.check_names(roster)
        try:
            records.mkdir(exist_ok=True)
        except OSError as error:
            raise ServiceError(f"cannot make {records}: {error.strerror}", hint="check permissions") from error
        seeds = {party: os.urandom(SECRET_BYTES) for party in sorted({*roster, *plan.aggregators})}
        return cls(study, policy, seeds, records)

    @property
    def keys(self) -> Mapping[PartyId, VerifyingKey]:
        """Everybody's public key."""
        return _public_keys(tuple(self.seeds.items()))

    def coordinator(self) -> Sealing:
        """Return what the coordinator needs; its sums are numbered above all of an earlier start."""
        return Sealing(sealed_plan(self.study), self.keys, first_round=time.time_ns() // 10**6 * _STEPS)

    def site(self, party: PartyId) -> SiteSealing:
        """Return what a site needs; who asks closes its record."""
        return SiteSealing(sealed_plan(self.study), self._identity(party), self.policy, self._record(party), _entropy)

    def aggregators(self) -> dict[PartyId, AggregatorSealing]:
        """Return what each aggregator needs, none in the pairwise mode; who asks closes their records."""
        plan = sealed_plan(self.study)
        return {
            party: AggregatorSealing(plan, self._identity(party), self.policy, self._record(party), _entropy)
            for party in plan.aggregators
        }

    def _record(self, party: PartyId) -> DurableRecord:
        return DurableRecord(self.records / f"{file_names(self.seeds)[party]}.rounds")

    def _identity(self, party: PartyId) -> Identity:
        return Identity(party, SigningKey(Secret(self.seeds[party])), self.keys)


@lru_cache(maxsize=1)
def _public_keys(seeds: tuple[tuple[PartyId, bytes], ...]) -> Mapping[PartyId, VerifyingKey]:
    """Compute them once in a process, not once for each party in it."""
    return {party: SigningKey(Secret(seed)).verifying_key for party, seed in seeds}

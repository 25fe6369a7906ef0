"""What a site insists on, whatever the coordinator asks: floors, a round counter that only rises, and past rosters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sealround.errors import PolicyDeniedError

if TYPE_CHECKING:
    from sealround.secagg.manifest import RoundManifest
    from sealround.vocabulary import PartyId, RoundId

__all__ = ["RoundRecord", "SitePolicy", "VolatileRecord"]


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """One site's floors.

    Attributes:
        n_min: Fewest sites in a sum this site is part of.
        threshold: Fewest sites that must be there in each phase.
        min_degree: Fewest neighbours in a k-regular graph; None accepts the complete graph only. The coordinator picks
            the graph's seed, so that with a k-regular graph one who colludes with sites can seat them around a victim.
        roster_step: Fewest sites by which two rosters of one session may differ, unless they are equal.
    """

    n_min: int = 3
    threshold: int = 3
    min_degree: int | None = None
    roster_step: int = 3

    def refusals(self, manifest: RoundManifest) -> tuple[str, ...]:
        """Every floor the manifest is below, a line each."""
        complete = manifest.degree == len(manifest.roster) - 1
        found = []
        if manifest.n_min < self.n_min:
            found.append(f"a sum of {manifest.n_min} sites may be opened, the site's floor is {self.n_min}")
        if manifest.threshold < self.threshold:
            found.append(f"the threshold is {manifest.threshold}, the site's floor is {self.threshold}")
        if not complete and self.min_degree is None:
            found.append("the site accepts the complete graph only")
        if not complete and self.min_degree is not None and manifest.degree < self.min_degree:
            found.append(f"{manifest.degree} neighbours, the site's floor is {self.min_degree}")
        return tuple(found)


class RoundRecord(Protocol):
    """A site's lasting memory of the rounds it took part in."""

    def last_round(self, federation: str, session: bytes) -> RoundId | None:
        """Return the last round that was entered, None if there was none."""

    def rosters(self, federation: str, session: bytes) -> tuple[frozenset[PartyId], ...]:
        """Return every roster of the session so far."""

    def enter(self, manifest: RoundManifest) -> None:
        """Write down that this round is entered; returns when it would survive a power failure."""


@dataclass(slots=True)
class VolatileRecord:
    """A record in memory, for simulations and tests: it does not survive a restart, so no deployment may use it."""

    _rounds: dict[tuple[str, bytes], RoundId] = field(default_factory=dict)
    _rosters: dict[tuple[str, bytes], tuple[frozenset[PartyId], ...]] = field(default_factory=dict)

    def last_round(self, federation: str, session: bytes) -> RoundId | None:
        """Return the last round that was entered, None if there was none."""
        return self._rounds.get((federation, session))

    def rosters(self, federation: str, session: bytes) -> tuple[frozenset[PartyId], ...]:
        """Return every roster of the session so far."""
        return self._rosters.get((federation, session), ())

    def enter(self, manifest: RoundManifest) -> None:
        """Write down that this round is entered."""
        place = (manifest.federation, manifest.session)
        self._rounds[place] = manifest.round
        self._rosters[place] = (*self.rosters(*place), frozenset(manifest.sites))


def admit(manifest: RoundManifest, site: PartyId, policy: SitePolicy, record: RoundRecord) -> None:
    """Check a round against the site's floors and its past, then write it down.

    Raises:
        PolicyDeniedError: If a rule says no; nothing was written.
    """
    place = (manifest.federation, manifest.session)
    refusals = list(policy.refusals(manifest))
    last, roster = record.last_round(*place), frozenset(manifest.sites)
    if last is not None and manifest.round <= last:
        refusals.append(f"round {manifest.round} after round {last}: a round is entered once")
    steps = {len(roster ^ past) for past in record.rosters(*place)} - {0}
    if steps and min(steps) < policy.roster_step:
        refusals.append(f"the roster differs from a past one by {min(steps)}, the site's floor is {policy.roster_step}")
    if refusals:
        raise PolicyDeniedError(
            f"{site} does not take part in round {manifest.round}",
            tuple(refusals),
            hint="the coordinator must plan the round within the site's rules",
        )
    record.enter(manifest)

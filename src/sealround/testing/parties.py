"""Everybody of one sealed training, with keys made up from their number: for tests and audits of the whole path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sealround.crypto import Secret, SigningKey
from sealround.federation import Coordinator, Plan, Site
from sealround.federation.aggregator import AggregatorParty
from sealround.federation.plan import FEDERATED
from sealround.federation.sealing import AggregatorSealing, SealedPlan, Sealing, SiteSealing
from sealround.secagg import Identity, SitePolicy, VolatileRecord
from sealround.study import study_digest
from sealround.testing.network import Network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.federation.interfaces import LocalWork, ModelFactory
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["sealed_training"]

_FIRST_ROUND = 2**60


def sealed_training(
    study: Study,
    works: Mapping[PartyId, LocalWork],
    initial_model: ModelFactory,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[Coordinator, Network]:
    """Return the coordinator of a sealed training and the network that runs it.

    Args:
        study: With ``protection.secure_aggregation`` switched on.
        works: What each site computes, by ascending name.
        initial_model: Makes the first model.
        ranges: As of `sealround.federation.Plan`.
    """
    plan, roster = SealedPlan(study), tuple(works)
    parties = (*roster, *plan.aggregators)
    signing = {party: SigningKey(Secret(number.to_bytes(32, "big"))) for number, party in enumerate(parties, start=1)}
    keys = {party: key.verifying_key for party, key in signing.items()}
    drawn = iter(range(1, 2**32))

    def entropy() -> Secret:
        return Secret(next(drawn).to_bytes(32, "little"))

    def identity(party: PartyId) -> Identity:
        return Identity(party, signing[party], keys)

    training = Plan(study, FEDERATED, roster, roster, ranges=ranges or {})
    coordinator = Coordinator(training, initial_model, Sealing(plan, keys, first_round=_FIRST_ROUND))
    sealing = {party: SiteSealing(plan, identity(party), SitePolicy(), VolatileRecord(), entropy) for party in roster}
    sites = {party: Site(party, study_digest(study), work, 5, sealing[party]) for party, work in works.items()}
    aggregators = {
        party: AggregatorParty(AggregatorSealing(plan, identity(party), SitePolicy(), VolatileRecord(), entropy))
        for party in plan.aggregators
    }
    everybody: dict[PartyId, Any] = {**sites, **aggregators}
    return coordinator, Network(coordinator, everybody)

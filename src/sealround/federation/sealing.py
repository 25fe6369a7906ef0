"""What sealed sums are made of, derived from the study alone: each party derives it, and holds the others to it.

A stage of a training that sums (counts, squared distances, updates, tallies, test results) is, in a sealed study, one
round of secure aggregation. What the coordinator writes into that round's manifest is checked by every site against the
same derivation, so the study's digest, which all agreed to, decides how sums are hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sealround.crypto import Secret
from sealround.errors import PolicyDeniedError, Problem, StudyError, UsageError
from sealround.federation.group_thresholds import histograms_size
from sealround.federation.private.terms import SCALE_BITS, PrivacyTerms
from sealround.federation.randomness import stream
from sealround.federation.scores import scores_size
from sealround.federation.tally import size as tally_size
from sealround.federation.weighing import tail_size
from sealround.secagg import FixedPoint, PairwiseTerms, ReplicatedTerms, RoundManifest, quorum
from sealround.secagg.graph import Degree, choose_degree
from sealround.secagg.pairwise import PairwiseServer, PairwiseSite
from sealround.secagg.replicated import Aggregator, ReplicatedServer, ReplicatedSite
from sealround.study import study_digest
from sealround.study.sealed_sums import finest_scale, ring_bits, unfit
from sealround.study.sections import NoSecureAggregation, PairwiseAggregation, ReplicatedAggregation
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sealround.crypto import VerifyingKey
    from sealround.secagg import Expected, Identity, RoundRecord, SitePolicy, SumServer, SumSite
    from sealround.study import Study
    from sealround.wire import Value

__all__ = ["AggregatorSealing", "Form", "SealedPlan", "Sealing", "SiteSealing"]

_DEADLINE_S = 3600
_PATH = "protection.secure_aggregation"


@dataclass(frozen=True, slots=True)
class Form:
    """What one summing stage's vector looks like.

    Attributes:
        parts: Length of each stretch of coordinates.
        numbers: Exact numbers.
    """

    parts: tuple[int, ...]
    numbers: int

    @property
    def coordinates(self) -> int:
        """Length of all stretches together."""
        return sum(self.parts)


@dataclass(frozen=True, slots=True)
class SealedPlan:
    """How the sums of one study over a number of sites are sealed.

    Args:
        study: With ``protection.secure_aggregation`` switched on.
        groups: How many groups of patients its test results tell apart; everybody derives them from the study.
        combinations: How many combinations of levels these groups make (`sealround.federation.weighing`); likewise.
        levels: How many of them have a threshold of their own (`sealround.federation.group_thresholds`); likewise.

    Raises:
        UsageError: If it is switched off.
    """

    study: Study
    groups: int = 0
    combinations: int = 0
    levels: int = 0

    def __post_init__(self) -> None:
        """Refuse an open study."""
        if isinstance(self.study.protection.secure_aggregation, NoSecureAggregation):
            raise UsageError("the study's sums are not sealed")

    @property
    def options(self) -> PairwiseAggregation | ReplicatedAggregation:
        """The study's section."""
        options = self.study.protection.secure_aggregation
        if isinstance(options, NoSecureAggregation):
            raise UsageError("the study's sums are not sealed")
        return options

    @property
    def aggregators(self) -> tuple[PartyId, ...]:
        """The parties that add up shares; none in the pairwise mode."""
        options = self.options
        return tuple(map(PartyId, options.aggregators)) if isinstance(options, ReplicatedAggregation) else ()

    @property
    def ring_bits(self) -> int:
        """Bits of a coordinate."""
        return ring_bits(self.options)

    @property
    def trained_tally(self) -> int:
        """Numbers of the tally of one site's round."""
        return tally_size(self.study.task) + tail_size(self.study, self.combinations)

    @property
    def validated_tally(self) -> int:
        """Numbers of one site's validation."""
        return tally_size(self.study.task) + histograms_size(self.levels)

    @property
    def scores(self) -> int:
        """Numbers of one site's test result."""
        return scores_size(self.study.task, self.study.evaluation.bootstrap, self.groups)

    def n_min(self, sites: int) -> int:
        """Return the fewest sites whose sum is opened in a round of so many: all, unless the study says less."""
        return self.options.n_min or sites

    def check(self, sites: int) -> FixedPoint:
        """Return how updates of so many sites are written.

        Args:
            sites: Size of the roster of a round.

        Raises:
            StudyError: If they are too few, or their sum could overflow; it says which number to change.
        """
        options = self.options
        problems = tuple(Problem(f"{_PATH}.{key}", why) for key, why in unfit(options, sites))
        if problems:
            raise self._unsealable(problems)
        privacy = PrivacyTerms.of(self.study, sites)
        if privacy is not None and privacy.options.trust == "sealed":
            # Integers with their noise: nothing is cut or rounded, or the sum would no longer be one of both.
            return FixedPoint(SCALE_BITS, (privacy.largest + 1) / 2.0**SCALE_BITS, None, sites, self.ring_bits)
        scale = (
            finest_scale(sites, options.max_abs, self.ring_bits) if options.scale_bits is None else options.scale_bits
        )
        assert scale is not None  # noqa: S101  (for the type checker: `unfit` would have said so)
        return FixedPoint(scale, options.max_abs, options.clip_norm, parties=sites, ring_bits=self.ring_bits)

    def check_names(self, sites: Iterable[PartyId]) -> None:
        """Raise unless each party has a name of its own.

        Raises:
            StudyError: If an aggregator is called like a site.
        """
        if taken := sorted({*sites} & {*self.aggregators}):
            why = f"{taken[0]} is a site, and an aggregator is another institution; rename it"
            raise self._unsealable((Problem(f"{_PATH}.aggregators", why),))

    def _unsealable(self, problems: tuple[Problem, ...]) -> StudyError:
        return StudyError(f"{self.study.study.name}: sums cannot be sealed", problems)

    def describe(self, sites: int) -> dict[str, Value]:
        """Return how a round of so many sites is sealed, as a report states it."""
        options, fixed, threshold = self.options, self.check(sites), None
        if isinstance(options, PairwiseAggregation):
            threshold = max(quorum(sites), self.n_min(sites))
        return {
            "mode": options.mode,
            "n_min": self.n_min(sites),
            "threshold": threshold,
            "aggregators": list(self.aggregators),
            "ring_bits": fixed.ring_bits,
            "scale_bits": fixed.scale_bits,
            "max_abs": fixed.linf_clip,
            "clip_norm": fixed.l2_clip_norm,
            "in_clear": list(_in_clear(self.study, groups=self.groups)),
        }

    def terms(self, sites: int, keys: Mapping[PartyId, VerifyingKey]) -> PairwiseTerms | ReplicatedTerms:
        """Return what the mode adds to a round's manifest."""
        options = self.options
        if isinstance(options, ReplicatedAggregation):
            return ReplicatedTerms(tuple((name, keys[name].fingerprint) for name in self.aggregators))
        graph = _graph(sites)
        return PairwiseTerms(quorum(sites), graph.share_threshold, graph.degree)


def _in_clear(study: Study, *, groups: int) -> tuple[str, ...]:
    """Say what the coordinator still sees in clear, in a report's words."""
    site = study.cohort.site_term
    by_group = ", each by group of patients" if groups else ""
    if study.fairness.training != "plain":
        by_group += "; each round's losses and numbers of training patients by group and outcome"
    return (
        f"which {site}s take part, drop out or diverge, and when",
        f"the names of inputs, and of the levels of categorical ones that enough of a {site}'s patients have",
        "the sizes and times of messages",
        f"every sum: counts and spread of the inputs, mean updates, histograms of predictions, test results{by_group}",
    )


@lru_cache
def _graph(sites: int) -> Degree:
    """Return whose masks a site's vector carries: safe while fewer than a third collude, and a tenth may drop out."""
    return choose_degree(sites, corrupt=(sites - 1) // 3, dropped=min(sites // 10, sites - quorum(sites)))


@dataclass(frozen=True, slots=True)
class Sealing:
    """What a coordinator needs to run sealed sums.

    Attributes:
        plan: Of the study.
        keys: The identity keys of all sites and aggregators, agreed on outside the protocol.
        first_round: What its sums are numbered from. It must be above every number used before, also after a restart:
            milliseconds since 1970, times 2^20, is.
    """

    plan: SealedPlan
    keys: Mapping[PartyId, VerifyingKey]
    first_round: int

    def server(self, manifest: RoundManifest) -> SumServer:
        """Return the coordinator's machine for one round."""
        if isinstance(manifest.terms, ReplicatedTerms):
            return ReplicatedServer(manifest, self.keys)
        return PairwiseServer(manifest, self.keys)

    def manifest(
        self, *, session: bytes, step: int, order_hash: bytes, roster: tuple[PartyId, ...], form: Form, weight_cap: int
    ) -> RoundManifest:
        """Write the manifest of one stage's round.

        Args:
            session: Which training (32 bytes).
            step: Which step of it, counted from 1.
            order_hash: Of the request that the sum answers: `sealround.federation.contributions.order_hash`.
            roster: Whom it is sent to, ascending.
            form: Of the vector.
            weight_cap: Largest weight of an update.

        Raises:
            StudyError: If the sum of so many sites cannot be sealed.
        """
        fixed = self.plan.check(len(roster))
        return RoundManifest(
            federation=self.plan.study.study.name,
            session=session,
            round=RoundId(self.first_round + step),
            order_hash=order_hash,
            plan_hash=study_digest(self.plan.study),
            roster=tuple((site, self.keys[site].fingerprint) for site in roster),
            coordinates=form.coordinates,
            numbers=form.numbers,
            n_min=self.plan.n_min(len(roster)),
            scale_bits=fixed.scale_bits,
            linf_clip=fixed.linf_clip,
            l2_clip_norm=fixed.l2_clip_norm or 0.0,
            weight_cap=weight_cap,
            deadline_s=_DEADLINE_S,
            terms=self.plan.terms(len(roster), self.keys),
        )


@dataclass(frozen=True, slots=True)
class SiteSealing:
    """What a site needs to take part in sealed sums.

    Attributes:
        plan: Of the study it agreed to.
        identity: Who it is and whom it knows.
        policy: Its floors.
        record: Its lasting memory of rounds.
        entropy: Returns 32 fresh bytes of the operating system's generator at each call.
    """

    plan: SealedPlan
    identity: Identity
    policy: SitePolicy
    record: RoundRecord
    entropy: Callable[[], Secret]

    def machine(self, expected: Expected) -> SumSite:
        """Return this site's machine for one round."""
        if isinstance(self.plan.options, ReplicatedAggregation):
            return ReplicatedSite(self.identity, expected, self.policy, self.record, self.entropy())
        return PairwiseSite(self.identity, expected, self.policy, self.record, self.entropy())

    def check(self, manifest: RoundManifest) -> None:
        """Raise unless a round is sealed as the study says.

        Raises:
            PolicyDeniedError: If it is not.
        """
        fixed = self.plan.check(len(manifest.roster))
        same = {
            # A site remembers rounds by federation and session: under another name it would forget them.
            "federation": manifest.federation == self.plan.study.study.name,
            "n_min": manifest.n_min == self.plan.n_min(len(manifest.roster)),
            "scale_bits": manifest.scale_bits == fixed.scale_bits,
            "max_abs": manifest.linf_clip == fixed.linf_clip,
            "clip_norm": manifest.l2_clip_norm == (fixed.l2_clip_norm or 0.0),
            "mode": manifest.terms == self.plan.terms(len(manifest.roster), self.identity.registry),
        }
        if wrong := tuple(f"{name} is not what the study gives" for name, holds in same.items() if not holds):
            raise PolicyDeniedError(f"{self.identity.party} does not take part in round {manifest.round}", wrong)

    def rounding(self, job: str, step: int) -> Secret:
        """Return what rounds this site's contribution to one step: of the study's seed, so that a run can be repeated.

        The bits need not be secret: masks hide the rounded numbers, and the sum tells no more with them than without.
        """
        draw = stream(self.plan.study.study.seed, "rounding", job, self.identity.party, step)
        return Secret(draw.bytes(32))


@dataclass(frozen=True, slots=True)
class AggregatorSealing:
    """What an aggregator needs.

    Attributes:
        plan: Of the study that it agreed to serve.
        identity: Who it is and whom it knows.
        policy: Its floors.
        record: Its lasting memory of rounds.
        entropy: As of a site.
    """

    plan: SealedPlan
    identity: Identity
    policy: SitePolicy
    record: RoundRecord
    entropy: Callable[[], Secret]

    def machine(self) -> Aggregator:
        """Return its machine for one round."""
        study = study_digest(self.plan.study)
        return Aggregator(self.identity, self.policy, self.record, self.entropy(), plan_hash=study)

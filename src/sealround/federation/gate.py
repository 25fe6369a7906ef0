"""The gate: what was compared, what follows from it, and whom it is traced to. Pure functions of counts.

A *look* is one comparison of a candidate with the reference. If it fails in an open study, each site's *influence* is
asked about: the same comparison of the candidate with what the updates would have given without that site.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from sealround.fairness.cells import COMPARED
from sealround.fairness.comparison import GateRules, Metric, assess
from sealround.federation.groups import EVERYBODY

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sealround.fairness.comparison import Assessment
    from sealround.federation.groups import Group
    from sealround.federation.records import TrainedModel
    from sealround.study import Study
    from sealround.vocabulary import PartyId, RoundId, Tally
    from sealround.wire import Value

__all__ = ["Gate", "Influence", "Look", "Outcome", "Pair", "decide", "influences", "rules_of", "traced"]

Outcome: TypeAlias = Literal["open", "released", "withheld"]

_SMALL_PART = 0.25

Pair: TypeAlias = tuple[str, Metric]
"""A group's name and a metric."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One candidate, compared.

    Attributes:
        round: Which round's model it is.
        without: Sites that the rounds were trained without because harm was traced to them.
        counts: Candidate against reference, summed over sites: float64 ``(1 + groups, COMPARED)``, flat.
        influence: Candidate against the same without one site, for each that was looked into: summed over the *other*
            sites, for nobody is a witness in his own cause.
        traced: Whom the harm was traced to.
        untraced: Why nobody was looked into; else empty.
    """

    round: RoundId
    without: tuple[PartyId, ...]
    counts: Tally
    influence: Mapping[PartyId, Tally] = field(default_factory=dict)
    traced: tuple[PartyId, ...] = ()
    untraced: str = ""

    def to_wire(self) -> dict[str, Value]:
        """Return a tree fit for `sealround.wire`."""
        return {
            "round": self.round,
            "without": list(self.without),
            "counts": self.counts,
            "influence": {site: self.influence[site] for site in sorted(self.influence)},
            "traced": list(self.traced),
            "untraced": self.untraced,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """The gate as far as it has come.

    Attributes:
        candidate: The model that waits for a decision, or was withheld; ``None`` while rounds are trained again, and
            once one is released.
        looks: Concluded looks; the last one may still be looked into.
        ahead: Sites whose influence is still to be asked about.
        asked: How many requests were concluded.
        outcome: Of all.
    """

    candidate: TrainedModel | None = None
    looks: tuple[Look, ...] = ()
    ahead: tuple[PartyId, ...] = ()
    asked: int = 0
    outcome: Outcome = "open"

    @property
    def without(self) -> tuple[PartyId, ...]:
        """Every site that harm was traced to and that the rounds were trained again without."""
        return () if not self.looks else tuple(sorted({*self.looks[-1].without, *self.looks[-1].traced}))

    def with_influence(self, found: Mapping[PartyId, Tally]) -> Gate:
        """Return the gate that knows these sites' influence, too."""
        *earlier, last = self.looks
        last = replace(last, influence={**last.influence, **found})
        ahead = tuple(site for site in self.ahead if site not in found)
        return replace(self, looks=(*earlier, last), ahead=ahead)


@dataclass(frozen=True, slots=True)
class Influence:
    """What one site's updates did to one group.

    Attributes:
        site: Whose.
        found: The candidate's metric, that without the site (as ``reference``), and their difference (as ``rise``) with
            a one-sided lower bound.
    """

    site: PartyId
    found: Assessment


def rules_of(study: Study) -> GateRules:
    """Return what a study's gate tests, and what counts as found."""
    gate, fairness = study.fairness.gate, study.fairness
    if gate is None:
        return GateRules(min_group=fairness.min_group)
    return GateRules(
        metrics=gate.metrics,
        tolerance=gate.tolerance,
        confidence=gate.confidence,
        min_group=fairness.min_group,
        largest_undetected=gate.largest_undetected,
    )


def _rows(counts: Tally, groups: Sequence[Group]) -> np.ndarray:
    return np.asarray(counts).reshape(1 + len(groups), COMPARED)


def decide(
    study: Study, groups: Sequence[Group], looks: Sequence[Look]
) -> tuple[tuple[Assessment, ...], tuple[Pair, ...]]:
    """Assess every group and metric of the last of some looks, and say what the model does not pass.

    What an earlier candidate failed in is no longer one hypothesis among many: it is tested by itself, at the full
    level, which is stricter, and has to be assessable. So looking again gives no second chance.

    Args:
        study: The study.
        groups: Its groups.
        looks: At least one, in order.

    Returns:
        An assessment for everybody and each group, by metric; and the groups and metrics that fail, the clearest first.
    """
    rules, names = rules_of(study), [EVERYBODY, *(group.name for group in groups)]
    found: list[Assessment] = []
    failed: tuple[Pair, ...] = ()
    before: set[Pair] = set()
    for look in looks:
        rows = _rows(look.counts, groups)
        found = list(assess(rows, names, rules))
        for place, entry in enumerate(found):
            if (entry.group, entry.metric) in before:
                alone = replace(rules, metrics=(entry.metric,))
                (found[place],) = assess(rows[[names.index(entry.group)]], [entry.group], alone)
        failed = _failing(study, found, before)
        before |= {*failed}
    return tuple(found), failed


def _failing(study: Study, found: Sequence[Assessment], before: Collection[Pair]) -> tuple[Pair, ...]:
    gate = study.fairness.gate
    strict = gate is not None and gate.unassessable == "withhold"
    failed = [
        entry
        for entry in found
        if entry.verdict == "worse"
        or (entry.verdict == "not assessable" and (strict or (entry.group, entry.metric) in before))
    ]
    failed.sort(key=lambda entry: (entry.verdict != "worse", 1.0 if entry.p_value is None else entry.p_value))
    return tuple((entry.group, entry.metric) for entry in failed)


def influences(study: Study, groups: Sequence[Group], look: Look, pair: Pair) -> tuple[Influence, ...]:
    """Return each site's influence on one group and metric, the most harmful first."""
    group, metric = pair
    row = [EVERYBODY, *(known.name for known in groups)].index(group)
    # One site's influence is one question: no Holm, and no least number of patients for what is not shown as a verdict.
    alone = replace(rules_of(study), metrics=(metric,), tolerance=0.0, min_group=1, min_sites=1, largest_undetected=1.0)
    found = [
        Influence(site, assess(_rows(counts, groups)[[row]], [group], alone)[0])
        for site, counts in sorted(look.influence.items())
    ]
    found.sort(key=lambda entry: (-(entry.found.rise or 0.0), entry.site))
    return tuple(found)


def traced(found: Sequence[Influence], most: int) -> tuple[PartyId, ...]:
    """Say whom harm is traced to: everyone without whom the group fares better, but for small parts.

    The sign is what tells. Honest updates answer to harmful ones and pull against them, so without an honest site the
    group fares worse, in what is aggregated again even more so; chance may hide a part, and hardly turns it round. A
    part of less than a quarter of the largest is left to a next look, which comes if the group is still worse off.

    Args:
        found: `influences` on the group that is clearest worse off.
        most: How many at the most, the most harmful first.
    """
    parts = {entry.site: entry.found.rise or 0.0 for entry in found}
    least = _SMALL_PART * max(parts.values(), default=0.0)
    return tuple(site for site, part in parts.items() if part > 0.0 and part >= least)[:most]

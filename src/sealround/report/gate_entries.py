"""What the evidence says of the gate, checked: looks, findings, and whom harm was traced to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from sealround.errors import ConsistencyError
from sealround.report.entries import only

if TYPE_CHECKING:
    from collections.abc import Collection

    from sealround.report.nodes import Node

__all__ = ["Attribution", "Finding", "GateFacts", "LookFacts", "SiteInfluence", "check_gate_facts", "read_gate"]

Metric: TypeAlias = Literal["fnr", "fpr", "calibration"]
Verdict: TypeAlias = Literal["worse", "not worse", "not assessable"]

_METRICS = ("fnr", "fpr", "calibration")
_KEYS = frozenset(
    {
        "reference", "metrics", "tolerance", "confidence", "min_group", "min_sites", "largest_undetected",
        "unassessable", "on_failure", "outcome", "without", "looks",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One group and metric of one look; ``None`` where it is not known."""

    group: str
    metric: Metric
    hospitals: int
    patients: int
    n: int
    candidate: float | None
    reference: float | None
    rise: float | None
    low: float | None
    p: float | None
    detectable: float | None
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class SiteInfluence:
    """The metric of one group with and without one site's updates, and whether harm was traced to the site."""

    site: str
    n: int
    with_it: float | None
    without_it: float | None
    rise: float | None
    low: float | None
    traced: bool


@dataclass(frozen=True, slots=True)
class Attribution:
    """Every site's influence on one group and metric, the most harmful first."""

    group: str
    metric: Metric
    sites: tuple[SiteInfluence, ...]


@dataclass(frozen=True, slots=True)
class LookFacts:
    """One candidate, compared.

    Attributes:
        round: Which round's model it was.
        without: Sites it was trained without.
        findings: Everybody and each group, by metric.
        failed: Groups and metrics that it did not pass, the clearest first.
        attribution: Whose updates did it; ``None`` where nobody's were looked into.
        untraced: Why not; else empty.
    """

    round: int
    without: tuple[str, ...]
    findings: tuple[Finding, ...]
    failed: tuple[tuple[str, Metric], ...]
    attribution: Attribution | None
    untraced: str


@dataclass(frozen=True, slots=True)
class GateFacts:
    """The gate: what it asks, and what came out.

    Attributes:
        reference: ``"alone"``, or ``"model"`` for a given one.
        name: The given one's file; empty for none.
        tolerance: A rise up to which a group is not worse off.
        confidence: Of all findings together.
        min_group: Fewest patients of a group that is judged.
        min_sites: Fewest hospitals with such patients.
        largest_undetected: A group in which so large a rise can go unfound is not judged.
        strict: Whether a group that is not assessable withholds the model.
        excludes: Whether the study goes on without those that harm is traced to.
        released: Whether a model was released.
        without: Sites that it was trained without because of the gate.
        looks: In order.
    """

    reference: Literal["alone", "model"]
    name: str
    tolerance: float
    confidence: float
    min_group: int
    min_sites: int
    largest_undetected: float
    strict: bool
    excludes: bool
    released: bool
    without: tuple[str, ...]
    looks: tuple[LookFacts, ...]


def read_gate(node: Node | None) -> GateFacts | None:
    """Read what the evidence says of the gate; ``None`` where the study has none.

    Raises:
        UnsupportedError: If something in it is not known to this version.
        VerificationError: If a value is missing, of the wrong type or out of range.
    """
    if node is None:
        return None
    only(node, _KEYS, "entry")
    looks = tuple(_look(entry) for entry in node["looks"].items())
    if not looks:
        raise node["looks"].fault("one look or more")
    reference = node["reference"]
    return GateFacts(
        reference=cast(Literal["alone", "model"], reference["kind"].word("alone", "model")),
        name=reference.text_or("name", ""),
        tolerance=node["tolerance"].number(0.0, 1.0),
        confidence=node["confidence"].number(0.0, 1.0),
        min_group=node["min_group"].count(),
        min_sites=node["min_sites"].count(),
        largest_undetected=node["largest_undetected"].number(0.0, 1.0),
        strict=node["unassessable"].word("report", "withhold") == "withhold",
        excludes=node["on_failure"].word("withhold", "exclude") == "exclude",
        released=node["outcome"].word("released", "withheld") == "released",
        without=_texts(node["without"]),
        looks=looks,
    )


def check_gate_facts(gate: GateFacts | None, sites: Collection[str]) -> None:
    """Refuse a gate that contradicts itself or the cohort.

    Raises:
        ConsistencyError: If it does.
    """
    if gate is None:
        return
    named = {*gate.without, *(site for look in gate.looks for site in look.without)}
    named |= {entry.site for look in gate.looks if look.attribution for entry in look.attribution.sites}
    if not named <= {*sites}:
        raise ConsistencyError("evidence: gate lists a site that the cohort does not list")
    if gate.released == bool(gate.looks[-1].failed):
        raise ConsistencyError("evidence: gate.outcome is not what its last look found")


def _look(node: Node) -> LookFacts:
    attribution = node.get("attribution")
    return LookFacts(
        round=node["round"].count(),
        without=_texts(node["without"]),
        findings=tuple(_finding(entry) for entry in node["groups"].items()),
        failed=tuple(_pair(entry) for entry in node["failed"].items()),
        attribution=None if attribution is None else _attribution(attribution),
        untraced=node.text_or("untraced", ""),
    )


def _pair(node: Node) -> tuple[str, Metric]:
    items = node.items()
    if len(items) != 2:  # noqa: PLR2004 (group and metric)
        raise node.fault("a group and a metric")
    return items[0].text(), cast(Metric, items[1].word(*_METRICS))


def _finding(node: Node) -> Finding:
    return Finding(
        group=node["group"].text(),
        metric=cast(Metric, node["metric"].word(*_METRICS)),
        hospitals=node["hospitals"].count(),
        patients=node["patients"].count(),
        n=node["n"].count(),
        candidate=node.number_or_none("candidate", 0.0, 1.0),
        reference=node.number_or_none("reference", 0.0, 1.0),
        rise=node.number_or_none("rise", -1.0, 1.0),
        low=node.number_or_none("low", -2.0, 1.0),
        p=node.number_or_none("p", 0.0, 1.0),
        detectable=node.number_or_none("detectable", 0.0, 1.0),
        verdict=cast(Verdict, node["verdict"].word("worse", "not worse", "not assessable")),
        why=node.text_or("why", ""),
    )


def _attribution(node: Node) -> Attribution:
    return Attribution(
        group=node["group"].text(),
        metric=cast(Metric, node["metric"].word(*_METRICS)),
        sites=tuple(
            SiteInfluence(
                site=entry["site"].text(),
                n=entry["n"].count(),
                with_it=entry.number_or_none("with", 0.0, 1.0),
                without_it=entry.number_or_none("without", 0.0, 1.0),
                rise=entry.number_or_none("rise", -1.0, 1.0),
                low=entry.number_or_none("low", -2.0, 1.0),
                traced=entry["traced"].flag(),
            )
            for entry in node["sites"].items()
        ),
    )


def _texts(node: Node) -> tuple[str, ...]:
    return tuple(entry.text() for entry in node.items())

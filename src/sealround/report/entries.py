"""Readers of what every kind of evidence has: study, estimates, protections, versions; refusal of what is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from sealround.errors import ConsistencyError, UnsupportedError
from sealround.report.evidence import Estimate, Protection, StudyFacts
from sealround.report.metrics import METRICS

if TYPE_CHECKING:
    from sealround.report.nodes import Node

__all__ = ["environment", "estimate", "estimates", "evidence_format", "only", "protection", "site_term", "study"]

_SITE_TERMS = ("site", "hospital", "region", "centre")


def evidence_format(root: Node, known: str) -> None:
    """Refuse evidence of another format.

    Raises:
        UnsupportedError: If it is not of the format ``known``.
    """
    if root["format"].text() != known:
        hint = f"this sealround reads {known}; render with the version that wrote the run"
        raise UnsupportedError("evidence: unknown format", hint=hint)


def only(node: Node, known: frozenset[str], what: str) -> None:
    """Refuse an object with an entry the page would leave out in silence.

    Raises:
        UnsupportedError: If it has one.
    """
    for entry in node.fields().keys() - known:
        raise UnsupportedError(
            f"evidence: {node.path or 'the whole'}: unknown {what} {entry!a}",
            hint="render with the version of sealround that wrote the run",
        )


def study(node: Node) -> StudyFacts:
    """Read what was asked and how.

    Raises:
        UnsupportedError: If its leading metric is not known.
    """
    primary = node["primary"].text()
    if primary not in METRICS:
        raise UnsupportedError("evidence: study.primary: unknown metric", hint=f"known: {', '.join(METRICS)}")
    outcome = node.get("outcome")
    return StudyFacts(
        name=node["name"].text(),
        question=node.text_or("question", ""),
        digest=node["digest"].text(),
        rounds=node["rounds"].count(),
        seed=node["seed"].count(),
        task=cast(Literal["binary", "survival"], node["task"].word("binary", "survival")),
        primary=primary,
        model=node["model"].text(),
        parameters=node.count_or_none("parameters"),
        confidence=node.number_or_none("confidence", 0.0, 1.0),
        min_cell_count=node.count_or_none("min_cell_count"),
        outcome=None if outcome is None else outcome.text(),
        time_unit=node.text_or("time_unit", ""),
    )


def site_term(node: Node | None) -> str:
    """Read what a site is called, ``site`` where the evidence does not say."""
    return "site" if node is None else node.word(*_SITE_TERMS)


def estimate(node: Node, low: float) -> Estimate:
    """Read ``{value, low, high}``, all within ``low``..1.

    Raises:
        ConsistencyError: If the interval ends before it begins.
    """
    site = node.get("site")
    read = Estimate(
        value=node.number_or_none("value", low, 1.0),
        low=node.number_or_none("low", low, 1.0),
        high=node.number_or_none("high", low, 1.0),
        site=None if site is None else site.text(),
    )
    if read.low is not None and read.high is not None and read.low > read.high:
        raise ConsistencyError(f"evidence: {node.path}: the interval ends before it begins")
    return read


def estimates(node: Node | None, low: float = 0.0) -> dict[str, Estimate]:
    """Read ``{metric: {value, low, high}}``; every metric lies within 0..1, a difference within -1..1."""
    if node is None:
        return {}
    only(node, frozenset(METRICS), "metric")
    return {name: estimate(entry, low) for name, entry in node.fields().items() if entry.value is not None}


def protection(node: Node) -> Protection:
    """Read one protection and whether it was on.

    Raises:
        UnsupportedError: If its state is not known.
    """
    state = node["state"].text()
    if state not in {"on", "off", "partial"}:
        raise UnsupportedError(f"evidence: {node.path}.state: unknown state", hint="known: on, off, partial")
    return Protection(
        name=node["name"].text(),
        state=cast(Literal["on", "off", "partial"], state),
        reason=node.text_or("reason", ""),
        meaning=node["meaning"].text(),
    )


def environment(node: Node) -> dict[str, str]:
    """Flatten to name and version; packages after the rest; null is a package that is not there."""
    entries = {name: entry for name, entry in node.fields().items() if name != "packages"}
    own = {name: _version(entry) for name, entry in entries.items() if entry.value is not None}
    packages = {name: _version(entry) for name, entry in node.entries("packages").items() if entry.value is not None}
    own.pop("sealround", None)  # Said once, by the evidence itself.
    return own | {name: packages[name] for name in sorted(packages.keys() - own.keys())}


def _version(node: Node) -> str:
    return node.value if isinstance(node.value, str) else str(node.count())

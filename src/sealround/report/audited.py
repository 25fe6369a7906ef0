"""What a run's page says of the leakage audit that let the run start, or of the reason it started without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from sealround.errors import ConsistencyError
from sealround.report.entries import only
from sealround.report.typography import decimal, plural

if TYPE_CHECKING:
    from sealround.report.nodes import Node
    from sealround.report.voice import Voice

__all__ = ["AuditFacts", "Audited", "audited", "read_audit_facts"]

_KEYS = frozenset({"state", "reason", "sha256", "attacks", "limits"})
_MEASURES = {
    "exact_cells": "One patient's values recovered exactly, beyond guessing",
    "exact_records": "Patients whose whole record was recovered exactly",
    "reidentified": "Chance that one patient is linked to the right person, beyond guessing",
    "psnr_db": "One patient's image, signal to noise in decibels",
    "membership_auc": "Telling who took part (area under the curve)",
}


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """What let the run start.

    Attributes:
        state: Whether an audit passed, or went without.
        reason: Why the run started without; ``None`` if an audit passed.
        sha256: Of the audit's evidence, hex; ``None`` without one.
        attacks: How many attacks were played on the study as written.
        limits: By measure: what the study permits, and what was found at most.
    """

    state: Literal["passed", "overridden"]
    reason: str | None
    sha256: str | None
    attacks: int
    limits: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, slots=True)
class Audited:
    """The section's words; `warning` where the run went without an audit."""

    said: str
    warning: str | None
    facts: tuple[tuple[str, str], ...]


def read_audit_facts(node: Node | None) -> AuditFacts | None:
    """Read the section ``audit`` of a run's evidence; ``None`` if there is none.

    Raises:
        UnsupportedError: If something in it is not known.
        VerificationError: If a value is missing or ill-typed.
        ConsistencyError: If it contradicts itself.
    """
    if node is None:
        return None
    only(node, _KEYS, "audit key")
    state = cast("Literal['passed', 'overridden']", node["state"].word("passed", "overridden"))
    limits = []
    only(node["limits"], frozenset(_MEASURES), "measure")
    for measure, entry in node.entries("limits").items():
        only(entry, frozenset({"limit", "found", "passed"}), "limit key")
        limit, found = entry["limit"].number(0.0), entry["found"].number()
        if not entry["passed"].flag() or found > limit:
            raise ConsistencyError("evidence: a run started although its audit found more than the study permits")
        limits.append((measure, limit, found))
    reason = None if node.get("reason") is None else node["reason"].text()
    sha256 = None if node.get("sha256") is None else node["sha256"].text()
    if (state == "overridden") != (reason is not None) or (state == "passed") != (sha256 is not None):
        raise ConsistencyError("evidence: audit says both that it passed and that the run went without it")
    return AuditFacts(state, reason, sha256, node["attacks"].count(), tuple(limits))


def audited(voice: Voice) -> Audited | None:
    """Say what let the run start; ``None`` where the study asks for no audit."""
    facts = voice.evidence.audit
    if facts is None:
        return None
    if facts.state == "overridden":
        warning = f"The study asks for a leakage audit before it starts, and this run went without: {facts.reason}"
        return Audited("What an attacker could rebuild from what was sent was not measured.", warning, ())
    said = (
        f"Before this run {plural(facts.attacks, 'attack')} on this very study were played, and none found more than "
        "the study permits. That is what was found, not a proof that nobody can find more."
    )
    rows = tuple(
        (_MEASURES[measure], f"{decimal(found, 3)} (permitted: {decimal(limit, 3)})")
        for measure, limit, found in facts.limits
    )
    return Audited(said, None, (*rows, ("SHA-256 of audit.json", str(facts.sha256))))

"""Whether the parts of an audit's evidence contradict each other."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from sealround.errors import ConsistencyError

if TYPE_CHECKING:
    from sealround.report.audit.evidence import AuditEvidence, Bounds, Finding

__all__ = ["check"]


def check(found: AuditEvidence) -> None:
    """Refuse evidence whose parts contradict each other.

    Raises:
        ConsistencyError: If two do.
    """
    _ladder(found)
    for place, finding in enumerate(found.findings):
        _finding(found, finding, f"findings[{place}]")
    for place, bounds in enumerate(found.bounds):
        _bounds(found, bounds, f"bounds[{place}]")
    _showcase(found)
    _gate(found)


def _refuse(reason: str) -> None:
    raise ConsistencyError(
        f"evidence: {reason}", hint="take the evidence from its folder unchanged, or audit the study again"
    )


def _ladder(found: AuditEvidence) -> None:
    rungs = tuple(found.rungs.values())
    if not found.attackers:
        _refuse("no attacker is listed")
    if sum(rung.here for rung in rungs) != 1:
        _refuse("rungs: not exactly one is the study as written")
    if any(rung.here and rung.beyond for rung in rungs):
        _refuse("rungs: the study as written is not beyond itself")
    order = [2 if rung.beyond else 1 if rung.here else 0 for rung in rungs]
    if any(before > after for before, after in itertools.pairwise(order)):
        _refuse("rungs: they do not rise to the study as written, and then beyond it")


def _place(found: AuditEvidence, entry: Finding | Bounds, path: str) -> None:
    if entry.rung not in found.rungs or entry.attacker not in found.attackers:
        _refuse(f"{path}: it is on a rung, or of an attacker, that is not listed")
    if entry.sites_in_sum > found.study.sites:
        _refuse(f"{path}: it sums over more sites than there are")
    if entry.site is not None and entry.sites_in_sum > 1:
        _refuse(f"{path}: it is one site's, and a sum over several")


def _finding(found: AuditEvidence, finding: Finding, path: str) -> None:
    _place(found, finding, path)
    if finding.status not in {"done", "stopped"} and (finding.measures or finding.worst.values or finding.certified):
        _refuse(f"{path}: it was not played, and measured something")
    if finding.status == "done" and not finding.patients and (finding.measures or finding.worst.values):
        _refuse(f"{path}: something was measured, and of no patient")
    if finding.worst.patient is not None and not 1 <= finding.worst.patient <= finding.patients:
        _refuse(f"{path}.worst.patient: it is not one of the patients who were judged")


def _bounds(found: AuditEvidence, bounds: Bounds, path: str) -> None:
    _place(found, bounds, path)
    if bounds.rank is not None and bounds.rank > min(bounds.unknowns, bounds.equations):
        _refuse(f"{path}.rank: more directions are determined than there are")
    for patient in bounds.patients:
        if patient.determined > patient.numbers:
            _refuse(f"{path}.patients: more of a patient is determined than there is")
        ends = (patient.smallest_singular, patient.largest_singular)
        if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
            _refuse(f"{path}.patients: the smallest singular value is above the largest")


def _showcase(found: AuditEvidence) -> None:
    if found.showcase and not found.plan.public:
        _refuse("showcase: it shows records that are not public")
    for place, shown in enumerate(found.showcase):
        if shown.finding >= len(found.findings):
            _refuse(f"showcase[{place}].finding: there is no such finding")
        if not found.findings[shown.finding].played:
            _refuse(f"showcase[{place}]: it shows what an attack rebuilt that was not played")


def _gate(found: AuditEvidence) -> None:
    if (found.passed is None) != (not found.require):
        _refuse("passed: it is null where the study requires nothing, and nowhere else")
    if found.passed is not None and found.passed != all(limit.passed for limit in found.require):
        _refuse("passed: it is not what the limits amount to")
    for limit in found.require:
        kept = limit.found is not None and limit.found <= limit.limit
        if limit.passed and not kept:
            _refuse(f"require.{limit.key}: it is passed, and was not found to be kept")

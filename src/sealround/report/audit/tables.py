"""Every attack with what it was granted, and every attack with what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealround.report.audit.evidence import FAMILIES
from sealround.report.audit.measures import MEASURES, power
from sealround.report.audit.voice import OUTCOMES
from sealround.report.typography import NONE, capital, duration, whole
from sealround.report.voice import Table

if TYPE_CHECKING:
    from sealround.report.audit.evidence import Finding
    from sealround.report.audit.voice import AuditVoice

__all__ = ["assumptions", "findings"]

_TEXT_ONLY = 99
"""No column is set as numbers."""


def assumptions(voice: AuditVoice) -> Table:
    """Make the table of what every attack was granted: attack by what; the same grants are said once."""
    whats = list(dict.fromkeys(what for one in voice.evidence.findings for what, _ in one.granted))
    rows = [
        (one.name, voice.attacker(one), *(dict(one.granted).get(what, NONE) for what in whats))
        for rung in (voice.here.key, *(key for key in voice.evidence.rungs if key != voice.here.key))
        for one in voice.at(rung)
        if one.status in {"done", "stopped"}
    ]
    head = ("Attack", "Attacker", *(capital(what) for what in whats))
    note = f"{NONE}: it plays no part in this attack."
    return Table("What each attack was granted", head, tuple(dict.fromkeys(rows)), note, _TEXT_ONLY)


def findings(voice: AuditVoice) -> Table:
    """Make the table of every attack on every rung: how it ended, what was measured, how long it took."""
    keys = tuple(key for key in MEASURES if voice.measured(key))
    head = (
        "Attack", "Kind", "Rung", "Attacker", "Attacked", "How it ended", "Patients", "Unknowns", "Proved",
        *(f"{MEASURES[key].label}, {'all' if _of_one(voice, key) else '95 %'}" for key in keys),
        *(f"{MEASURES[key].label}, worst" for key in keys if _of_one(voice, key)),
        "Mismatch", "Time",
    )  # fmt: skip
    rows = [
        _row(voice, one, keys)
        for rung in (voice.here.key, *(key for key in voice.evidence.rungs if key != voice.here.key))
        for one in voice.at(rung)
    ]
    note = (
        "Numbers over all patients with their 95 % intervals. Mismatch: relative distance of the update of what was "
        "rebuilt from the update that was seen; small does not mean right, for many records can have one update."
    )
    return Table("Every attack that was listed", head, tuple(rows), note, 6)


def _of_one(voice: AuditVoice, key: str) -> bool:
    return any(key in one.worst.values for one in voice.evidence.findings)


def _row(voice: AuditVoice, finding: Finding, keys: tuple[str, ...]) -> tuple[str, ...]:
    rung = voice.evidence.rungs[finding.rung]
    ended = OUTCOMES[voice.outcome(finding)]
    cut = " (cut short)" if finding.status == "stopped" and voice.outcome(finding) != "cut short" else ""
    why = f": {finding.why}" if finding.why else ""
    return (
        finding.name,
        FAMILIES[finding.family],
        f"{rung.label}{' (the study as written)' if rung.here else ''}",
        voice.attacker(finding),
        voice.whose(finding),
        f"{ended}{cut}{why}",
        whole(finding.patients),
        whole(finding.unknowns),
        whole(finding.certified),
        *(MEASURES[key].estimate(finding.measures.get(key)) for key in keys),
        *(MEASURES[key].write(finding.worst.values.get(key)) for key in keys if _of_one(voice, key)),
        power(finding.mismatch),
        duration(finding.seconds),
    )

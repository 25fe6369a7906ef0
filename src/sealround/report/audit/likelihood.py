"""Who is linked to a name, who is known to have taken part, and what a site's patients are like."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.audit.figures import Compared, Forest, forest
from sealround.report.audit.measures import MEASURES
from sealround.report.audit.voice import OUTCOMES
from sealround.report.typography import NONE, whole
from sealround.report.voice import Table

if TYPE_CHECKING:
    from sealround.report.audit.evidence import Finding
    from sealround.report.audit.voice import AuditVoice

__all__ = ["Question", "questions"]


@dataclass(frozen=True, slots=True)
class Question:
    """One of the three questions: its answer for the study as written, drawn and as a table."""

    key: str
    title: str
    said: str
    measure: str
    figure: Forest | None
    table: Table


_ASKED = (
    (
        "identity",
        "Is a rebuilt patient linked to the right person?",
        "reidentified",
        ("reidentified",),
        (
            "An attacker looks the reconstruction up: among pictures of known people, or in a table with names and a "
            "few columns that both have. The guess is what the same look-up finds without the update."
        ),
        "No attack tried to link what it rebuilt to a person, so how likely that is, this page cannot say.",
    ),
    (
        "membership",
        "Is it known who took part?",
        "auc",
        ("auc", "tpr_at_fpr_1"),
        (
            "An attacker who has somebody's record already asks whether it was used. An AUC of 0.5 is a coin; what is "
            "found at 1 % false alarms says whether some patients stand out although most do not."
        ),
        "No attack asked who took part, so whether that can be told, this page cannot say.",
    ),
    (
        "property",
        "Is it known what a site's patients are like?",
        "share_error",
        ("share_error",),
        (
            "Not about one patient: an attacker estimates what share of a site's patients has some property. The "
            "smaller its error beside the guess's, the more the update says about the site."
        ),
        "No attack estimated properties of a site, so whether that can be done, this page cannot say.",
    ),
)


def questions(voice: AuditVoice) -> tuple[Question, ...]:
    """Answer the three questions for the study as written."""
    found = []
    for key, title, measure, keys, explained, missing in _ASKED:
        of = [one for one in voice.own if any(name in one.measures for name in keys)]
        of.sort(key=functools.partial(_order, measure))
        rows = tuple(_row(voice, one, keys) for one in of)
        head = (
            "Attack",
            "Attacker",
            "What it came to",
            *(f"{MEASURES[name].label} (95 %)" for name in keys),
            *(f"{MEASURES[name].label}, guess" for name in keys),
            "Patients",
        )
        compared = [
            Compared(one.name, voice.attacker(one), None, one.measures[measure].found, voice.baseline(one, measure))
            for one in of
            if measure in one.measures
        ]
        found.append(
            Question(
                key,
                title,
                explained if of else missing,
                MEASURES[measure].label,
                forest(measure, compared) if compared else None,
                Table(f"{MEASURES[measure].label}, the study as written", head, rows, numbers_from=3),
            )
        )
    return tuple(found)


def _order(key: str, finding: Finding) -> float:
    value = finding.measures[key].found.value if key in finding.measures else None
    sign = 1.0 if MEASURES[key].lower_tells_more else -1.0
    return sign * (value or 0.0)


def _row(voice: AuditVoice, finding: Finding, keys: tuple[str, ...]) -> tuple[str, ...]:
    return (
        finding.name,
        voice.attacker(finding),
        OUTCOMES[voice.outcome(finding)],
        *(MEASURES[name].estimate(finding.measures.get(name)) for name in keys),
        *(MEASURES[name].write(voice.baseline(finding, name)) if name in finding.measures else NONE for name in keys),
        whole(finding.patients),
    )

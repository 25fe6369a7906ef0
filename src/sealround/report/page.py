"""Evidence in, one self-contained page out: no script, no network, no font, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealround.report import diagnostics, statements
from sealround.report.answer import answer
from sealround.report.audited import audited
from sealround.report.comparison import comparison
from sealround.report.decisions import decisions
from sealround.report.document import document
from sealround.report.gate import gate_section, withheld
from sealround.report.judging import judging
from sealround.report.patients import patients
from sealround.report.privacy import privacy_section
from sealround.report.reading import read_evidence
from sealround.report.sealing import sealing
from sealround.report.subgroups import subgroup_section
from sealround.report.typography import decimal, whole
from sealround.report.voice import LABELS, Voice

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["render"]


def render(evidence: Mapping[str, object]) -> str:
    """Render the result page of one run.

    Guarantee: the same evidence gives the same bytes; every text of the evidence is escaped; the page holds no patient
    value beyond the evidence, loads nothing and runs no script.
    Assumes: the evidence was written by an engine that kept to the minimum cell count; the page cannot check that.
    Not covered: whether the evidence is true. Who renders a page can render a false one from false evidence.

    Args:
        evidence: The run's ``metrics.json``, decoded.

    Returns:
        One HTML document.

    Raises:
        UnsupportedError: If the evidence's format, or anything in it, is not known to this version.
        VerificationError: If a value is missing, of the wrong type or out of range.
        ConsistencyError: If two parts of the evidence contradict each other.
    """
    read = read_evidence(evidence)
    voice = Voice(read)
    sections = {
        "answer": answer(voice),
        "comparison": comparison(voice),
        "learning": diagnostics.learning_figure(voice),
        "roc": diagnostics.roc_figure(voice),
        "calibration": diagnostics.calibration_figure(voice),
        "survival": diagnostics.survival_figure(voice),
        "patients": patients(voice),
        "decisions": decisions(voice),
        "gate": gate_section(voice),
        "privacy": privacy_section(voice),
        "audited": audited(voice),
        "groups": subgroup_section(voice),
        "sealing": sealing(voice),
        "judging": judging(voice),
        "left_out": statements.left_out(voice),
        "cost": statements.cost(voice),
        "environment": statements.environment(voice),
        "limits": statements.limits(voice),
        "glossary": statements.glossary(voice),
    }
    return document(
        "report.html.j2",
        _sheets(voice),
        evidence=read,
        withheld=withheld(voice),
        voice=voice,
        labels=LABELS,
        contents=_contents(voice, sections),
        off=[entry.name for entry in read.protection if entry.state == "off"],
        whole=whole,
        decimal=decimal,
        **sections,
    )


def _sheets(voice: Voice) -> tuple[str, ...]:
    extra = (("sealed.css", voice.sealed), ("privacy.css", voice.private))
    return ("report.css", *(name for name, there in extra if there))


def _contents(voice: Voice, sections: Mapping[str, object]) -> list[tuple[str, str]]:
    """List the sections there are: (anchor, label)."""
    listed = (
        ("answer", "The answer", True),
        ("gate", "May it be used?", sections["gate"]),
        ("privacy", "How private it is", sections["privacy"]),
        ("sites", voice.by_site, sections["comparison"] and not withheld(voice)),
        ("learning", "How it learned", sections["learning"]),
        ("roc", "Telling patients apart", sections["roc"]),
        ("calibration", "Calibration", sections["calibration"]),
        ("survival", "Survival by risk", sections["survival"]),
        ("patients", "The patients", True),
        ("decision", "Decision threshold", sections["decisions"]),
        ("groups", "Groups of patients", sections["groups"]),
        ("protection", "Protection", True),
        ("sealing", "Who saw what", sections["sealing"]),
        ("judging", "Whose updates counted", sections["judging"]),
        ("audit", "Leakage audit", sections["audited"]),
        ("left-out", "Left out", True),
        ("cost", "Cost", True),
        ("reproduce", "Reproduce", True),
        ("limits", "Limits", True),
        ("words", "Words", True),
    )
    return [(key, label) for key, label, there in listed if there]

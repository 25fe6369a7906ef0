"""An audit's evidence in, one self-contained page out: no script, no network, no font, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealround.report.audit import statements
from sealround.report.audit.answer import headline, sentences, tiles, warnings
from sealround.report.audit.bounds import bounded
from sealround.report.audit.cards import cards
from sealround.report.audit.evidence import Pictures
from sealround.report.audit.ladder import ladder, switches
from sealround.report.audit.likelihood import questions
from sealround.report.audit.reading import read_audit
from sealround.report.audit.tables import assumptions, findings
from sealround.report.audit.voice import AuditVoice
from sealround.report.document import document, illustrated
from sealround.report.drill.voice import prose

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["render_audit"]


def render_audit(evidence: Mapping[str, object]) -> str:
    """Render the page of one leakage audit.

    Guarantee: the same evidence gives the same bytes; every text of the evidence is escaped; the page holds no record
    unless the evidence says that the data are public, loads nothing and runs no script.
    Assumes: whoever wrote the evidence judged the attacks on the records they are of; the page cannot check that.
    Not covered: whether the evidence is true.

    Args:
        evidence: The audit's ``audit.json``, decoded.

    Returns:
        One HTML document.

    Raises:
        UnsupportedError: If the evidence's format, or anything in it, is not known to this version.
        VerificationError: If a value is missing, of the wrong type or out of range.
        ConsistencyError: If two parts of the evidence contradict each other.
    """
    voice = AuditVoice(read_audit(evidence))
    sections = {
        "bounded": bounded(voice),
        "worlds": statements.worlds(voice),
        "switches": switches(voice),
        "pixels": statements.pixels(voice),
    }
    pictured = any(isinstance(shown, Pictures) for shown in voice.evidence.showcase)
    return (illustrated if pictured else document)(
        "audit.html.j2",
        ("report.css", "audit.css"),
        evidence=voice.evidence,
        voice=voice,
        contents=_contents(sections),
        headline=headline(voice),
        sentences=sentences(voice),
        warnings=warnings(voice),
        tiles=tiles(voice),
        cards=cards(voice),
        ladder=ladder(voice),
        questions=questions(voice),
        assumptions=assumptions(voice),
        findings=findings(voice),
        gate=statements.gate(voice),
        gate_says=prose(statements.gate_says(voice)),
        facts=statements.facts(voice),
        cost=statements.cost(voice),
        command=statements.command(voice),
        environment=statements.shown(voice),
        limits=statements.limits(voice),
        glossary=statements.glossary(voice),
        prose=prose,
        **sections,
    )


def _contents(sections: Mapping[str, object]) -> list[tuple[str, str]]:
    """List the sections there are: (anchor, label)."""
    listed = (
        ("answer", "The answer", True),
        ("attackers", "Attacker by attacker", True),
        ("ladder", "What protections change", True),
        ("likelihood", "How likely", True),
        ("bounds", "Without any attack", True),
        ("assumptions", "What was granted", True),
        ("worlds", "Two worlds", sections["worlds"]),
        ("switches", "What to switch on", True),
        ("gate", "What the study requires", True),
        ("findings", "Every attack", True),
        ("skipped", "Not played", True),
        ("pixels", "Pixel-wise accuracy", sections["pixels"]),
        ("cost", "Cost", True),
        ("reproduce", "Reproduce", True),
        ("limits", "Limits", True),
        ("words", "Words", True),
    )
    return [(key, label) for key, label, there in listed if there]

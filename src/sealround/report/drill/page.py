"""A drill's evidence in, one self-contained page out: no script, no network, no font, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealround.report.document import document
from sealround.report.drill import statements
from sealround.report.drill.answer import headline, sentences, tiles, verdicts
from sealround.report.drill.courses import learning_figure, success_figure
from sealround.report.drill.exclusion import exclusion
from sealround.report.drill.grid import grids
from sealround.report.drill.groups import groups
from sealround.report.drill.reading import read_drill
from sealround.report.drill.voice import VERDICT_LABELS, DrillVoice, prose, verdict_key
from sealround.report.typography import whole

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["render_drill"]


def render_drill(evidence: Mapping[str, object]) -> str:
    """Render the page of one drill.

    Guarantee: the same evidence gives the same bytes; every text of the evidence is escaped; the page holds no patient
    value beyond the evidence, loads nothing and runs no script.
    Assumes: the evidence was written by an engine that kept to the minimum group size; the page cannot check that.
    Not covered: whether the evidence is true.

    Args:
        evidence: The drill's ``drill.json``, decoded.

    Returns:
        One HTML document.

    Raises:
        UnsupportedError: If the evidence's format, or anything in it, is not known to this version.
        VerificationError: If a value is missing, of the wrong type or out of range.
        ConsistencyError: If two parts of the evidence contradict each other.
    """
    voice = DrillVoice(read_drill(evidence))
    sections = {
        "grids": grids(voice),
        "courses": learning_figure(voice),
        "success": success_figure(voice),
        "groups": groups(voice),
        "exclusion": exclusion(voice),
    }
    return document(
        "drill.html.j2",
        ("report.css", "drill.css"),
        evidence=voice.evidence,
        voice=voice,
        contents=_contents(voice, sections),
        headline=headline(voice),
        sentences=sentences(voice),
        tiles=tiles(voice),
        verdicts=verdicts(voice),
        lines=[(verdict_key(verdict), VERDICT_LABELS[verdict], said) for verdict, said in statements.lines(voice)],
        command=statements.command(voice),
        facts=statements.facts(voice),
        not_played=statements.not_played(voice),
        cost=statements.cost(voice),
        environment=statements.shown(voice),
        limits=statements.limits(voice),
        glossary=statements.glossary(voice),
        whole=whole,
        prose=prose,
        **sections,
    )


def _contents(voice: DrillVoice, sections: Mapping[str, object]) -> list[tuple[str, str]]:
    """List the sections there are: (anchor, label)."""
    listed = (
        ("answer", "The answer", True),
        ("verdicts", "Attack by attack", True),
        ("suggestions", "What to change", voice.evidence.suggestions),
        ("grid", "Against every rule", sections["grids"]),
        ("courses", "Over the rounds", sections["courses"] or sections["success"]),
        ("groups", "Who is harmed", True),
        ("exclusion", "Who was left out", sections["exclusion"]),
        ("protection", "Protection", True),
        ("not-played", "Not played", True),
        ("cost", "Cost", True),
        ("reproduce", "Reproduce", True),
        ("limits", "Limits", True),
        ("words", "Words", True),
    )
    return [(key, label) for key, label, there in listed if there]

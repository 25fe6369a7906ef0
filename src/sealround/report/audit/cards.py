"""Attacker by attacker: what it sees, what it recovered of the worst-off patient, and how that looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.audit.answer import recovered
from sealround.report.audit.evidence import Pictures, Row
from sealround.report.audit.measures import MEASURES, power
from sealround.report.audit.voice import OUTCOMES, outcome_key
from sealround.report.typography import capital, duration, plural

if TYPE_CHECKING:
    from sealround.report.audit.evidence import Attacker, Finding
    from sealround.report.audit.voice import AuditVoice

__all__ = ["Card", "Gallery", "Record", "cards"]


@dataclass(frozen=True, slots=True)
class Gallery:
    """One patient's picture, three times: (data URI, width, height, text for who cannot see it, caption)."""

    pictures: tuple[tuple[str, int, int, str, str], ...]
    said: str


@dataclass(frozen=True, slots=True)
class Record:
    """One patient's row: each value as it was, as it was rebuilt, and as a guess has it, and whether it is exact."""

    caption: str
    cells: tuple[tuple[str, str, str, str, bool], ...]
    said: str


@dataclass(frozen=True, slots=True)
class Card:
    """One attacker.

    Attributes:
        key: What it came to, as the name of a style and of an icon.
        label: The same in words.
        name: What the attacker is called.
        sees: What it sees.
        assumes: What it is taken to be.
        said: What it recovered.
        certificate: Whether its attack knows that it is right.
        numbers: The measures of its worst attack: (what, how much).
        facts: That attack: (what, which).
        others: Its other attacks: (style, label, name, what came of it).
        galleries: Pictures.
        records: Rows of tables.
        hidden: Why there are no pictures or rows, where there could be.
    """

    key: str
    label: str
    name: str
    sees: str
    assumes: str
    said: str
    certificate: str
    numbers: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str, str, str], ...]
    galleries: tuple[Gallery, ...]
    records: tuple[Record, ...]
    hidden: str


def cards(voice: AuditVoice) -> tuple[Card, ...]:
    """Make a card for each attacker of the study as written, the one that recovered the most first."""
    of = {key: tuple(one for one in voice.own if one.attacker == key) for key in voice.evidence.attackers}
    order = sorted(of, key=lambda key: voice.concern(of[key][0]) if of[key] else (float(len(OUTCOMES)),))
    return tuple(_card(voice, voice.evidence.attackers[key], of[key]) for key in order)


def _card(voice: AuditVoice, attacker: Attacker, found: tuple[Finding, ...]) -> Card:
    if not found:
        said = (
            "No attack of this attacker was played on the study as written. That says nothing about what it could do."
        )
        return Card(
            "none", "Not played", attacker.name, attacker.sees, attacker.assumes, said, "", (), (), (), (), (), ""
        )
    worst = found[0]
    outcome = voice.outcome(worst)
    galleries, records = _shown(voice, attacker.key)
    shows = worst.played and worst.family in {"exact", "optimisation", "malicious"}
    return Card(
        key=outcome_key(outcome),
        label=OUTCOMES[outcome],
        name=attacker.name,
        sees=attacker.sees,
        assumes=attacker.assumes,
        said=_said(voice, worst),
        certificate=_certificate(voice, worst),
        numbers=numbers(voice, worst),
        facts=_facts(voice, worst),
        others=tuple(_other(voice, one) for one in found[1:]),
        galleries=galleries,
        records=records,
        hidden=_hidden(voice) if shows and not (galleries or records) else "",
    )


def _said(voice: AuditVoice, finding: Finding) -> str:
    """Say what an attack recovered, or why it did not."""
    if not finding.played:
        ends = {
            "done": "It ran to its end, and nothing of it was measured",
            "stopped": "The budget ended before it came to anything",
            "refused by the site": "The site's own check refused it before any training",
            "failed": "It failed to run, which says nothing",
            "not applicable": "It does not apply to this study",
        }
        return f"{ends[finding.status]}{f': {finding.why}' if finding.why else ''}."
    what = capital(recovered(voice, finding))
    end = " It was cut short by the budget." if finding.status == "stopped" else ""
    note = f" {finding.note}" if finding.note else ""
    return f"{what}.{end}{note}" if what else f"It was played; see its numbers.{end}{note}"


def _certificate(voice: AuditVoice, finding: Finding) -> str:
    """Say whether the attack itself knows that what it rebuilt is right."""
    if not finding.played or finding.family not in {"exact", "optimisation", "malicious"}:
        return ""
    if finding.certified:
        rebuilt = plural(finding.certified, voice.record)
        return f"It proves {rebuilt} by itself: the attacker knows, without the original, that this is what was there."
    return "It has no proof of its own: the attacker cannot tell a right reconstruction from a wrong one by it alone."


def numbers(voice: AuditVoice, finding: Finding) -> tuple[tuple[str, str], ...]:
    """List what was measured: worst-off patient, all patients with interval, guess."""
    found = []
    for key, measure in MEASURES.items():
        of_one = measure.of_one and key in finding.worst.values
        if of_one:
            found.append((f"{measure.label}, worst patient", measure.write(finding.worst.values[key])))
            if key in finding.worst.baseline:
                found.append(("– same patient, guessed", measure.write(finding.worst.baseline[key])))
        if key in finding.measures:
            every = ", all patients" if of_one else ""
            found.append((f"{measure.label}{every}", measure.estimate(finding.measures[key])))
            base = voice.baseline(finding, key)
            if base is not None:
                found.append(("– without the update", measure.write(base)))
    return tuple(found)


def _facts(voice: AuditVoice, finding: Finding) -> tuple[tuple[str, str], ...]:
    listed = (
        ("Attack", finding.name),
        ("Source", finding.source),
        ("Attacked", voice.whose(finding)),
        ("Judged on", plural(finding.patients, "patient") if finding.patients else ""),
        ("Mismatch", "" if finding.mismatch is None else power(finding.mismatch)),
        ("Time", duration(finding.seconds) if finding.played else ""),
    )
    return tuple((what, which) for what, which in listed if which)


def _other(voice: AuditVoice, finding: Finding) -> tuple[str, str, str, str]:
    outcome = voice.outcome(finding)
    return outcome_key(outcome), OUTCOMES[outcome], finding.name, _said(voice, finding)


def _hidden(voice: AuditVoice) -> str:
    thing = "Pictures" if voice.images else "Rows"
    if voice.evidence.plan.public:
        return f"{thing} of this attack were not kept."
    return (
        f"{thing} stay at the site: the data are its own. This page has numbers only; reconstructions lie beside the "
        "originals in the folder of the audit that stays where it was made."
    )


# --- pictures and rows ------------------------------------------------------------------------------------------------


def _shown(voice: AuditVoice, attacker: str) -> tuple[tuple[Gallery, ...], tuple[Record, ...]]:
    """Collect what an attacker rebuilt of the study as written, to look at."""
    galleries, records = [], []
    for shown in voice.evidence.showcase:
        finding = voice.evidence.findings[shown.finding]
        if finding.attacker != attacker or finding.rung != voice.here.key:
            continue
        match shown:
            case Pictures():
                galleries.append(_gallery(finding, shown))
            case Row():
                records.append(_record(finding, shown))
    return tuple(galleries), tuple(records)


def _gallery(finding: Finding, shown: Pictures) -> Gallery:
    reached, guessed = (MEASURES["psnr_db"].write(value) for value in (shown.psnr_db, shown.baseline_db))
    each = (
        (shown.original, "The original picture of one patient", "Original"),
        (shown.reconstruction, f"The same picture as {finding.name} rebuilt it, PSNR {reached}", f"Rebuilt, {reached}"),
        (shown.baseline, f"The best guess without the update, PSNR {guessed}", f"Guess without the update, {guessed}"),
    )
    return Gallery(
        tuple(
            (f"data:image/png;base64,{picture}", width, height, alt, caption)
            for (picture, width, height), alt, caption in each
        ),
        f"What {finding.name} rebuilt, beside the original.",
    )


def _record(finding: Finding, shown: Row) -> Record:
    cells = tuple(
        (
            f"{one.column} ({one.unit})" if one.unit else one.column,
            one.original,
            one.rebuilt,
            one.baseline,
            one.recovered,
        )
        for one in shown.cells
    )
    exact = sum(one.recovered for one in shown.cells)
    guessed = sum(one.baseline == one.original for one in shown.cells)
    said = f"{exact} of {plural(len(cells), 'value')} recovered; {guessed} guessed without the update."
    return Record(f"One patient's record, rebuilt by {finding.name}", cells, said)

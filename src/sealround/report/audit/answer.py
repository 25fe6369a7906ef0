"""The top of an audit's page: what the strongest attacker recovered of the worst-off patient, and key numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from sealround.report.answer import Tile
from sealround.report.audit.measures import MEASURES
from sealround.report.audit.voice import TELLS
from sealround.report.typography import capital, number_word, plural, whole

if TYPE_CHECKING:
    from sealround.report.audit.evidence import Finding
    from sealround.report.audit.voice import AuditVoice

__all__ = ["headline", "recovered", "sentences", "tiles", "warnings"]

_TILES = ("exact_cells", "exact_records", "psnr_db", "reidentified", "auc")
_MALICIOUS = "malicious-coordinator"
_UNFINISHED = (
    "The budget ended before every attack had played. What is on this page may be too little; it is never too much."
)
_PERHAPS = (
    "For some patient an attack got more than a guess, but over all patients not certainly more, or there was no guess "
    "to compare it with: it can be chance. The study's limits count it all the same."
)


# --- headline ---------------------------------------------------------------------------------------------------------


def headline(voice: AuditVoice) -> str:
    """Say the worst that any attack on the study as written came to."""
    worst = voice.worst
    if worst is None:
        return "No attack on this study gave a result, so this page has no answer."
    match voice.outcome(worst):
        case "whole" if voice.images:
            said = "A patient's picture was rebuilt, to the last grey value, from what this study sends."
        case "whole":
            said = "Every value of a patient's record was rebuilt from what this study sends."
        case "part":
            said = _part(voice, worst)
        case "linked":
            said = "What this study sends was linked to the right person."
        case "told" if next(key for key in TELLS if voice.certain(worst, key)) == "share_error":
            said = "What a site's patients are like was read from what this study sends."
        case "told":
            said = "Who took part was told from what this study gives away."
        case "perhaps":
            said = _nothing(len(voice.played), "certainly ")
        case _:
            said = _nothing(len(voice.played), "")
    return said


def _nothing(played: int, certainly: str) -> str:
    if played == 1:
        return f"The one attack that was played {certainly}recovered no more than a guess, which is no proof."
    return (
        f"None of the {number_word(played)} attacks that were played {certainly}recovered more than a guess, which is "
        "not proof that none can."
    )


def _part(voice: AuditVoice, worst: Finding) -> str:
    cells = voice.value(worst, "exact_cells")
    if cells and voice.certain(worst, "exact_cells"):
        return f"{MEASURES['exact_cells'].write(cells)} of a patient's values were rebuilt from what this study sends."
    if voice.certain(worst, "psnr_db"):
        much = MEASURES["psnr_db"].write(voice.value(worst, "psnr_db"))
        return f"A patient's {voice.record} was rebuilt from what this study sends, to {much}."
    return "Patients' outcomes were read from what this study sends."


# --- sentences --------------------------------------------------------------------------------------------------------


def sentences(voice: AuditVoice) -> tuple[Markup, ...]:
    """Say who recovered what against which guess, over all patients, how likely a link is, and what is determined."""
    worst = voice.worst
    said = (
        None if worst is None else _who(voice, worst),
        _others(voice),
        _linked(voice),
        _determined(voice),
    )
    return tuple(sentence for sentence in said if sentence is not None)


def recovered(voice: AuditVoice, finding: Finding) -> str:
    """Say what was recovered of the worst-off patient, against a guess: without who did it."""
    said: list[str] = []
    told = (*TELLS, "reidentified")
    for key in ("exact_cells", "psnr_db", "labels_right", *told):
        value, base = voice.value(finding, key), voice.guess(finding, key)
        if value is None or (said and key in told) or (key == "labels_right" and finding.labels_given):
            continue
        same = MEASURES[key].of_one and key in finding.worst.baseline
        said.append(_MATCHES[key].format(MEASURES[key].write(value)) + _against(key, base, same_patient=same))
    return "; ".join(said[:2])


_MATCHES = {
    "exact_cells": "{} of the worst-off patient's values are right",
    "psnr_db": "the worst-off patient comes to a PSNR of {}",
    "labels_right": "{} of the outcomes are right",
    "auc": "who took part is told with an AUC of {}",
    "tpr_at_fpr_1": "at 1 % false alarms, {} of those who took part are pointed out",
    "share_error": "a share of a site's patients is told with an error of {}",
    "reidentified": "{} of the rebuilt patients are linked to the right person",
}


_OVERALL = _MATCHES | {
    "exact_cells": "{} of the values are right",
    "exact_records": "{} of the records are right in full",
    "psnr_db": "the PSNR is {}",
    "ssim": "the SSIM is {}",
    "pixels_within_8": "{} of the pixels are right",
}


def _against(key: str, base: float | None, *, same_patient: bool) -> str:
    of = "" if same_patient else " on average"
    if base is None:
        return ""
    value = MEASURES[key].write(base)
    match key:
        case "auc":
            return f", where guessing gives {value}"
        case "psnr_db" | "share_error":
            return f", where the best guess without the update has {value}{of}"
        case _:
            return f", where a guess without the update gets {value}{of}"


def _who(voice: AuditVoice, worst: Finding) -> Markup:
    """Name the strongest attacker, its attack and what it came to."""
    start = Markup("{}: <em>{}</em>, with {}, on {}.").format(
        "Strongest attacker" if voice.told else "The attack that came to the most",
        voice.attacker(worst), worst.name, voice.whose(worst),
    )  # fmt: skip
    what = recovered(voice, worst)
    return Markup("{} {}").format(start, f"{capital(what)}." if what else "Nothing was measured of it.")


def _others(voice: AuditVoice) -> Markup | None:
    """Say how it goes over all patients, what the attack proves, and what a coordinator that plants nothing gets."""
    worst = voice.worst
    if worst is None:
        return None
    said = []
    measured = worst.measures.get(voice.leading)
    if measured is not None and worst.patients > 1:
        much = _OVERALL[voice.leading].format(MEASURES[voice.leading].estimate(measured))
        said.append(f"Over the {plural(worst.patients, 'patient')} it was judged on, {much}.")
    if worst.certified:
        records = plural(worst.certified, f"rebuilt {voice.record}")
        said.append(f"It proves {records} itself, without having seen the original.")
    if worst.attacker == _MALICIOUS:
        passive = next((one for one in voice.played if one.attacker != _MALICIOUS), None)
        if passive is not None:
            said.append(f"With no model planted, {recovered(voice, passive)} ({passive.name}).")
    return Markup("{}").format(" ".join(said)) if said else None


def _linked(voice: AuditVoice) -> Markup | None:
    """Say how likely a rebuilt patient is linked to the right person."""
    found = voice.strongest(voice.here.key, "reidentified")
    measured = None if found is None else found.measures.get("reidentified")
    if measured is None or measured.found.value is None:
        return None
    base = "" if measured.baseline is None else f"; without the update, {round(100 * measured.baseline)}"
    ends = MEASURES["reidentified"].interval(measured.found)
    certain = f" (95 % interval {ends})" if ends else ""
    much = round(100 * measured.found.value)
    return Markup("Of 100 patients, {} are linked to the right person{}{}.").format(much, certain, base)


def _determined(voice: AuditVoice) -> Markup | None:
    """Say how much of a patient the update determines, whatever the attack."""
    for bounds in voice.bounds_at(voice.here.key):
        patient = max((one for one in bounds.patients if one.numbers), key=lambda one: one.determined, default=None)
        if patient is None:
            continue
        said = Markup("Whatever the attack, {} of {} numbers of the worst-off patient are determined by the update{}.")
        rest = "" if voice.told or not patient.determined else ": an attack that nobody has made yet could recover them"
        return said.format(whole(patient.determined), whole(patient.numbers), rest)
    return None


def warnings(voice: AuditVoice) -> tuple[tuple[str, str], ...]:
    """List what has to be known before anything else is read: (in bold, the rest)."""
    own = voice.own
    cut = sum(finding.status == "stopped" for finding in own)
    failed = "; ".join(finding.name for finding in own if finding.status == "failed")
    listed = (
        (not voice.evidence.plan.finished, "Not finished.", _UNFINISHED),
        (cut, "Cut short.", f"{plural(cut, 'attack')} on the study as written ended with the budget, not by itself."),
        (failed, "Failed to run.", f"{failed}: an attack that fails to run says nothing."),
        (voice.worst is not None and voice.outcome(voice.worst) == "perhaps", "Perhaps.", _PERHAPS),
    )
    return tuple((bold, rest) for there, bold, rest in listed if there)


# --- key numbers ------------------------------------------------------------------------------------------------------


def tiles(voice: AuditVoice) -> tuple[Tile, ...]:
    """Make the key numbers: the worst of each at the study as written, with its baseline and interval."""
    order = sorted(_TILES, key=lambda key: key != voice.leading)
    found = [tile for key in order if (tile := _tile(voice, key)) is not None]
    for bounds in voice.bounds_at(voice.here.key)[:1]:
        patient = max((one for one in bounds.patients if one.numbers), key=lambda one: one.determined, default=None)
        if patient is not None:
            value = f"{whole(patient.determined)} of {whole(patient.numbers)}"
            found.append(Tile("Numbers determined", value, "of the worst-off patient, whatever the attack"))
    if not found:
        found.append(Tile("Attacks with a result", str(len(voice.played)), "nothing was measured"))
    return tuple(found)


def _tile(voice: AuditVoice, key: str) -> Tile | None:
    measure, strongest = MEASURES[key], voice.strongest(voice.here.key, key)
    if strongest is None:
        return None
    of_one = measure.of_one and key in strongest.worst.values
    value = voice.value(strongest, key) if of_one else None
    measured, notes = strongest.measures.get(key), []
    if of_one and measured is not None:
        notes.append(f"all patients {measure.estimate(measured)}")
    elif measured is not None:
        value, ends = measured.found.value, measure.interval(measured.found)
        notes.append(f"95 % interval {ends}" if ends else "no interval")
    else:
        value = voice.value(strongest, key)
    base = voice.guess(strongest, key) if of_one else voice.baseline(strongest, key)
    notes.append("no baseline" if base is None else f"without the update {measure.write(base)}")
    label = f"{measure.label}, worst patient" if of_one else measure.label
    return Tile(label, measure.write(value), "; ".join(notes), accent=key == voice.leading)

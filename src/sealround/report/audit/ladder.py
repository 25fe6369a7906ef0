"""The ladder: what every protection changes, with what the model is worth beside it; and what to switch on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.audit.figures import Compared, Forest, forest
from sealround.report.audit.measures import MEASURES
from sealround.report.typography import NONE, capital, decimal, interval
from sealround.report.voice import Table

if TYPE_CHECKING:
    from sealround.report.audit.evidence import Rung
    from sealround.report.audit.voice import AuditVoice

__all__ = ["Ladder", "Switch", "ladder", "switches"]

_COLUMNS = ("exact_cells", "exact_records", "psnr_db", "ssim", "reidentified", "auc", "share_error")


@dataclass(frozen=True, slots=True)
class Ladder:
    """The ladder as a table and as a figure of the measure that the page leads with."""

    table: Table
    measure: str
    figure: Forest | None
    said: str


@dataclass(frozen=True, slots=True)
class Switch:
    """One thing to switch on: what it is, what was found with it, and the text for the study file."""

    label: str
    said: str
    toml: str


def _state(rung: Rung) -> str:
    return "the study as written" if rung.here else "not in the study" if rung.beyond else ""


def _name(rung: Rung) -> str:
    state = _state(rung)
    return f"{rung.label} ({state})" if state else rung.label


def ladder(voice: AuditVoice) -> Ladder:
    """Make a row for each rung, from no protection to the study as written and beyond."""
    rungs = tuple(voice.evidence.rungs.values())
    keys = tuple(key for key in _COLUMNS if voice.measured(key))
    accurate = next((rung.accuracy.metric for rung in rungs if rung.accuracy is not None), None)
    head = (
        "Protection",
        "Attack that got the most",
        *(MEASURES[key].label for key in keys),
        *(() if accurate is None else (f"Model: {accurate}",)),
    )
    rows = [
        (
            _name(rung),
            _strongest(voice, rung),
            *(_worst(voice, rung, key) for key in keys),
            *(() if accurate is None else (_accuracy(rung),)),
        )
        for rung in rungs
    ]
    if keys:
        guesses = tuple(MEASURES[key].write(_guess(voice, key)) for key in keys)
        rows.append(("A guess without the update, on average", NONE, *guesses, *(() if accurate is None else (NONE,))))
    note = (
        "Of the worst-off patient where a measure is of one patient, else of all; the worst over all attackers. Rungs "
        f"that were attacked with different attacks do not compare. {NONE}: not measured there, which is not zero. "
        "Intervals are 95 %."
    )
    return Ladder(
        Table("What was recovered on each rung, worst case over all attackers", head, tuple(rows), note, 2),
        MEASURES[voice.leading].label,
        forest(voice.leading, [_compared(voice, rung) for rung in rungs]),
        _said(voice),
    )


def _worst(voice: AuditVoice, rung: Rung, key: str) -> str:
    found = voice.strongest(rung.key, key)
    return NONE if found is None else MEASURES[key].write(voice.value(found, key))


def _guess(voice: AuditVoice, key: str) -> float | None:
    """Return the best that any guess reaches."""
    found = [base for one in voice.evidence.findings if (base := voice.baseline(one, key)) is not None and one.measures]
    if not found:
        return None
    return min(found) if MEASURES[key].lower_tells_more else max(found)


def _accuracy(rung: Rung) -> str:
    if rung.accuracy is None:
        return NONE
    found = rung.accuracy.found
    ends = interval(found, 2)
    return f"{decimal(found.value, 2)} ({ends})" if ends else decimal(found.value, 2)


def _strongest(voice: AuditVoice, rung: Rung) -> str:
    played = next((one for one in voice.at(rung.key) if one.played), None)
    return "none was played" if played is None else f"{played.name} ({voice.attacker(played)})"


def _compared(voice: AuditVoice, rung: Rung) -> Compared:
    found, key = voice.strongest(rung.key, voice.leading), voice.leading
    state = _state(rung)
    if found is None:
        return Compared(rung.label, f"{state}; not measured" if state else "not measured", None, None, None, rung.here)
    measured = found.measures.get(key)
    return Compared(
        rung.label,
        state,
        found.worst.values.get(key) if MEASURES[key].of_one else None,
        None if measured is None else measured.found,
        voice.guess(found, key),
        rung.here,
    )


def _said(voice: AuditVoice) -> str:
    """Say what the study's protections change, from the first rung to the study as written."""
    first = next(iter(voice.evidence.rungs.values()))
    key, measure = voice.leading, MEASURES[voice.leading]
    ends = voice.both(first.key, voice.here.key, key)
    if first.here or ends is None:
        return ""
    before, after = (measure.write(voice.value(end, key)) for end in ends)
    of = " of the worst-off patient" if measure.of_one else ""
    same = "under the attacks that were played on both"
    said = f"{measure.label}{of}: {before} with {first.label}, {after} with the study as written, {same}."
    if first.accuracy is None or voice.here.accuracy is None:
        return said
    metric = voice.here.accuracy.metric
    return f"{said} {metric} of the model: {_accuracy(first)} and {_accuracy(voice.here)}."


# --- what to switch on ------------------------------------------------------------------------------------------------


def switches(voice: AuditVoice) -> tuple[Switch, ...]:
    """List what the study does not have, in the order in which the ladder adds it."""
    return tuple(
        Switch(capital(rung.label.removeprefix("+").strip()), _change(voice, rung), rung.switch or "")
        for rung in voice.evidence.rungs.values()
        if rung.beyond
    )


def _change(voice: AuditVoice, rung: Rung) -> str:
    """Say what was found with one more protection, beside what is found without."""
    said: list[str] = []
    for key in (voice.leading, "reidentified", "auc"):
        both = voice.both(voice.here.key, rung.key, key)
        if both is None or any(MEASURES[key].label in part for part in said):
            continue
        values = [MEASURES[key].write(voice.value(one, key)) for one in both]
        said.append(f"{MEASURES[key].label}: {_from_to(*values)}")
    found = f"{'; '.join(said)}." if said else "What is recovered with it was not measured."
    if rung.accuracy is None or voice.here.accuracy is None:
        return found
    return f"{found} {rung.accuracy.metric} of the model: {_from_to(_accuracy(voice.here), _accuracy(rung))}."


def _from_to(before: str, after: str) -> str:
    return f"{before}, as without it" if before == after else f"{before} → {after}"

"""What the update says about a patient whatever the attack: counted, not attacked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.answer import IntervalRow
from sealround.report.audit.measures import power, short
from sealround.report.figures.intervals import proportion_bar
from sealround.report.typography import NONE, percent, whole
from sealround.report.voice import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sealround.report.audit.evidence import Bounds, PatientBounds
    from sealround.report.audit.voice import AuditVoice

__all__ = ["Bounded", "bounded"]


@dataclass(frozen=True, slots=True)
class Bounded:
    """What is known without an attack: sentences, bars of what is determined, the numbers, and notes."""

    said: tuple[str, ...]
    bars: tuple[IntervalRow, ...]
    table: Table
    notes: tuple[str, ...]


def bounded(voice: AuditVoice) -> Bounded | None:
    """Collect what was computed without an attack, the study as written first; ``None`` where nothing was."""
    rungs = sorted(voice.evidence.rungs, key=lambda key: key != voice.here.key)
    found = [bounds for key in rungs for bounds in voice.bounds_at(key)]
    if not found:
        return None
    return Bounded(
        _said(voice),
        tuple(row for bounds in found if (row := _bar(voice, bounds)) is not None),
        _table(voice, found),
        tuple(dict.fromkeys(bounds.note for bounds in found if bounds.note)),
    )


def _most(patients: Iterable[PatientBounds]) -> PatientBounds | None:
    """Return the patient of whom the update determines the largest share."""
    return max((one for one in patients if one.numbers), key=lambda one: one.determined / one.numbers, default=None)


def _said(voice: AuditVoice) -> tuple[str, ...]:
    """Explain what the numbers of the study as written mean."""
    here = voice.bounds_at(voice.here.key)
    worst = _most(one for bounds in here for one in bounds.patients)
    if worst is None:
        return ("Nothing was computed of the study as written.",)
    said = [
        (
            f"Of the {whole(worst.numbers)} numbers of the worst-off patient, the update of the study as written "
            f"determines {whole(worst.determined)}: it pins them down to less than they vary from patient to patient. "
            "What is determined can be recovered in principle, by an attack that is good enough. What is not is no "
            "less delicate for that: the count holds near this patient's values, and does not say that nobody can tell "
            "the patient from one quite different."
        )
    ]
    errors = [one.crb_sd for bounds in here for one in bounds.patients if one.crb_sd is not None]
    if errors:
        of = "grey values, of 1" if voice.images else "the standard deviation of its column, of 1"
        said.append(
            f"With what blurs the update, noise or at least rounding, no unbiased attack can come nearer to the "
            f"worst-off patient than a typical error of {short(min(errors))} ({of}). An attack that knows what "
            "patients look like is not unbiased, and can come nearer."
        )
    elif any(bounds.precision == 0.0 for bounds in here):
        said.append("Nothing blurs what is sent, so there is no error below which an attack cannot get.")
    return tuple(said)


def _where(voice: AuditVoice, bounds: Bounds) -> str:
    rung = voice.evidence.rungs[bounds.rung]
    return f"{rung.label}{' (the study as written)' if rung.here else ''}"


def _bar(voice: AuditVoice, bounds: Bounds) -> IntervalRow | None:
    worst = _most(bounds.patients)
    if worst is None:
        return None
    share = worst.determined / worst.numbers
    text = f"{whole(worst.determined)} of {whole(worst.numbers)} ({percent(share)})"
    note = f"{voice.attacker(bounds)}; {voice.whose(bounds)}"
    here = bounds.rung == voice.here.key
    return IntervalRow(_where(voice, bounds), note, proportion_bar(share, None, None), (("", "", text),), strong=here)


def _table(voice: AuditVoice, found: list[Bounds]) -> Table:
    head = (
        "Where", "Attacked", "Directions determined", "Equations", "Numbers determined, worst patient",
        "Singular values", "Blur (sd)", "Typical error at least", "Fisher information leakage", "I²F",
    )  # fmt: skip
    note = (
        "Each column is of the patient for whom it is worst. Typical error: in standard deviations of a column, or as "
        f"a share of the grey scale. {NONE}: not computed, or without meaning where nothing blurs the update."
    )
    return Table("Without any attack", head, tuple(_row(voice, bounds) for bounds in found), note, 2)


def _row(voice: AuditVoice, bounds: Bounds) -> tuple[str, ...]:
    worst, of = _most(bounds.patients), bounds.patients
    smallest, largest = (
        _end(min, (one.smallest_singular for one in of)),
        _end(max, (one.largest_singular for one in of)),
    )
    spectrum = NONE if smallest is None and largest is None else f"{power(smallest)} to {power(largest)}"
    rank = NONE if bounds.rank is None else f"{whole(bounds.rank)} of {whole(bounds.unknowns)}"
    return (
        _where(voice, bounds),
        f"{voice.attacker(bounds)}: {voice.whose(bounds)}",
        rank,
        whole(bounds.equations),
        NONE if worst is None else f"{whole(worst.determined)} of {whole(worst.numbers)}",
        spectrum,
        "none" if bounds.precision == 0.0 else power(bounds.precision),
        short(_end(min, (one.crb_sd for one in of))),
        power(_end(max, (one.fil for one in of))),
        power(_end(min, (one.i2f for one in of))),
    )


def _end(pick: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return pick(there) if there else None

"""Every attack against every rule, for each way in which patients are divided: a heat map that is a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.drill.evidence import NO_ATTACK
from sealround.report.drill.voice import VERDICT_LABELS, verdict_key
from sealround.report.typography import NONE, capital, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealround.report.drill.evidence import Cell, CellKey
    from sealround.report.drill.voice import DrillVoice

__all__ = ["Grid", "GridRow", "Square", "grids"]

_STOPPED = "no model"
_MILD, _STRONG, _EXTREME = 0.5, 2.0, 4.0
"""Half of the way to the limit of what degrades; twice and four times that limit."""


@dataclass(frozen=True, slots=True)
class Square:
    """One field.

    Attributes:
        css: Its colour, by how much is lost; ``""`` for none.
        icon: The verdict as the name of an icon; ``""`` for none.
        label: The verdict, for who cannot see the icon.
        number: The leading metric.
        below: How often the attack gets its way.
        said: A sentence for the pointer.
        own: Whether the column is the study's own rule.
        worst: Whether it is the worst of its column.
    """

    css: str = ""
    icon: str = ""
    label: str = ""
    number: str = NONE
    below: str = ""
    said: str = ""
    own: bool = False
    worst: bool = False


@dataclass(frozen=True, slots=True)
class GridRow:
    """One attack: its name, a field for each rule, and the worst of them."""

    name: str
    squares: tuple[Square, ...]
    worst: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """One heat map; each rule with whether it is the study's own, and those that cannot run."""

    key: str
    title: str
    rules: tuple[tuple[str, bool], ...]
    rows: tuple[GridRow, ...]
    refused: tuple[str, ...]
    said: str


def grids(voice: DrillVoice) -> tuple[Grid, ...]:
    """Make a heat map for each way in which patients are divided, the study's own first."""
    kinds = sorted(voice.evidence.heterogeneity, key=lambda kind: kind != voice.kind)
    return tuple(_grid(voice, kind, place) for place, kind in enumerate(kinds))


def _rules(voice: DrillVoice) -> list[str]:
    """Return the rules in order, the study's own first."""
    return sorted(voice.evidence.rules, key=lambda rule: rule != voice.rule)


def _grid(voice: DrillVoice, kind: str, place: int) -> Grid:
    evidence, rules = voice.evidence, _rules(voice)
    attacks = [key for key in evidence.attacks if any(_played(voice, (key, rule, kind)) for rule in rules)]
    rows = [_row(voice, key, kind) for key in attacks]
    if any((rule, kind) in evidence.worst for rule in rules):
        rows.append(_worst_row(voice, kind))
    facts = evidence.heterogeneity[kind]
    return Grid(
        key=f"grid-{place}",
        title=capital(facts.title),
        rules=tuple((capital(evidence.rules[rule].title), evidence.rules[rule].own) for rule in rules),
        rows=tuple(rows),
        refused=tuple(capital(evidence.rules[rule].title) for rule in rules if evidence.rules[rule].refused),
        said=_said(voice, kind),
    )


def _played(voice: DrillVoice, key: CellKey) -> bool:
    cell = voice.evidence.cells.get(key)
    return cell is not None and cell.verdict != "not applicable"


def _row(voice: DrillVoice, attack: str, kind: str) -> GridRow:
    evidence, rules = voice.evidence, _rules(voice)
    found = [evidence.cells.get((attack, rule, kind)) for rule in rules]
    return GridRow(
        name=evidence.attacks[attack].title,
        squares=tuple(_square(voice, (attack, rule, kind)) for rule in rules),
        worst=_lowest(voice, [_ended(cell) for cell in found if cell is not None]),
        strong=attack == NO_ATTACK,
    )


def _ended(cell: Cell) -> float | str | None:
    """Return where a cell ended: the leading metric, that there is no model, or nothing."""
    return _STOPPED if cell.stopped is not None and cell.metric.value is None else cell.metric.value


def _number(voice: DrillVoice, found: float | str | None) -> str:
    return found if isinstance(found, str) else voice.number(found)


def _lowest(voice: DrillVoice, found: Iterable[float | str | None]) -> str:
    """Write the worst of some: no model, else the worst value of the leading metric."""
    there = [entry for entry in found if entry is not None]
    if _STOPPED in there:
        return _STOPPED
    pick = min if voice.metric.higher_is_better else max
    values = [entry for entry in there if not isinstance(entry, str)]
    return voice.number(pick(values) if values else None)


def _square(voice: DrillVoice, key: CellKey) -> Square:
    attack, rule, kind = key
    evidence, own = voice.evidence, rule == voice.rule
    cell = evidence.cells.get(key)
    if cell is None:
        refused = evidence.rules[rule].refused
        return Square(css="blank", label="cannot run" if refused else "not played", own=own, said=refused or "")
    worst = evidence.worst.get((rule, kind))
    success = None if cell.success is None else cell.success.value
    return Square(
        css="none" if attack == NO_ATTACK else _shade(voice, cell),
        icon="" if attack == NO_ATTACK else verdict_key(cell.verdict),
        label="" if attack == NO_ATTACK else VERDICT_LABELS[cell.verdict].lower(),
        number=_number(voice, _ended(cell)),
        below=" ".join(part for part in (percent(success), "kept back" if cell.kept_back else "") if part),
        said=cell.sentence,
        own=own,
        worst=worst is not None and worst.attack == attack and attack != NO_ATTACK,
    )


def _shade(voice: DrillVoice, cell: Cell) -> str:
    """Return a colour: one of what holds, two of what degrades, three of what fails, by how much harm is done."""
    loss = 0.0 if cell.loss is None or cell.loss.value is None else cell.loss.value
    gain = 0.0 if cell.success is None else (cell.success.value or 0.0) - (cell.success_without or 0.0)
    harm, limit = max(loss, gain), voice.evidence.degrades or 1.0
    match cell.verdict:
        case "holds":
            return "heat-0"
        case "degrades":
            return "heat-1" if harm <= _MILD * limit else "heat-2"
        case "fails":
            no_model = _ended(cell) == _STOPPED
            return "heat-5" if no_model or harm > _EXTREME * limit else "heat-4" if harm > _STRONG * limit else "heat-3"
        case "not assessable" | "not applicable":
            return "blank"


def _worst_row(voice: DrillVoice, kind: str) -> GridRow:
    evidence, rules = voice.evidence, _rules(voice)
    worst = [evidence.worst.get((rule, kind)) for rule in rules]
    ended = [None if found is None else _worst_end(voice, rule, kind) for rule, found in zip(rules, worst, strict=True)]
    squares = tuple(
        Square(
            number=_number(voice, end),
            said="" if found is None else evidence.attacks[found.attack].title,
            own=rule == voice.rule,
        )
        for rule, found, end in zip(rules, worst, ended, strict=True)
    )
    return GridRow("Worst case", squares, _lowest(voice, ended), strong=True)


def _worst_end(voice: DrillVoice, rule: str, kind: str) -> float | str | None:
    """Return what the worst attack on a rule made of it: a value, or no model."""
    found = voice.evidence.worst[rule, kind]
    cell = voice.evidence.cells.get((found.attack, rule, kind))
    return _STOPPED if cell is not None and _ended(cell) == _STOPPED else found.value


def _said(voice: DrillVoice, kind: str) -> str:
    """Say which rule has the best worst case, and where the study's own stands."""
    evidence, label = voice.evidence, voice.metric.label
    ends = {rule: _worst_end(voice, rule, where) for rule, where in evidence.worst if where == kind}
    there = {rule: end for rule, end in ends.items() if isinstance(end, float)}
    if len(ends) < 2 or not there or ends.get(voice.rule) is None:  # noqa: PLR2004 (nothing to compare)
        return ""
    pick = max if voice.metric.higher_is_better else min
    best = pick(there, key=lambda rule: there[rule])
    own, reached = ends[voice.rule], voice.number(there[best])
    if best == voice.rule or _number(voice, own) == reached:
        return f"Of the rules played, none has a better worst case than the study's own: {label} {reached}."
    short = (
        "the study's own rule ends without a model" if own == _STOPPED else f"the study's own has {_number(voice, own)}"
    )
    return f"The best worst case has {evidence.rules[best].title}: {label} {reached}; {short}."

"""Whether an attack that the leading metric hides falls on some patients: missed and falsely alarmed, by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.answer import IntervalRow
from sealround.report.evidence import Estimate
from sealround.report.figures.intervals import Axis, interval_axis, interval_row
from sealround.report.typography import NONE, percent, signed, whole
from sealround.report.voice import Table

if TYPE_CHECKING:
    from markupsafe import Markup

    from sealround.report.drill.evidence import Cell, GroupResult
    from sealround.report.drill.voice import DrillVoice

__all__ = ["Groups", "groups"]


@dataclass(frozen=True, slots=True)
class Groups:
    """The section: a rise for each group under the attack that does it the most harm, and the tables."""

    rows: tuple[IntervalRow, ...]
    axis: Markup | None
    table: Table
    details: tuple[Table, ...]
    small: str


def groups(voice: DrillVoice) -> Groups | None:
    """Make the section; ``None`` where no group was measured."""
    cells = {key: cell for key in voice.by_concern() if (cell := voice.own(key)) is not None and cell.groups}
    if not cells:
        return None
    names = list(dict.fromkeys(group.group for cell in cells.values() for group in cell.groups))
    calm = _by_name(voice.unattacked)
    hardest = {name: _hardest(name, cells) for name in names}
    rises = {name: found[1].rise for name, found in hardest.items() if found and found[1].rise}
    axis = Axis.around([_hundredfold(rise) for rise in rises.values()], 0.0, bounded=False) if rises else None
    rows = () if axis is None else tuple(_interval(voice, axis, name, hardest[name], rises[name]) for name in rises)
    unassessable = [name for name in names if hardest[name] is None]
    return Groups(
        rows=rows,
        axis=None if axis is None else interval_axis(axis),
        table=_table(voice, names, calm, hardest),
        details=tuple(_detail(voice, key, cell) for key, cell in cells.items()),
        small=_small(unassessable),
    )


def _by_name(cell: Cell | None) -> dict[str, GroupResult]:
    return {} if cell is None else {group.group: group for group in cell.groups}


def _hardest(name: str, cells: dict[str, Cell]) -> tuple[str, GroupResult] | None:
    """Return the attack that raises the share of missed patients of a group the most, and what it does."""
    found = [
        (group.rise.value, place, key, group)
        for place, (key, cell) in enumerate(cells.items())
        for group in cell.groups
        if group.group == name and group.assessable and group.rise is not None and group.rise.value is not None
    ]
    if not found:
        return None
    _, _, key, group = max(found, key=lambda entry: (entry[0], -entry[1]))
    return key, group


def _hundredfold(found: Estimate) -> Estimate:
    """Turn a share into percentage points."""
    value, low, high = (None if end is None else 100 * end for end in (found.value, found.low, found.high))
    return Estimate(value, low, high)


def _points(rise: Estimate | None) -> str:
    """Write a rise in percentage points: ``+12 (+5 to +19)``."""
    found = _hundredfold(rise or Estimate())
    if found.value is None:
        return NONE
    value = signed(found.value, 0)
    if found.low is None or found.high is None:
        return value
    return f"{value} ({signed(found.low, 0)} to {signed(found.high, 0)})"


def _share(found: Estimate | None) -> str:
    """Write a share with its interval: ``12 % (8-17)``."""
    if found is None or found.value is None:
        return NONE
    if found.low is None or found.high is None:
        return percent(found.value)
    return f"{percent(found.value)} ({100 * found.low:.0f}–{100 * found.high:.0f})"


def _interval(
    voice: DrillVoice, axis: Axis, name: str, hardest: tuple[str, GroupResult] | None, rise: Estimate
) -> IntervalRow:
    text = _points(rise)
    under = "" if hardest is None else f"under {voice.evidence.attacks[hardest[0]].title}"
    svg = interval_row(axis, [("federated", _hundredfold(rise), f"{name}: {text}")], line=34)
    return IntervalRow(name, under, svg, (("federated", "", text),))


def _table(
    voice: DrillVoice,
    names: list[str],
    calm: dict[str, GroupResult],
    hardest: dict[str, tuple[str, GroupResult] | None],
) -> Table:
    rows = []
    for name in names:
        before, after = calm.get(name), hardest[name]
        if after is None:
            rows.append((name, "not assessable", whole(None if before is None else before.n), *([NONE] * 5)))
            continue
        key, group = after
        rows.append(
            (
                name,
                voice.evidence.attacks[key].title,
                whole(group.n),
                _share(None if before is None else before.fnr),
                _share(group.fnr),
                _points(group.rise),
                _share(None if before is None else before.fpr),
                _share(group.fpr),
            )
        )
    head = (
        "Group", "Attack that hits it most", "Test patients", "Missed, nobody lies", "Missed then", "Rise, points",
        "False alarms, nobody lies", "False alarms then",
    )  # fmt: skip
    note = (
        f"Missed: of the patients with {voice.condition}, the share that is called healthy. False alarms: of those "
        f"without, the share that is called sick. {voice.confidence} in parentheses."
    )
    return Table("Missed and falsely alarmed by group, under the attack that hits it most", head, tuple(rows), note, 2)


def _detail(voice: DrillVoice, key: str, cell: Cell) -> Table:
    rows = tuple(
        (
            group.group,
            whole(group.n),
            _share(group.fnr),
            _share(group.fpr),
            _points(group.rise),
        )
        if group.assessable
        else (group.group, whole(group.n), "not assessable", NONE, NONE)
        for group in cell.groups
    )
    head = ("Group", "Test patients", "Missed", "False alarms", "Rise of missed, points")
    return Table(f"Under {voice.evidence.attacks[key].title}", head, rows)


def _small(names: list[str]) -> str:
    if not names:
        return ""
    return f"{'; '.join(names)}: too few patients to say anything. An attack on them would not be seen here."

"""Rows of numbers against their baselines: on the ladder, by attack, and of what the update determines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.answer import IntervalRow
from sealround.report.audit.measures import MEASURES
from sealround.report.evidence import Estimate
from sealround.report.figures.intervals import Axis, interval_axis, interval_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from sealround.report.audit.measures import Measure

__all__ = ["Compared", "Forest", "forest"]

LABELS = {"federated": "Worst", "alone": "All", "pooled": "Guess"}
"""What each mark stands for: the worst-off patient, all patients, a guess without the update."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One row: the worst-off patient, all patients with an interval, and the guess; ``None`` for what is not there."""

    name: str
    note: str
    worst: float | None
    all: Estimate | None
    guess: float | None
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Forest:
    """Rows on one axis, and which marks are on them."""

    rows: tuple[IntervalRow, ...]
    axis: Markup
    marks: tuple[tuple[str, str], ...]


def forest(key: str, rows: Sequence[Compared]) -> Forest | None:
    """Draw a measure, each row's marks on lines of their own; ``None`` where no row has a number.

    Args:
        key: The measure. Shares are drawn as per cent.
        rows: In order.
    """
    measure = MEASURES[key]
    scale = 100.0 if measure.unit == "share" else 1.0
    drawn = [_marks(row, scale) for row in rows]
    found = [estimate for marks in drawn for _, estimate in marks]
    if not found:
        return None
    axis = Axis.around([*found, Estimate(0.0)] if measure.unit != "unit" else found, bounded=measure.unit == "unit")
    there = {series for marks in drawn for series, _ in marks}
    return Forest(
        tuple(_row(measure, axis, row, marks, scale) for row, marks in zip(rows, drawn, strict=True)),
        interval_axis(axis),
        tuple((series, label) for series, label in LABELS.items() if series in there),
    )


def _scaled(found: Estimate, scale: float) -> Estimate:
    value, low, high = (None if end is None else end * scale for end in (found.value, found.low, found.high))
    return Estimate(value, low, high)


def _marks(row: Compared, scale: float) -> list[tuple[str, Estimate]]:
    there = (
        ("federated", None if row.worst is None else Estimate(row.worst)),
        ("alone", row.all),
        ("pooled", None if row.guess is None else Estimate(row.guess)),
    )
    return [(series, _scaled(one, scale)) for series, one in there if one is not None and one.value is not None]


def _row(measure: Measure, axis: Axis, row: Compared, marks: list[tuple[str, Estimate]], scale: float) -> IntervalRow:
    values = tuple((series, LABELS[series], _written(measure, _scaled(one, 1 / scale))) for series, one in marks)
    svg = interval_row(axis, [(series, one, text) for (series, one), (_, _, text) in zip(marks, values, strict=True)])
    return IntervalRow(row.name, row.note, svg, values, strong=row.strong)


def _written(measure: Measure, found: Estimate) -> str:
    ends = measure.interval(found)
    return f"{measure.write(found.value)} ({ends})" if ends else measure.write(found.value)

"""The way there: the leading metric and an attack's success over the rounds, for each attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealround.report.figures.curves import Curve, round_curves
from sealround.report.typography import NONE, percent, plural
from sealround.report.voice import Figure, Panel, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealround.report.drill.evidence import Cell
    from sealround.report.drill.voice import DrillVoice

__all__ = ["learning_figure", "success_figure"]

_SHAPE = "multiples-wide courses"
_LAST = " A vertical line marks the last round in which anybody lied."


def _span(curves: Iterable[Curve]) -> tuple[float, float] | None:
    """Return the heights that all panels share, so that they can be compared."""
    heights = [y for curve in curves for _, y in curve.points if y is not None]
    return (min(heights), max(heights)) if heights else None


def _end(curve: Curve) -> str:
    return NONE if curve.end is None else f"{curve.end[1]:.2f}"


def learning_figure(voice: DrillVoice) -> Figure | None:
    """Make a panel for each attack: the leading metric with the study's rule, with a plain mean, without an attack."""
    calm = Curve("", "pooled", () if voice.unattacked is None else voice.unattacked.course.metric)
    found: list[tuple[str, list[Curve]]] = []
    for key in voice.by_concern():
        own, plain = voice.own(key), voice.plain(key)
        curves = [calm, *_metric(plain, "alone"), *_metric(own, "federated")]
        if any(curve.css == "federated" for curve in curves):
            found.append((key, curves))
    if not found:
        return None
    span = _span(curve for _, curves in found for curve in curves)
    label = voice.metric.label
    panels = tuple(
        Panel(
            voice.evidence.attacks[key].title,
            round_curves(
                f"course-{place}",
                f"{label} per round: {voice.evidence.attacks[key].title}",
                _says(curves),
                curves,
                released=_stopped(voice.own(key)),
                span=span,
                bounded=True,
            ),
        )
        for place, (key, curves) in enumerate(found)
    )
    side = "below" if voice.metric.higher_is_better else "above"
    note = f"All panels have the same axis. The further the full line is {side} the dotted one, the worse."
    if any(_stopped(voice.own(key)) is not None for key, _ in found):
        note += _LAST
    return Figure("courses", f"{label} per round, under each attack", note, panels, (_ends(voice),), _SHAPE)


def _stopped(cell: Cell | None) -> int | None:
    """Return the last round in which anybody lied, where training went on after it."""
    return None if cell is None or cell.durability is None else cell.durability.stopped_after


def _metric(cell: Cell | None, css: str) -> list[Curve]:
    return [] if cell is None or not cell.course.metric else [Curve("", css, cell.course.metric)]


_WHOSE = {"federated": "with the study's rule", "alone": "with a plain mean", "pooled": "nobody lies"}


def _says(curves: Sequence[Curve]) -> str:
    """Describe curves by their ends, for who cannot see them."""
    return f"At the end: {'; '.join(f'{_WHOSE[curve.css]} {_end(curve)}' for curve in reversed(curves))}."


def _ends(voice: DrillVoice) -> Table:
    """Write where every attack ended."""
    rows = []
    for key in voice.by_concern():
        own, plain = voice.own(key), voice.plain(key)
        if own is None:
            continue
        rows.append(
            (
                voice.evidence.attacks[key].title,
                voice.number(own.baseline),
                voice.number(own.metric.value),
                voice.number(own.worst),
                voice.loss(own.loss),
                NONE if plain is None else voice.number(plain.metric.value),
            )
        )
    head = (
        "Attack",
        "Nobody lies",
        "Study's rule",
        f"Worst {voice.sites(1)}",
        f"Change ({voice.confidence})",
        "Plain mean",
    )
    return Table(f"{voice.metric.label} after the last lie, under each attack", head, tuple(rows))


# --- success ----------------------------------------------------------------------------------------------------------


def success_figure(voice: DrillVoice) -> Figure | None:
    """Make a panel for each attack that is after a certain answer: how often it gets it, and for how long."""
    found: list[tuple[str, Cell, list[Curve]]] = []
    for key in voice.by_concern():
        own, plain = voice.own(key), voice.plain(key)
        if own is not None and (own.course.success or own.durability is not None):
            curves = [Curve("", css, _success(cell)) for css, cell in (("alone", plain), ("federated", own)) if cell]
            found.append((key, own, curves))
    if not found:
        return None
    panels = tuple(
        Panel(
            voice.evidence.attacks[key].title,
            round_curves(
                f"success-{place}",
                f"Success per round: {voice.evidence.attacks[key].title}",
                _says(curves),
                curves,
                released=_stopped(own),
                span=(0.0, 1.0),
                bounded=True,
            ),
            _lasting(own),
        )
        for place, (key, own, curves) in enumerate(found)
    )
    stops = any(own.durability is not None for _, own, _ in found)
    note = "Share of the cases it is after in which the attack gets the answer that it wants."
    note += _LAST if stops else ""
    table = _success_table(voice, [(key, own) for key, own, _ in found])
    return Figure("success", "How often an attack gets its way", note, panels, (table,), _SHAPE)


def _success(cell: Cell) -> tuple[tuple[float, float | None], ...]:
    """Return success over all rounds: while it lasted, and after the attack had stopped."""
    after = () if cell.durability is None else cell.durability.points
    return (*cell.course.success, *(point for point in after if point[0] not in {x for x, _ in cell.course.success}))


def _lasting(cell: Cell) -> str:
    if cell.durability is None:
        return ""
    if not cell.gained:
        return f"Stopped after round {cell.durability.stopped_after}: there was nothing to be gone."
    gone = cell.durability.half_life
    left = (
        "not half of it was gone at the end" if gone is None else f"half of it was gone after {plural(gone, 'round')}"
    )
    return f"Stopped after round {cell.durability.stopped_after}: {left}."


def _success_table(voice: DrillVoice, found: Sequence[tuple[str, Cell]]) -> Table:
    rows = []
    for key, own in found:
        value, plain = own.success, voice.plain(key)
        end = next((y for _, y in reversed(own.durability.points) if y is not None), None) if own.durability else None
        rows.append(
            (
                voice.evidence.attacks[key].title,
                _share(value.value if value else None),
                _between(value.low, value.high) if value else NONE,
                _share(plain.success.value if plain and plain.success else None),
                _share(end),
            )
        )
    head = ("Attack", "Study's rule", voice.confidence, "Plain mean", "At the end, after it stopped")
    return Table("How often an attack gets its way", head, tuple(rows))


def _share(value: float | None) -> str:
    return percent(value) or NONE


def _between(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{100 * low:.0f}–{percent(high)}"

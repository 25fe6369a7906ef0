"""Curves: training rounds, ROC, calibration, Kaplan-Meier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.figures.plot import Plot, Scale, spread, ticks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from sealround.report.evidence import Bin, RiskGroup

    Point = tuple[float, float | None]

__all__ = ["Curve", "bound_curve", "calibration", "kaplan_meier", "roc", "round_curves", "wilson"]

ROUNDS_HEIGHT = 260
"""Height of the curves per round, px, as in the style sheet: labels at the ends of lines are kept apart by it."""

KM_HEIGHT = 200
"""Height of Kaplan-Meier curves, px, as in the style sheet."""

_LABEL_GAP = 15
_NAME_LENGTH = 16
_UNIT = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot.

    Attributes:
        label: Written at its end; empty for none.
        css: How it looks.
        points: ``(x, y)`` in order; ``None`` breaks the line.
    """

    label: str
    css: str
    points: Sequence[Point]

    @property
    def end(self) -> tuple[float, float] | None:
        """The last point there is."""
        return next(((x, y) for x, y in reversed(self.points) if y is not None), None)


def _shorten(name: str, length: int = _NAME_LENGTH) -> str:
    return name if len(name) <= length else f"{name[: length - 1].rstrip()}…"


def _label_ends(plot: Plot, curves: Sequence[Curve], height: int) -> None:
    """Write each curve's label to the right of its end, moved apart where they would collide."""
    ends = [(curve, curve.end) for curve in curves if curve.label]
    there = [(curve, end) for curve, end in ends if end is not None]
    wanted = [height * (1 - plot.y.share(end[1])) for _, end in there]
    for (curve, _), y in zip(there, spread(wanted, _LABEL_GAP, 0, height), strict=True):
        share = plot.y.low + (plot.y.high - plot.y.low) * (1 - y / height)
        plot.text(plot.x.high, share, _shorten(curve.label), f"label {curve.css}", dx=8, dy=4)


def round_curves(
    key: str,
    title: str,
    description: str,
    curves: Sequence[Curve],
    *,
    band: Sequence[tuple[float, float, float]] = (),
    released: int | None = None,
    span: tuple[float, float] | None = None,
    bounded: bool = False,
) -> Markup:
    """Draw numbers per round, each line labelled at its end.

    Args:
        key: Unique on the page.
        title: What it is.
        description: What it shows.
        curves: Lines, those in front last.
        band: Range over sites, ``(round, low, high)``, where there are too many for a line each.
        released: The round whose model was released, marked.
        span: Heights to cover whatever the curves do, so that figures can be compared.
        bounded: Keep the axis within 0..1.
    """
    across = [x for curve in curves for x, y in curve.points if y is not None] or [0.0, 1.0]
    heights = [y for curve in curves for _, y in curve.points if y is not None]
    heights += [end for _, low, high in band for end in (low, high)] + list(span or ())
    low, high = (min(heights), max(heights)) if heights else (0.0, 1.0)
    at = ticks(low, high, 5)
    at = tuple(value for value in at if 0 <= value <= 1) if bounded else at
    rounds = ticks(min(across), max(across), 6, whole=True)
    first, last = min(across), max(across)
    scale = Scale(first, last) if last > first else Scale(first - 1, first + 1)
    plot = Plot(scale, Scale(at[0], at[-1]))
    plot.up(at)
    plot.across([value for value in rounds if first <= value <= last] or [first], grid=False, step=1.0)
    if released is not None and first <= released <= last:
        plot.rule("released", x=released)
    if len(band) > 1:
        plot.band(band, "sites")
    for curve in curves:
        plot.line(curve.points, curve.css)
    _label_ends(plot, curves, ROUNDS_HEIGHT)
    return plot.svg(key, title, description, "wide rounds")


def _square() -> Plot:
    plot = Plot(Scale(0.0, 1.0), Scale(0.0, 1.0))
    plot.across(_UNIT)
    plot.up(_UNIT)
    plot.line([(0.0, 0.0), (1.0, 1.0)], "reference")
    return plot


def roc(
    key: str,
    title: str,
    description: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    operating_point: tuple[float, float] | None,
) -> Markup:
    """Draw ROC curves of one site: sensitivity over false-positive rate, federated in front.

    Args:
        key: Unique on the page.
        title: What it is.
        description: What it shows.
        curves: For each model ``(false-positive rate, sensitivity)`` in order.
        operating_point: Where the decision threshold puts the federated model.
    """
    plot = _square()
    for name in sorted(curves, key=lambda model: model == "federated"):
        plot.line([(0.0, 0.0), *curves[name], (1.0, 1.0)], name)  # Every ROC curve has these ends.
    if operating_point is not None:
        plot.dot(*operating_point, "federated operating", radius=5, text="At the decision threshold")
    return plot.svg(key, title, description, "square")


def bound_curve(key: str, title: str, description: str, points: Sequence[tuple[float, float]]) -> Markup:
    """Draw the largest true-positive rate at each false-positive rate: what lies above cannot be reached.

    Args:
        key: Unique on the page.
        title: What it is.
        description: What it shows.
        points: ``(false-positive rate, largest true-positive rate)`` in order.
    """
    plot = _square()
    plot.line([*points, (1.0, 1.0)], "federated")
    return plot.svg(key, title, description, "square")


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927), by default at 95 %; it stays within 0..1 at any count."""
    if count == 0:
        return 0.0, 1.0
    spread_ = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    centre = share + z * z / (2 * count)
    scale = 1 + z * z / count
    return max(0.0, (centre - spread_) / scale), min(1.0, (centre + spread_) / scale)


def calibration(key: str, title: str, description: str, bins: Sequence[Bin]) -> Markup:
    """Draw observed share over predicted risk, with Wilson's 95 % interval; a dot's area is its number of patients."""
    plot = _square()
    most = max((one.count for one in bins), default=1) or 1
    for one in bins:
        low, high = wilson(one.observed, one.count)
        plot.segment((one.predicted, low), (one.predicted, high), "interval federated thin")
    plot.line([(one.predicted, one.observed) for one in bins], "federated thin")
    for one in bins:
        text = f"{one.count} patients: predicted {one.predicted:.2f}, observed {one.observed:.2f}"
        plot.dot(one.predicted, one.observed, "federated", radius=2.5 + 3.5 * math.sqrt(one.count / most), text=text)
    return plot.svg(key, title, description, "square")


def kaplan_meier(
    key: str, title: str, description: str, groups: Sequence[RiskGroup], labels: Mapping[str, str]
) -> Markup:
    """Draw the share still without the event over time, for each third of the patients by predicted risk."""
    longest = max((time for group in groups for time in group.time), default=1.0) or 1.0
    at = ticks(0.0, longest, 4)
    plot = Plot(Scale(0.0, longest), Scale(0.0, 1.0))
    plot.across([value for value in at if value <= longest], grid=False)
    plot.up(ticks(0.0, 1.0, 5))
    curves = [
        Curve(labels[group.group], f"risk-{group.group}", [(0.0, 1.0), *zip(group.time, group.survival, strict=True)])
        for group in groups
    ]
    for curve in curves:
        plot.line(curve.points, curve.css, steps=True)
    _label_ends(plot, curves, KM_HEIGHT)
    return plot.svg(key, title, description, "wide km")

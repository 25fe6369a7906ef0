"""Dots with intervals: the rows of a forest plot, their axis, and the spread of many sites as swarms of dots."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.figures.plot import Plot, Scale, marker, tag, tick_text, ticks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from sealround.report.evidence import Estimate

__all__ = ["Axis", "interval_axis", "interval_row", "proportion_bar", "scatter", "swarm"]

LINE = 22
"""Height of one interval, px: that of the text beside it."""

_SWARM_ROW = 92
_SWARM_STEPS = 90
_SWARM_SPREAD = 62


@dataclass(frozen=True, slots=True)
class Axis:
    """A shared axis of many rows.

    Attributes:
        at: Its ticks.
        reference: Where a dashed reference line stands (chance, or no difference).
    """

    at: tuple[float, ...]
    reference: float | None = None

    @classmethod
    def around(cls, found: Sequence[Estimate], reference: float | None = None, *, bounded: bool = True) -> Axis:
        """Make an axis wide enough for all values and intervals; ``bounded`` keeps it within 0..1."""
        values = [end for one in found for end in (one.value, one.low, one.high) if end is not None]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if not bounded and reference is not None:
            low, high = min(low, reference), max(high, reference)
        if high - low < 0.02:  # noqa: PLR2004 (do not blow noise up)
            low, high = low - 0.01, high + 0.01
        at = ticks(max(low, 0.0), min(high, 1.0)) if bounded else ticks(low, high)
        return cls(at, reference if reference is not None and at[0] <= reference <= at[-1] else None)

    @property
    def scale(self) -> Scale:
        """From data to percent."""
        return Scale(self.at[0], self.at[-1])


def _grid(axis: Axis) -> list[Markup]:
    lines = [
        tag("line", x1=axis.scale.at(value), x2=axis.scale.at(value), y1="0", y2="100%", class_="grid")
        for value in axis.at
    ]
    if axis.reference is not None:
        place = axis.scale.at(axis.reference)
        lines.append(tag("line", x1=place, x2=place, y1="0", y2="100%", class_="reference"))
    return lines


def interval_row(
    axis: Axis, found: Sequence[tuple[str, Estimate, str]], *, line: int = LINE, stacked: bool = True
) -> Markup:
    """Draw one row of a forest plot; hidden from assistive technology, because its numbers stand beside it as text.

    Args:
        axis: Shared by all rows.
        found: For each line of the row: series (``federated``, ``alone``, ``pooled``), numbers, text for the pointer.
        line: Height of each, px.
        stacked: Each on a line of its own, or all on one, the last in front.
    """
    marks = []
    for position, (series, estimate, text) in enumerate(found):
        y = line * (position if stacked else 0) + line // 2
        if estimate.low is not None and estimate.high is not None:
            ends = {"x1": axis.scale.at(estimate.low), "x2": axis.scale.at(estimate.high)}
            marks.append(tag("line", **ends, y1=y, y2=y, class_=f"interval {series}"))
        if estimate.value is not None:
            marks.append(marker(series, axis.scale.at(estimate.value), y, text))
    return tag(
        "svg", *_grid(axis), tag("g", *marks, class_="marks"), class_="row", aria_hidden="true", focusable="false"
    )


def interval_axis(axis: Axis) -> Markup:
    """Draw the ticks of a forest plot."""
    step = axis.at[1] - axis.at[0]
    labels = [
        tag("text", tick_text(value, step), x=axis.scale.at(value), y=14, class_="tick", text_anchor="middle")
        for value in axis.at
    ]
    return tag("svg", *labels, class_="row axis", aria_hidden="true", focusable="false")


def proportion_bar(share: float, low: float | None, high: float | None) -> Markup:
    """Draw a share of a whole as a bar with its interval; hidden from assistive technology: the words stand beside."""
    scale = Scale(0.0, 1.0)
    parts = [
        tag("rect", x="0", y=4, width="100%", height=14, class_="whole"),
        tag("rect", x="0", y=4, width=scale.at(share), height=14, class_="part"),
    ]
    if low is not None and high is not None:
        parts.append(tag("line", x1=scale.at(low), x2=scale.at(high), y1=11, y2=11, class_="halo"))
        parts.append(tag("line", x1=scale.at(low), x2=scale.at(high), y1=11, y2=11, class_="whisker"))
    return tag("svg", *parts, class_="row", height=LINE, aria_hidden="true", focusable="false")


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def swarm(
    key: str, title: str, description: str, axis: Axis, series: Mapping[str, tuple[str, Mapping[str, float]]]
) -> Markup:
    """Draw the spread over many sites: a dot for each, stacked where they meet; median and middle half as a bar.

    Args:
        key: Unique on the page.
        title: What it is.
        description: What it shows.
        axis: Across.
        series: For each model, its label and the value of each site.
    """
    height = _SWARM_ROW * len(series)
    plot = Plot(axis.scale, Scale(height, 0.0))
    plot.across(axis.at)
    if axis.reference is not None:
        plot.rule("reference", x=axis.reference)
    for row, (name, (label, values)) in enumerate(series.items()):
        middle = _SWARM_ROW * (row + 0.58)
        plot.text(axis.at[0], _SWARM_ROW * row + 16, label, f"label {name}")
        columns = {site: round(_SWARM_STEPS * axis.scale.share(value)) for site, value in values.items()}
        heights = Counter(columns.values())
        ranks: Counter[int] = Counter()
        for site, value in sorted(values.items(), key=lambda entry: (entry[1], entry[0])):
            column = columns[site]
            rank = ranks[column]
            ranks[column] += 1
            lift = (rank + 1) // 2 * (1 if rank % 2 else -1)  # 0, +1, -1, +2, ...: a swarm about its line.
            step = min(5.5, _SWARM_SPREAD / heights[column])
            plot.dot(value, middle + step * lift, f"many {name}", radius=2.6, text=f"{site}: {value:.3f}")
        ordered = sorted(values.values())
        if ordered:
            low, mid, high = (_quantile(ordered, share) for share in (0.25, 0.5, 0.75))
            plot.segment((low, middle), (high, middle), f"quartiles {name}")
            plot.segment((mid, middle - 13), (mid, middle + 13), f"median {name}")
    return plot.svg(key, title, description, f"wide swarm-{len(series)}")


def scatter(key: str, title: str, description: str, pairs: Mapping[str, tuple[float, float]]) -> Markup:
    """Draw each site's value alone (across) against together (up), with the line where both are equal."""
    values = [value for pair in pairs.values() for value in pair]
    at = ticks(min(values), max(values), 4)
    plot = Plot(Scale(at[0], at[-1]), Scale(at[0], at[-1]))
    plot.across(at)
    plot.up(at)
    plot.line([(at[0], at[0]), (at[-1], at[-1])], "reference")
    for site, (alone, together) in pairs.items():
        plot.dot(
            alone, together, "many federated", radius=3, text=f"{site}: alone {alone:.3f}, together {together:.3f}"
        )
    return plot.svg(key, title, description, "square")

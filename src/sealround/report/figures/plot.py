"""The drawing ground of every figure.

The SVG's viewport is the plot area itself: places are percentages of it, sizes and text are pixels. So a figure fills
whatever width the page gives it, from a phone to a wall, and its text never shrinks. Margins are the page's business
(padding in the style sheet); labels reach into them because nothing is clipped. Colours are custom properties of the
page, so one figure serves light, dark and print.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Point = tuple[float, float | None]

__all__ = ["Plot", "Scale", "marker", "spread", "tag", "ticks"]

_UNITS = 1000  # Paths cannot use percentages: they are drawn in a square of so many units that is stretched to fit.


def tag(name: str, *content: str, **attributes: float | str | None) -> Markup:
    """Make one element; text is escaped unless it is `Markup`; ``class_`` is ``class``, ``stroke_width`` hyphenated.

    Attributes that are ``None`` are left out; numbers are written with at most two decimals.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_number(value) if isinstance(value, int | float) else escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(escape(part) for part in content)
    return Markup(f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>")  # noqa: S704 (escaped above)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


@dataclass(frozen=True, slots=True)
class Scale:
    """One axis: from data to percent of the plot area."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Return where ``value`` lies, 0..1, held within the plot."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def at(self, value: float) -> str:
        """Return where ``value`` lies, as a percentage for an attribute."""
        return f"{_number(100 * self.share(value))}%"


def ticks(low: float, high: float, target: int = 5, *, whole: bool = False) -> tuple[float, ...]:
    """Return round numbers that cover ``low`` to ``high`` in about ``target`` steps of 1, 2 or 5 times a power of ten.

    Args:
        low: Smallest value to cover.
        high: Largest value to cover; equal ends are set apart.
        target: About how many steps.
        whole: Only whole numbers.
    """
    if not high > low:
        apart = max(abs(low) / 20, 0.005)
        low, high = low - apart, high + apart
    rough = (high - low) / target
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    if whole:
        step = max(1.0, round(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(position * step, 12) for position in range(first, last + 1))


def tick_text(value: float, step: float) -> str:
    """Write a tick's number with the digits its step needs."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart: as near to where they are wanted as ``gap`` between any two and ``low``..``high`` allow.

    The nearest in least squares: less ``gap`` for each label above it, a label must only not lie above the one before,
    which is isotonic regression, solved by pooling adjacent violators (Barlow et al. 1972). Where there is no room for
    all, those at the end reach beyond ``high``.
    """
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    blocks: list[tuple[float, int]] = []  # Mean of the shifted heights, and of how many labels.
    for rank, place in enumerate(order):
        mean, count = wanted[place] - gap * rank, 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean, count = (mean * count + before * many) / (count + many), count + many
        blocks.append((mean, count))
    last = max(low, high - gap * (len(order) - 1))
    heights = [min(max(mean, low), last) for mean, count in blocks for _ in range(count)]
    placed = [0.0] * len(wanted)
    for rank, place in enumerate(order):
        placed[place] = heights[rank] + gap * rank
    return placed


def marker(series: str, x: str, y: float | str, text: str = "") -> Markup:
    """Draw one model's mark: a disc for federated, a ring for alone, a diamond for pooled. Never colour alone."""
    title = tag("title", text) if text else ""
    css = f"mark {series}"
    if series == "pooled":
        diamond = tag("path", title, d="M0-6.2 6.2 0 0 6.2-6.2 0z", class_=css)
        return tag("svg", diamond, x=x, y=y, class_="over")
    return tag("circle", title, cx=x, cy=y, r=5.5 if series == "federated" else 4.75, class_=css)


@dataclass(slots=True)
class Plot:
    """One plot: grid below, then paths, then marks and text, in the order they were added.

    Attributes:
        x: Axis across.
        y: Axis up.
    """

    x: Scale
    y: Scale
    _grid: list[Markup] = field(default_factory=list)
    _paths: list[Markup] = field(default_factory=list)
    _marks: list[Markup] = field(default_factory=list)

    # --- axes ---------------------------------------------------------------------------------------------------------

    def across(self, at: Sequence[float], *, grid: bool = True, step: float | None = None) -> None:
        """Add ticks below, with vertical grid lines."""
        width = step or (at[1] - at[0] if len(at) > 1 else 1.0)
        for value in at:
            place = self.x.at(value)
            if grid:
                self._grid.append(tag("line", x1=place, x2=place, y1="0%", y2="100%", class_="grid"))
            label = tick_text(value, width)
            self._grid.append(tag("text", label, x=place, y="100%", dy="17", class_="tick", text_anchor="middle"))

    def up(self, at: Sequence[float]) -> None:
        """Add ticks at the left, with horizontal grid lines."""
        width = at[1] - at[0] if len(at) > 1 else 1.0
        for value in at:
            place = self.y_at(value)
            self._grid.append(tag("line", x1="0%", x2="100%", y1=place, y2=place, class_="grid"))
            label = tick_text(value, width)
            self._grid.append(tag("text", label, x="0%", y=place, dx="-8", dy="4", class_="tick", text_anchor="end"))

    def y_at(self, value: float) -> str:
        """Return where ``value`` lies from the top, as a percentage."""
        return f"{_number(100 - 100 * self.y.share(value))}%"

    def rule(self, css: str, *, x: float | None = None, y: float | None = None) -> None:
        """Add a reference line across the whole plot at ``x`` or at ``y``."""
        if x is not None:
            place = self.x.at(x)
            self._grid.append(tag("line", x1=place, x2=place, y1="0%", y2="100%", class_=css))
        if y is not None:
            place = self.y_at(y)
            self._grid.append(tag("line", x1="0%", x2="100%", y1=place, y2=place, class_=css))

    # --- data ---------------------------------------------------------------------------------------------------------

    def _place(self, x: float, y: float) -> str:
        return f"{_number(round(_UNITS * self.x.share(x), 1))} {_number(round(_UNITS * (1 - self.y.share(y)), 1))}"

    def line(self, points: Iterable[Point], css: str, *, steps: bool = False) -> None:
        """Add a line; a missing value breaks it, and a point without neighbours becomes a dot."""
        run: list[tuple[float, float]] = []
        for x, y in [*points, (0.0, None)]:
            if y is not None:
                run.append((x, y))
                continue
            if len(run) == 1:
                self.dot(*run[0], css, radius=3)
            elif run:
                self._path(run, css, steps=steps)
            run = []

    def _path(self, run: list[tuple[float, float]], css: str, *, steps: bool) -> None:
        places = [self._place(*run[0])]
        for (_, before), (x, y) in itertools.pairwise(run):
            if steps:
                places.append(self._place(x, before))
            places.append(self._place(x, y))
        self._paths.append(tag("path", d=f"M{'L'.join(places)}", class_=f"line {css}"))

    def band(self, points: Sequence[tuple[float, float, float]], css: str) -> None:
        """Add a filled band between two heights: ``(x, low, high)``."""
        outline = [self._place(x, high) for x, _, high in points] + [self._place(x, low) for x, low, _ in points[::-1]]
        self._paths.append(tag("path", d=f"M{'L'.join(outline)}z", class_=f"band {css}"))

    def segment(self, start: tuple[float, float], end: tuple[float, float], css: str) -> None:
        """Add a straight line."""
        (x1, y1), (x2, y2) = start, end
        place = {"x1": self.x.at(x1), "x2": self.x.at(x2), "y1": self.y_at(y1), "y2": self.y_at(y2)}
        self._marks.append(tag("line", **place, class_=css))

    def dot(self, x: float, y: float, css: str, *, radius: float = 4.0, text: str = "") -> None:
        """Add a dot, with a text for the pointer."""
        inner = tag("title", text) if text else ""
        self._marks.append(tag("circle", inner, cx=self.x.at(x), cy=self.y_at(y), r=radius, class_=f"dot {css}"))

    def mark(self, mark: Markup) -> None:
        """Add a ready-made mark."""
        self._marks.append(mark)

    def text(self, x: float, y: float, text: str, css: str = "label", **attributes: float | str) -> None:
        """Add a text at a place in the data."""
        self._marks.append(tag("text", text, x=self.x.at(x), y=self.y_at(y), class_=css, **attributes))

    # --- whole --------------------------------------------------------------------------------------------------------

    def svg(self, key: str, title: str, description: str, css: str = "wide") -> Markup:
        """Return the figure.

        Args:
            key: Unique on the page; names the title and description for assistive technology.
            title: What it is.
            description: What it shows, for who cannot see it.
            css: Its shape: ``wide`` or ``square``.
        """
        paths = tag(
            "svg",
            *self._paths,
            viewBox=f"0 0 {_UNITS} {_UNITS}",
            preserveAspectRatio="none",
            width="100%",
            height="100%",
            class_="over",
        )
        return tag(
            "svg",
            tag("title", title, id=f"{key}-title"),
            tag("desc", description, id=f"{key}-desc"),
            *self._grid,
            paths,
            *self._marks,
            role="img",
            aria_labelledby=f"{key}-title {key}-desc",
            class_=f"plot {css}",
        )

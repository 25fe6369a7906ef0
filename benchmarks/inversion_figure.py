"""The figure of `fundus_inversion.py` and `chest_xray_inversion.py`: PSNR against what makes an attack harder."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, TypeAlias

from sealround.report.figures.plot import spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Point: TypeAlias = tuple[str, float, float, float]
"""Where on the axis; mean PSNR, and its interval."""

WIDTH, ROW, PLOT_WIDTH, PLOT_HEIGHT, LEFT = 760, 330, 420, 235, 60
COLOURS = ("#0b5cad", "#b3391f", "#0a7d58", "#7a4d9c", "#9a6700", "#1b7c83")
BLIND, GREY, MOST = "without an update, the best", "#57606a", 60.0
DASHES = ("", "6 4", "2 3", "9 3 2 3")
STYLE = """text{font:12px system-ui,sans-serif;fill:#24292f}.head{font-weight:600;font-size:13px}.small{font-size:11px}
.grid{stroke:#d8dee4;stroke-width:1}.line{fill:none;stroke-width:2}"""
HARDER = {"none": -1.0, "8": 0.0, "3": 1.0, "1": 2.0}
"""Order of epsilons: less is harder."""


def draw(panels: Mapping[str, Mapping[str, Sequence[Point]]]) -> str:
    """Draw one panel an axis, whiskers the 95 % interval; the text of an SVG file with a white ground of its own.

    A colour is an attack, a dash a network. Values above 60 dB are drawn at 60: all of them are exact to the eye.
    """
    height = 20 + ROW * max(len(panels), 1)
    body = [f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>']
    for row, (across, lines) in enumerate(panels.items()):
        body += _panel(40 + row * ROW, across, lines)
    said = "PSNR of rebuilt images against images a batch, local steps, noise and sites in the sum."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="t">'
        f'<title id="t">{said}</title><style>{STYLE}</style>{"".join(body)}</svg>\n'
    )


def _panel(top: float, across: str, lines: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    places = sorted({at for points in lines.values() for at, *_ in points}, key=lambda at: _order(across, at))
    step = PLOT_WIDTH / max(len(places), 1)
    x = {at: LEFT + step * (number + 0.5) for number, at in enumerate(places)}
    values = [min(value, MOST) for points in lines.values() for _, *numbers in points for value in numbers]
    low, high = 5 * math.floor(min(values) / 5), 5 * math.ceil(max(values) / 5)
    unit = PLOT_HEIGHT / max(high - low, 5)

    def y(value: float) -> float:
        return top + PLOT_HEIGHT - unit * (min(max(value, low), MOST) - low)

    yield _text(LEFT, top - 14, f"PSNR (dB) against {across}", css="head")
    for mark in range(low, high + 1, 5 if high - low <= 30 else 10):
        yield f'<line class="grid" x1="{LEFT}" x2="{LEFT + PLOT_WIDTH}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
        yield _text(LEFT - 8, y(mark) + 4, str(mark), anchor="end", css="small")
    for at in places:
        yield _text(x[at], top + PLOT_HEIGHT + 18, at, anchor="middle", css="small")
    yield _text(LEFT + PLOT_WIDTH / 2, top + PLOT_HEIGHT + 35, across, anchor="middle", css="small")
    ordered = {line: sorted(points, key=lambda point: x[point[0]]) for line, points in lines.items()}
    heights = spread([y(points[-1][1]) for points in ordered.values()], 15, top, top + PLOT_HEIGHT)
    for number, ((line, points), height) in enumerate(zip(ordered.items(), heights, strict=True)):
        colour, dash = _look(line, list(ordered))
        path = "L".join(f"{x[at]:.1f} {y(value):.1f}" for at, value, *_ in points)
        yield f'<path class="line" stroke="{colour}" stroke-dasharray="{dash}" d="M{path}"/>'
        for at, value, least, most in points:
            shift = x[at] + 2.0 * (number - len(ordered) / 2)
            yield f'<path class="line" stroke="{colour}" d="M{shift:.1f} {y(least):.1f}V{y(most):.1f}"/>'
            yield f'<circle cx="{x[at]:.1f}" cy="{y(value):.1f}" r="3.5" fill="{colour}"/>'
        yield _text(LEFT + PLOT_WIDTH + 9, height + 4, line, css="small", colour=colour)


def _look(line: str, lines: Sequence[str]) -> tuple[str, str]:
    """Return a line's colour, the attack's, and its dashes, the network's."""
    networks, attacks = (list(dict.fromkeys(one.split(", ", 1)[part] for one in lines)) for part in (0, 1))
    network, attack = line.split(", ", 1)
    known = [each for each in attacks if each != BLIND]
    colour = GREY if attack == BLIND else COLOURS[known.index(attack) % len(COLOURS)]
    return colour, DASHES[networks.index(network) % len(DASHES)]


def _order(across: str, at: str) -> float:
    return HARDER[at] if across.startswith("epsilon") else float(at)


def _text(x: float, y: float, text: str, *, anchor: str = "start", css: str = "", colour: str = "") -> str:
    style = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}"{style}>{escape(text)}</text>'

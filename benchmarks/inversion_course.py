"""PSNR against time: the figure of `inversion.py --out FILE`.

    python benchmarks/inversion_course.py FILE FIGURE.svg

A line is one attack on one seed, its best so far by seconds on one thread; both axes as the benchmark measured them.
"""

from __future__ import annotations

import argparse
import json
import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 360, 60, 34, 190, 48
COLOURS = ("#b3391f", "#0b5cad", "#0a7d58", "#7a4d9c")
STYLE = """text{font:12px system-ui,sans-serif;fill:#24292f}.head{font-weight:600;font-size:13px}.small{font-size:11px}
.grid{stroke:#d8dee4;stroke-width:1}.line{fill:none;stroke-width:1.5;opacity:.8}"""
MOST_DB, STEP_DB = 260, 20


def draw(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of an SVG file with a white ground of its own."""
    names = list(dict.fromkeys(row["attack"] for row in rows))
    longest = max(seconds for row in rows for seconds, _ in row["psnr_by_seconds"])
    end = 10.0 * math.ceil(longest / 10.0)

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / end

    def y(decibels: float) -> float:
        share = min(max(decibels, 0.0), MOST_DB) / MOST_DB
        return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share)

    return "".join(_body(rows, names, end, x, y))


def _body(rows: Sequence[Mapping[str, Any]], names: Sequence[str], end: float, x: Any, y: Any) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t">'
        f'<title id="t">PSNR of the image rebuilt so far, against seconds.</title><style>{STYLE}</style>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    )
    yield f'<text class="head" x="{LEFT}" y="18">PSNR (dB) of the best so far, against seconds</text>'
    for mark in range(0, MOST_DB + 1, 2 * STEP_DB):
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
        yield f'<text class="small" x="{LEFT - 8}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark}</text>'
    for mark in range(0, int(end) + 1, 10):
        yield f'<text class="small" x="{x(mark):.1f}" y="{HEIGHT - 26}" text-anchor="middle">{mark}</text>'
    yield f'<text class="small" x="{x(end / 2):.1f}" y="{HEIGHT - 8}" text-anchor="middle">seconds, one thread</text>'
    for row in rows:
        colour = COLOURS[names.index(row["attack"]) % len(COLOURS)]
        best, points = 0.0, []
        for seconds, decibels in row["psnr_by_seconds"]:
            # A step: what was best holds until something better comes.
            points += [(seconds, best), (seconds, max(best, decibels))]
            best = max(best, decibels)
        line = " ".join(f"{x(seconds):.1f},{y(decibels):.1f}" for seconds, decibels in points)
        yield f'<polyline class="line" stroke="{colour}" points="{line}"/>'
    for number, name in enumerate(names):
        top = TOP + 14 + 20 * number
        yield f'<line x1="{WIDTH - RIGHT + 14}" x2="{WIDTH - RIGHT + 38}" y1="{top}" y2="{top}" stroke-width="2" '
        yield f'stroke="{COLOURS[number % len(COLOURS)]}"/>'
        yield f'<text class="small" x="{WIDTH - RIGHT + 44}" y="{top + 4}">{escape(name)}</text>'
    yield "</svg>\n"


def main() -> None:
    """Read the rows, write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="made by inversion.py --out")
    parser.add_argument("figure", type=Path, nargs="?", help="SVG to write")
    arguments = parser.parse_args()
    if arguments.file is None or arguments.figure is None:
        print("nothing to draw: name a file of rows, and a figure")
        return
    arguments.figure.write_text(draw(json.loads(arguments.file.read_text())["rows"]))


if __name__ == "__main__":
    main()

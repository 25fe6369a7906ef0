"""The figure of `aggregation_rules.py`: for each rule two log-log panels, growth with sites and with parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secagg_figure import COLOURS, PANEL_HEIGHT, STYLE, WIDTH, Line, Panel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

COLOURS |= {"sealround": "#0b5cad", "byzfl": "#7a4d9c", "flwr": "#b3391f", "measured limit": "#57606a"}
RULES = ("multi-krum", "trimmed-mean", "meamed", "geometric-median")
LEFTS = {"sites": 62, "parameters": 545}
ROW = PANEL_HEIGHT + 85


def _lines(cells: Sequence[dict[str, Any]], rule: str, across: str) -> Iterator[Line]:
    """Everybody's seconds along cells that differ in one size."""

    def line(system: str, seconds: Callable[[dict[str, Any]], float | None]) -> Iterator[Line]:
        measured = [(cell[across], seconds(cell["cells"][rule])) for cell in cells]
        points = tuple((size, taken, False) for size, taken in measured if taken is not None)
        if points:
            yield Line(system, points, dashed=False)

    def of_peer(name: str) -> Callable[[dict[str, Any]], float | None]:
        return lambda cell: min(cell["peers"].get(name, {}).get("seconds", [None]))

    yield from line("sealround", lambda cell: cell["ours"]["seconds"])
    yield from line("measured limit", lambda cell: cell["ours"]["floor"])
    for name in ("byzfl", "flwr"):
        yield from line(name, of_peer(name))


def draw(found: Sequence[dict[str, Any]]) -> str:
    """Draw the figure.

    Args:
        found: Cells with ``sites``, ``parameters`` and, by rule, what everybody took.

    Returns:
        The text of an SVG file, with a white ground of its own.
    """
    sites, parameters = (sorted({cell[key] for cell in found}) for key in ("sites", "parameters"))
    n, d = sites[len(sites) // 2], parameters[len(parameters) // 2]
    height = 40 + ROW * len(RULES)
    body = [f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>']
    for row, rule in enumerate(RULES):
        for across, left in LEFTS.items():
            fixed = ("parameters", d) if across == "sites" else ("sites", n)
            cells = sorted((cell for cell in found if cell[fixed[0]] == fixed[1]), key=lambda cell: cell[across])
            lines = list(_lines(cells, rule, across))
            size = f"{fixed[1]:,}".replace(",", " ")
            body += Panel(left, 40 + ROW * row, lines).svg(f"{rule}, {size} {fixed[0]}", across)
    said = "Seconds of one aggregation against the number of sites and of parameters."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="t">'
        f'<title id="t">{said}</title><style>{STYLE}</style>{"".join(body)}</svg>\n'
    )

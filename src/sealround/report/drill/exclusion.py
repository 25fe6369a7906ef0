"""Who was left out by the study's rule: liars, as they should be, and honest sites, as they should not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.typography import NONE, percent, some
from sealround.report.voice import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealround.report.drill.evidence import Cell, SitePart
    from sealround.report.drill.voice import DrillVoice

__all__ = ["Left", "exclusion"]

_OFTEN = 0.1
"""An honest site that is left out in more than this share of the rounds is named."""

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Left:
    """The section: a table by attack, one by site, and what they come to."""

    said: str
    attacks: Table
    sites: Table | None


def exclusion(voice: DrillVoice) -> Left | None:
    """Make the section; ``None`` where the study's rule leaves nobody out."""
    cells = {key: cell for key in voice.by_concern() if (cell := voice.own(key)) is not None and cell.exclusion}
    if not cells:
        return None
    return Left(_said(voice, cells), _attacks(voice, cells), _sites(voice, cells))


def _parts(cell: Cell) -> dict[str, SitePart]:
    return {} if cell.exclusion is None else dict(cell.exclusion.sites)


def _wronged(cell: Cell | None) -> list[tuple[str, float]]:
    """Return the sites that were often left out while they were honest, the most often first."""
    parts = {} if cell is None else _parts(cell)
    found = [(site, part.wronged) for site, part in parts.items() if part.wronged is not None]
    return sorted((entry for entry in found if entry[1] > _OFTEN), key=lambda entry: -entry[1])


def _said(voice: DrillVoice, cells: dict[str, Cell]) -> str:
    recalls = [cell.exclusion.recall for cell in cells.values() if cell.exclusion and cell.exclusion.recall is not None]
    said = []
    if recalls:
        mean = percent(sum(recalls) / len(recalls))
        said.append(f"Over all attacks, lying {voice.sites()} were put down in {mean} of their rounds.")
    calm = [f"{site} in {percent(share)}" for site, share in _wronged(voice.unattacked)]
    if calm:
        said.append(f"Even where nobody lies, the rule leaves out {some(calm, _NAMED)} of the rounds.")
    often = dict.fromkeys(site for cell in cells.values() for site, _ in _wronged(cell))
    if often:
        said.append(f"Honest, and left out in more than {percent(_OFTEN)} of the rounds of some attack: {_few(often)}.")
    else:
        said.append(
            f"No honest {voice.sites(1)} was left out in more than {percent(_OFTEN)} of the rounds of an attack."
        )
    if calm or often:
        said.append("The model learns little from the patients of who is left out.")
    return " ".join(said)


def _few(names: Iterable[str]) -> str:
    return some(list(names), _NAMED)


def _attacks(voice: DrillVoice, cells: dict[str, Cell]) -> Table:
    rows = []
    for key, cell in cells.items():
        named = [f"{site} ({percent(share)})" for site, share in _wronged(cell)]
        found = cell.exclusion
        rows.append(
            (
                voice.evidence.attacks[key].title,
                _few(named) or "none",
                _share(None if found is None else found.recall),
                _share(None if found is None else found.precision),
            )
        )
    head = (
        "Attack", f"Honest {voice.sites()} left out (share of rounds)", "Liars put down (recall)",
        "Of those put down, liars (precision)",
    )  # fmt: skip
    note = (
        "Put down: counted for less than half of what its size would give it. Left out: did not count at all; named "
        f"from {percent(_OFTEN)} of the rounds on. {NONE}: nobody was put down."
    )
    return Table("Who was put down and who was left out, by attack", head, tuple(rows), note, 2)


def _share(value: float | None) -> str:
    return percent(value) or NONE


def _sites(voice: DrillVoice, cells: dict[str, Cell]) -> Table | None:
    """Write what became of each site: where nobody lies, and over the attacks while it was honest and while it lied."""
    calm = {} if voice.unattacked is None else _parts(voice.unattacked)
    rows = []
    for site in voice.evidence.sites:
        parts = [part for cell in cells.values() if (part := _parts(cell).get(site)) is not None]
        before = calm.get(site)
        if before is not None or parts:
            lying = [part.left_out for part in parts if part.lies]
            honest = [part.wronged for part in parts]
            rows.append((site, _share(None if before is None else before.left_out), _mean(honest), _mean(lying)))
    if not rows:
        return None
    head = (voice.sites(1).capitalize(), "Nobody lies", "Honest, others lie", "Lying")
    return Table(f"Share of rounds in which each {voice.sites(1)} was left out", head, tuple(rows))


def _mean(shares: Iterable[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return _share(sum(known) / len(known)) if known else NONE

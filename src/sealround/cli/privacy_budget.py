"""``sealround privacy budget``: what was spent of the privacy of one site's records, on what, and what is left."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sealround.errors import UsageError
from sealround.privacy.splits import epsilon_over_studies
from sealround.storage import PrivacyBudget, budget_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.privacy.events import PrivacyEvent
    from sealround.storage import PrivacyEntry

__all__ = ["budget"]

_SHORT = 16


@click.command()
@click.argument("ledger", metavar="LEDGER", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--settle",
    metavar="DIGEST",
    help="Give back what was set aside for a study that will not go on: the first digits of its digest.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON on standard output.")
def budget(ledger: Path, settle: str | None, *, as_json: bool) -> None:
    """Print what was spent of the privacy of a site's patients: LEDGER is the file that its site.toml names.

    A study that is still running, or broke off, counts with all that was set aside for it.
    """
    if settle is not None:
        _settle(ledger, settle)
    entries = budget_entries(ledger)
    groups = [list(found) for _, found in itertools.groupby(entries, key=lambda entry: (entry.data, entry.unit))]
    described = [_describe(group) for group in groups]
    if as_json:
        click.echo(json.dumps({"ledger": str(ledger), "data": described}, indent=1, allow_nan=False))
    else:
        _print(ledger, described)


def _settle(ledger: Path, digits: str) -> None:
    found = [entry for entry in budget_entries(ledger) if entry.study.hex().startswith(digits.lower())]
    if len({entry.study for entry in found}) != 1:
        what = "no study" if not found else "more than one study"
        raise UsageError(f"{what} in {ledger.name} has a digest that begins with {digits!r}", hint="give more digits")
    for entry in found:
        with PrivacyBudget(ledger, entry.data, entry.unit, entry.limit) as books:
            books.settle(entry.study)


def _describe(group: Sequence[PrivacyEntry]) -> dict[str, Any]:
    """Describe the studies on one data set, as a tree fit for JSON: an infinite epsilon is ``None``."""
    limit = max(group, key=lambda entry: entry.since).limit
    spent = epsilon_over_studies([entry.counted for entry in group], limit.delta)
    return {
        "data": group[0].data.hex(),
        "unit": group[0].unit,
        "delta": limit.delta,
        "epsilon": _finite(spent),
        "limit": limit.epsilon,
        "left": None if limit.epsilon is None else max(limit.epsilon - spent, 0.0),
        "studies": [
            {
                "study": entry.study.hex(),
                "since": dt.datetime.fromtimestamp(entry.since, dt.UTC).isoformat(),
                "settled": entry.settled,
                "epsilon": _finite(epsilon_over_studies([entry.counted], limit.delta)),
                "releases": [event.to_json() for event in entry.spent],
                "set_aside": [event.to_json() for event in _aside(entry)],
            }
            for entry in group
        ],
    }


def _finite(epsilon: float) -> float | None:
    return epsilon if math.isfinite(epsilon) else None


def _aside(entry: PrivacyEntry) -> tuple[PrivacyEvent, ...]:
    """Return what counts though it was not released yet."""
    made = {(event.what, event.noise_multiplier, event.sampling_probability): event.count for event in entry.spent}
    left = (
        (event, event.count - made.get((event.what, event.noise_multiplier, event.sampling_probability), 0))
        for event in entry.counted
    )
    return tuple(
        type(event)(event.what, event.noise_multiplier, event.sampling_probability, count)
        for event, count in left
        if count
    )


def _print(ledger: Path, described: Sequence[dict[str, Any]]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:  # A pipe or a file has no width to wrap at.
        console.width = max(console.width, 100)
    if not described:
        console.print(f"Nothing was spent: {ledger} has no entries.", soft_wrap=True)
    for data in described:
        limit = "no limit" if data["limit"] is None else f"of {data['limit']:g}, {data['left']:.4g} left"
        spent = f"epsilon {_number(data['epsilon'])} {limit}, at a delta of {data['delta']:g}"
        console.print(Text.assemble((f"records {data['data'][:_SHORT]}", "bold"), f"  each {data['unit']}: {spent}"))
        table = Table.grid(padding=(0, 2))
        for study in data["studies"]:
            state = "settled" if study["settled"] else "set aside"
            head = f"{study['study'][:_SHORT]}"
            table.add_row(head, study["since"][:10], state, f"epsilon {_number(study['epsilon'])}", _releases(study))
        console.print(Padding(table, (0, 0, 1, 2), expand=False))


def _number(epsilon: float | None) -> str:
    return "infinite" if epsilon is None else f"{epsilon:.4g}"


def _releases(study: dict[str, Any]) -> str:
    """Count releases: made, and still to come."""
    counts: dict[str, list[int]] = {}
    for at, key in enumerate(("releases", "set_aside")):
        for event in study[key]:
            counts.setdefault(event["what"], [0, 0])[at] += event["count"]
    return ", ".join(
        f"{what} {made}" + (f" of {made + aside}" if aside else "") for what, (made, aside) in sorted(counts.items())
    )

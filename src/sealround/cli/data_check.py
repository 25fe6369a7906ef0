"""``sealround data check``: what a data steward wants to know before anything is trained."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sealround.clinical.cohorts import assemble
from sealround.clinical.places import Places
from sealround.clinical.quality import inspect
from sealround.errors import UsageError
from sealround.study import load_study
from sealround.study.summary import describe_sites, describe_source
from sealround.study.words import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealround.clinical.findings import Finding, QualityReport
    from sealround.study import Study

__all__ = ["check"]

_MARKS = {"error": ("✗", "bold red"), "warning": ("!", "bold yellow"), "note": ("·", "cyan")}
_MOST_SITES = 12
_SITES_SIDE_BY_SIDE = 4
_NAMED_SITES = 3
_NAMED_COLUMNS = 12
_NAMED_ROWS = 5
_NOTHING = "–"


@click.command()
@click.argument("study", metavar="STUDY", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--data-folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where `data:` paths start  [default: $SEALROUND_DATA, else the user's data folder]",
)
@click.option("--site", help="Only this site.")
@click.option("--shareable", is_flag=True, help="Hide small counts and row numbers, so that it may leave the hospital.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on standard output.")
@click.pass_context
def check(
    context: click.Context, study: Path, data_folder: Path | None, site: str | None, *, shareable: bool, as_json: bool
) -> None:
    """Look at the data of STUDY before anything is trained.

    Counts what is missing, coded as missing, out of range, doubled or too few, and finds patients and images that are
    in more than one split. No patient's value is printed.

    Exit status: 0 if the data can be used, 1 if a finding is an error, 4 if the data does not fit the study.
    """
    valid = load_study(study)
    report = inspect(valid, assemble(valid, Places.of_study(study, data_folder)))
    if site is not None:
        report = _only(report, site)
    if as_json:
        click.echo(json.dumps(report.to_json(shareable=shareable), indent=1, ensure_ascii=False))
    else:
        _Page(report, shareable=shareable).print(valid)
    context.exit(1 if report.has_errors else 0)


def _only(report: QualityReport, name: str) -> QualityReport:
    sites = [site.site for site in report.sites]
    if name not in sites:
        similar = nearest(name, sites)
        raise UsageError(
            f"there is no site {name!r}" + (f"; did you mean {similar!r}?" if similar else ""),
            hint=f"the sites are {', '.join(sites[:_MOST_SITES])}{', ...' if len(sites) > _MOST_SITES else ''}",
        )
    return replace(
        report,
        sites=tuple(site for site in report.sites if site.site == name),
        findings=tuple(finding for finding in report.findings if finding.site == name),
    )


class _Page:
    """A report on a terminal.

    Args:
        report: What to print.
        shareable: Whether small counts and row numbers are hidden.
    """

    def __init__(self, report: QualityReport, *, shareable: bool) -> None:
        self._report = report
        self._minimum = report.min_cell_count if shareable else 0
        self._shareable = shareable
        self._console = Console(highlight=False)
        if not self._console.is_terminal:  # A pipe or a file has no width to wrap at.
            self._console.width = max(self._console.width, 100)

    def print(self, study: Study) -> None:
        """Print everything."""
        title = (self._report.study, "bold")
        self._console.print(Text.assemble(title, f"  {describe_source(study.cohort)}; {describe_sites(study.cohort)}"))
        self._console.print()
        self._print_sites()
        if any(site.columns for site in self._report.sites):
            self._console.print()
            self._print_columns()
        self._console.print()
        for group in _alike(self._report.findings):
            self._print_findings(group)
        self._print_verdict()

    def _count(self, count: int) -> str:
        return _NOTHING if count == 0 else f"<{self._minimum}" if count < self._minimum else f"{count:,}"

    def _of(self, part: int, whole: int) -> str:
        """Return a count with its share; a small rest is hidden as a small count is."""
        if part < max(self._minimum, 1):
            return self._count(part)
        if 0 < whole - part < self._minimum:
            return f">{whole - self._minimum:,}"
        return f"{part:,} ({_percent(part / whole)})"

    def _print_sites(self) -> None:
        sites = self._report.sites
        optional = {"left\nout": any(site.left_out for site in sites), "copies": any(site.copies for site in sites)}
        table = _table("site")
        for heading in ("rows", "patients", "with\noutcome", "train / valid.\n/ test", *optional, "smallest\ncell"):
            if optional.get(heading, True):
                table.add_column(heading, justify="right", no_wrap=True)
        for site in sites[:_MOST_SITES]:
            splits = " / ".join(self._count(site.splits[split]) for split in ("train", "validation", "test"))
            rest = [
                self._count(count)
                for count, heading in zip((site.left_out, site.copies), optional, strict=True)
                if optional[heading]
            ]
            counts = (self._count(site.rows), self._count(site.patients), self._of(site.positives, site.rows))
            table.add_row(Text(site.site), *counts, splits, *rest, self._count(site.smallest_cell))
        self._console.print(table)
        if len(sites) > _MOST_SITES:
            rows = sorted(site.rows for site in sites)
            span = f"{rows[0]:,} to {rows[-1]:,} rows, median {rows[len(rows) // 2]:,}"
            self._console.print(
                f"… and {len(sites) - _MOST_SITES} more; the {len(sites)} sites have {span}", style="dim"
            )

    def _print_columns(self) -> None:
        sites = self._report.sites
        side_by_side = len(sites) <= _SITES_SIDE_BY_SIDE
        table = _table("missing")
        for heading in [site.site for site in sites] if side_by_side else [f"{len(sites)} sites"]:
            table.add_column(Text(heading), justify="right")
        table.add_column("of these\ncoded", justify="right")
        table.add_column("out of\nrange", justify="right")
        flawless = []
        for columns in zip(*(site.columns for site in sites), strict=True):
            missing = [column.missing for column in columns]
            outside = sum(column.out_of_range for column in columns)
            if not any(missing) and not outside:
                flawless.append(columns[0].name)
                continue
            pairs = [(column.missing, site.rows) for column, site in zip(columns, sites, strict=True)]
            if not side_by_side:
                pairs = [(sum(missing), sum(site.rows for site in sites))]
            coded = sum(column.coded for column in columns)
            shares = (self._of(part, whole) for part, whole in pairs)
            table.add_row(Text(columns[0].name), *shares, self._count(coded), self._count(outside))
        if table.row_count:
            self._console.print(table)
        if flawless:
            more = f" and {len(flawless) - _NAMED_COLUMNS} more" if len(flawless) > _NAMED_COLUMNS + 1 else ""
            names = ", ".join(flawless[:_NAMED_COLUMNS] if more else flawless)
            self._console.print(f"complete and in range: {names}{more}", style="dim", markup=False)

    def _print_findings(self, group: Sequence[Finding]) -> None:
        first = group[0]
        mark, style = _MARKS[first.severity]
        count = sum(finding.count for finding in group)
        columns = ", ".join(dict.fromkeys(finding.column for finding in group if finding.column))
        text = Text.assemble((f"{mark} ", style), (f"{_places(group)}: ", "bold"), f"{columns}: " if columns else "")
        text.append(first.message)
        if count:
            text.append(f" ({self._count(count)} {first.unit if count != 1 else first.unit[:-1]})")
        self._console.print(text)
        self._console.print(Padding(Text(f"→ {first.advice}", style="dim"), (0, 0, 0, 2), expand=False))
        if first.rows and not self._shareable and len(group) == 1:
            rows = ", ".join(str(row) for row in first.rows[:_NAMED_ROWS])
            more = ", …" if len(first.rows) > _NAMED_ROWS else ""
            self._console.print(Padding(Text(f"rows {rows}{more}", style="dim"), (0, 0, 0, 4), expand=False))

    def _print_verdict(self) -> None:
        findings = self._report.findings
        counts = {severity: sum(finding.severity == severity for finding in findings) for severity in _MARKS}
        parts = [f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts.items() if count]
        style = "bold red" if counts["error"] else "bold green"
        self._console.print()
        self._console.print(Text(", ".join(parts) if parts else "nothing to report", style=style))
        if not self._shareable:
            self._console.print("exact counts, for who holds the data; --shareable hides the small ones", style="dim")


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold", style="bold")
    return table


def _percent(share: float) -> str:
    """Write a share so that 0 % and 100 % mean none and all."""
    return "<1%" if 0 < share < 0.01 else ">99%" if 0.99 < share < 1 else f"{share:.0%}"  # noqa: PLR2004 - 1 %


def _alike(findings: Iterable[Finding]) -> Iterable[Sequence[Finding]]:
    """Put findings together that say the same of several sites or columns, in the order of the first."""
    groups: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.code, finding.message, finding.advice].append(finding)
    return groups.values()


def _places(group: Sequence[Finding]) -> str:
    names = list(dict.fromkeys(finding.site or "between sites" for finding in group))
    more = f" and {len(names) - _NAMED_SITES} more" if len(names) > _NAMED_SITES + 1 else ""
    return ", ".join(names[:_NAMED_SITES] if more else names) + more

"""``sealround audit``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sealround.cli.cells import CellWatcher
from sealround.cli.words import Words, duration, plural
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.engines.audit.audits import AuditProgress

__all__ = ["audit"]

_FINDINGS = 1
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_S = 7 * 24 * 3600.0


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on, which we do not require
    """A time such as ``90s``, ``2m`` or ``1.5h``; in seconds."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        match = _DURATION.fullmatch(str(value).strip().lower())
        seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
        if not 1.0 <= seconds <= _LONGEST_S:
            self.fail("expected a time of a second to a week: 90s, 2m, 1.5h", param, ctx)
        return seconds


@click.command(
    epilog="""\b
Examples:
  sealround audit study.toml
  sealround audit study.toml --explain
  sealround audit study.toml --budget 20m --attacks spear,tableak
  sealround audit --resume audits/study-20260101-120000"""
)
@click.argument("study", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--explain", is_flag=True, help="Say what each attacker knows, what that costs it, and attack nothing.")
@click.option(
    "--budget",
    type=_Duration(),
    default="2m",
    show_default=True,
    help="About how long to attack, besides the trainings that show what is sent: 90s, 20m, 3h. Exact attacks come "
    "first; more time finds more.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of every random choice of the attackers.")
@click.option("--attacks", type=Words(), help="Which attacks.  [default: all that apply]")
@click.option("--site", help="Attack this site's update.  [default: the site with fewest records]")
@click.option(
    "--only-study", is_flag=True, help="Attack the study as written, and no variants with less or more protection."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Audit folder  [default: audits/NAME-DATE-TIME]"
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    help="Go on with an interrupted audit; takes no STUDY.",
)
@click.option(
    "--data-folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where `data:` paths start  [default: $SEALROUND_DATA, else the user's data folder]",
)
@click.option("--strict", is_flag=True, help="Exit status 1 if the audit does not pass what the study requires of it.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors and the audit folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as JSON on standard output.")
@click.pass_context
def audit(context: click.Context, /, study: Path | None, **options: Any) -> None:  # noqa: ANN401  (as click hands them over)
    """Attack STUDY as it is, and report what could be rebuilt from what its sites send.

    The updates that are attacked are those `sealround run` would send: trained on the sites' records, clipped, noised
    and sealed as the study says. Each attacker of the threat model plays every attack that applies to the study as
    written; the coordinator also attacks it with less and with more protection. An interrupted audit goes on with
    --resume. What was not found here, others may find: no audit can show that nothing leaks.
    """
    if options["explain"]:
        _explain(study, options)
        return
    as_json, quiet = options["as_json"], options["quiet"]
    with _Watcher(silent=quiet or as_json) as watcher:
        evidence = _go(study, watcher, options)
    if as_json:
        click.echo(json.dumps({"audit": str(watcher.folder), **evidence}, indent=1, allow_nan=False))
    elif quiet:
        click.echo(str(watcher.folder))
    else:
        _print(evidence, watcher.folder)
    if options["strict"] and evidence["passed"] is False:
        context.exit(_FINDINGS)


def _go(study: Path | None, watcher: _Watcher, options: Mapping[str, Any]) -> Mapping[str, Any]:
    from sealround.engines.audit.audits import AuditWishes, resume_audit, start_audit

    if options["resume"] is not None:
        if study is not None:
            raise UsageError("--resume goes on with the study in its folder", hint="leave STUDY out")
        return resume_audit(options["resume"], observe=watcher.observe, folder_known=watcher.folder_known)
    wishes = AuditWishes(
        budget_s=options["budget"],
        seed=options["seed"],
        attacks=options["attacks"],
        site=options["site"],
        only_study=options["only_study"],
    )
    return start_audit(
        _named(study),
        wishes,
        out=options["out"],
        data_folder=options["data_folder"],
        observe=watcher.observe,
        folder_known=watcher.folder_known,
    )


def _named(study: Path | None) -> Path:
    if study is None:
        raise UsageError("no study is named", hint="sealround audit study.toml, or sealround audit --resume FOLDER")
    return study


def _explain(study: Path | None, options: Mapping[str, Any]) -> None:
    """Print who attacks, what each sees, and which attacks apply."""
    from sealround.engines.audit.audits import explain

    explained = explain(_named(study), options["data_folder"])
    if options["as_json"]:
        click.echo(json.dumps(explained, indent=1, allow_nan=False))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{escape(explained['study'])}[/bold]: who attacks it, and with what\n")
    for attacker in explained["attackers"]:
        console.print(f"[bold]{escape(attacker['name'])}[/bold]")
        console.print(f"  sees: {escape(attacker['sees'])}", soft_wrap=True)
        console.print(f"  takes: {escape(attacker['assumes'])}", soft_wrap=True)
        table = Table.grid(padding=(0, 2))
        for attack in attacker["attacks"]:
            table.add_row(f"    {escape(attack['name'])}", escape(f"{attack['what']} ({attack['source']})"))
        console.print(table)
        console.print()
    for line in explained["granted"]:
        console.print(f"- {escape(line)}", soft_wrap=True)


class _Watcher(CellWatcher):
    """Shows an audit's progress, and what is found as it is found."""

    KIND = "audit"
    WIDTH = 44

    def observe(self, step: AuditProgress) -> None:
        """Move the bar; say at once what was found, for an audit that is stopped has found something too."""
        if not self._announced and step.total:
            self._announced = True
            before = f" {step.before} are played already." if step.before else ""
            self._say(f"{plural(step.total, 'attack')}, about {duration(step.budget_s)}.{before}")
        if step.sentence:
            self._say(step.sentence)
        left = "" if not step.total else f"{duration(max(0.0, step.budget_s - step.seconds))} left"
        self._bar.update(
            self._task, description=step.doing[: self.WIDTH], completed=step.done, total=step.total or None, left=left
        )


def _print(evidence: Mapping[str, Any], folder: Path | None) -> None:
    """Print what each attacker recovered at most from the study as it is, and where the page is."""
    from sealround.engines.audit.sentences import advice, said_of

    console = Console(highlight=False)
    names = {attacker["key"]: attacker["name"] for attacker in evidence["attackers"]}
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    for attacker, sentence in said_of(evidence):
        table.add_row(escape(names[attacker]), escape(sentence))
    console.print(table)
    for line in advice(evidence):
        console.print(f"\n[bold]{escape(line)}[/bold]", soft_wrap=True)
    for measure, found in evidence["require"].items():
        mark = "[green]passed[/green]" if found["passed"] else "[red]not passed[/red]"
        value = "not measured" if found["found"] is None else f"{found['found']:.3g}"
        console.print(f"\nrequired: {measure} at most {found['limit']:.3g}, found {value}: {mark}")
    console.print(f"\n{duration(evidence['plan']['seconds'])}, {plural(len(evidence['findings']), 'attack')}")
    if folder is not None:
        console.print(f"report: {folder / 'report.html'}", soft_wrap=True)

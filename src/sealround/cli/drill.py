"""``sealround drill``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sealround.cli.cells import CellWatcher
from sealround.cli.run import WorkerCount
from sealround.cli.words import Words, duration, plural
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.engines.drill.drills import DrillProgress
    from sealround.engines.drill.grid import Grid

    _Workers = int | Literal["auto"] | None

__all__ = ["drill"]

_STYLES = {"holds": "green", "degrades": "yellow", "fails": "red"}
_FINDINGS = 1
_ROUGHLY_AFTER = 4


@click.command(
    epilog="""\b
Examples:
  sealround drill study.toml
  sealround drill study.toml --attacks label-flip,badnets --rules own --seeds 5
  sealround drill study.toml --heterogeneity iid,dirichlet-0.1 --rounds 20"""
)
@click.argument("study", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--attacks", type=Words(), help="Which attacks, or `all`.  [default: of each kind the plainest and the strongest]"
)
@click.option(
    "--rules",
    type=Words(),
    help="Which rules to compare the study's own with, or `all`; `RULE+mixing` mixes updates before.  "
    "[default: mean and four that often help]",
)
@click.option(
    "--heterogeneity",
    type=Words(),
    help="How patients are divided among sites: `iid`, `dirichlet-ALPHA`; `as-is` is always among them.",
)
@click.option(
    "--num-byzantine", type=int, help="How many sites lie.  [default: as many as the study's rule withstands, else 1]"
)
@click.option(
    "--seeds",
    type=int,
    metavar="N",
    default=3,
    show_default=True,
    help="Repeat each training with other liars and randomness.",
)
@click.option("--rounds", type=int, metavar="N", help="Rounds of each training.  [default: the study's]")
@click.option(
    "--stop-after",
    type=int,
    help="Last round with a lie: what is left of it afterwards?  [default: 60 % of the rounds in targeted attacks]",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Drill folder  [default: drills/NAME-DATE-TIME]"
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, file_okay=False),
    help="Go on with an interrupted drill; takes no STUDY.",
)
@click.option(
    "--data-folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where `data:` paths start  [default: $SEALROUND_DATA, else the user's data folder]",
)
@click.option(
    "--workers",
    type=WorkerCount(),
    help="Worker processes, a training at a time each; the result is the same, byte for byte.  [default: auto]",
)
@click.option("--strict", is_flag=True, help="Exit status 1 if the study as it is fails against an attack.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors and the drill folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as JSON on standard output.")
@click.pass_context
def drill(context: click.Context, /, study: Path | None, **options: Any) -> None:  # noqa: ANN401  (as click hands them over)
    """Play malicious sites against STUDY, with its own protections, and report what it withstands.

    Every training is made as `sealround run` makes it, again and again: under each rule, first with everybody honest,
    then with some sites lying in one way after another. What counts is what the model then does for the patients of
    honest sites. An interrupted drill goes on with --resume.
    """
    as_json, quiet = options["as_json"], options["quiet"]
    with _Watcher(silent=quiet or as_json) as watcher:
        evidence = _go(study, watcher, options)
    if as_json:
        click.echo(json.dumps({"drill": str(watcher.folder), **evidence}, indent=1, allow_nan=False))
    elif quiet:
        click.echo(str(watcher.folder))
    else:
        _print(evidence, watcher.folder)
    if options["strict"] and any(verdict["verdict"] == "fails" for verdict in evidence["verdicts"]):
        context.exit(_FINDINGS)


def _go(study: Path | None, watcher: _Watcher, options: Mapping[str, Any]) -> Mapping[str, Any]:
    from sealround.engines.drill.drills import resume_drill, start_drill
    from sealround.engines.drill.grid import Wishes

    workers: _Workers = options["workers"]
    if options["resume"] is not None:
        if study is not None:
            raise UsageError("--resume goes on with the study in its folder", hint="leave STUDY out")
        return resume_drill(
            options["resume"], workers=workers, observe=watcher.observe, folder_known=watcher.folder_known
        )
    if study is None:
        raise UsageError("no study is named", hint="sealround drill study.toml, or sealround drill --resume FOLDER")
    wishes = Wishes(
        **{
            name: options[name]
            for name in ("attacks", "rules", "heterogeneity", "num_byzantine", "seeds", "rounds", "stop_after")
        }
    )
    return start_drill(
        study,
        wishes,
        out=options["out"],
        data_folder=options["data_folder"],
        workers=workers,
        observe=watcher.observe,
        folder_known=watcher.folder_known,
    )


class _Watcher(CellWatcher):
    """Shows a drill's progress, and how long it takes as soon as that is known."""

    KIND = "drill"

    def __init__(self, *, silent: bool) -> None:
        super().__init__(silent=silent)
        self._estimated = False

    def observe(self, step: DrillProgress) -> None:
        """Move the bar; say at the start what is to come, and how long it takes as soon as that is known."""
        if not self._announced:
            self._announced = True
            self._say(_announcement(step.grid, step.total, step.before))
        ahead = step.ahead_s
        if ahead is not None and not self._estimated and step.done - step.before >= _ROUGHLY_AFTER:
            self._estimated = True
            self._say(f"This takes about {duration(ahead)} more.")
        shown = "" if step.cell is None else f"{step.cell.rule}, {step.cell.attack}"
        left = "" if ahead is None else f"{duration(ahead)} left"
        self._bar.update(self._task, description=shown, completed=step.done, total=step.total, left=left)


def _announcement(grid: Grid, total: int, before: int) -> str:
    rules = sum(rule.refused is None for rule in grid.rules)
    said = (
        f"{total} trainings: nobody lies, then {plural(len(grid.attacks) - 1, 'attack')} by "
        f"{plural(grid.num_byzantine, 'site')}; {plural(rules, 'rule')}, "
        f"{plural(len(grid.mixes), 'way')} to divide patients, {plural(len(grid.seeds), 'seed')}, "
        f"{plural(grid.rounds, 'round')} each."
    )
    return f"{said} {before} are done already." if before else said


def _print(evidence: Mapping[str, Any], folder: Path | None) -> None:
    """Print a verdict for each attack on the study as it is, what to change, and where the page is."""
    console = Console(highlight=False)
    titles = {attack["key"]: attack["title"] for attack in evidence["attacks"]}
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for found in evidence["verdicts"]:
        style = _STYLES.get(found["verdict"], "dim")
        verdict = f"[{style}]{found['verdict']}[/{style}]"
        table.add_row(escape(titles[found["attack"]]), verdict, escape(found["sentence"]))
    console.print(table)
    for suggestion in evidence["suggestions"]:
        console.print(f"\n[bold]{escape(suggestion['text'])}[/bold]\n  {escape(suggestion['why'])}")
    cost = evidence["cost"]
    console.print(f"\n{duration(cost['seconds'])}, {plural(cost['cells'], 'training')}")
    if folder is not None:
        console.print(f"report: {folder / 'report.html'}", soft_wrap=True)

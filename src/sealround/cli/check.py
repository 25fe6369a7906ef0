"""``sealround check``: every mistake of a study file in its line, or what the study is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sealround.errors import PolicyDeniedError, Problem, SealroundError, StudyError
from sealround.study import load_site_file, load_study, study_digest
from sealround.study.loading import read_text
from sealround.study.site_file import apply_site
from sealround.study.summary import (
    describe_model,
    describe_sites,
    describe_source,
    describe_split,
    describe_sums,
    describe_training,
    describe_weighing,
    protection_states,
)

if TYPE_CHECKING:
    from sealround.study import SiteFile, Study
    from sealround.study.sections import Gate

__all__ = ["check"]

_LONGEST_LINE = 160


@click.command()
@click.argument("study", metavar="STUDY", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--site", type=click.Path(path_type=Path, dir_okay=False), help="A site.toml: would that site take part?")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON on standard output.")
@click.pass_context
def check(context: click.Context, study: Path, site: Path | None, *, as_json: bool) -> None:
    """Check STUDY, a study file, and print every mistake in it at once.

    Exit status: 0 if the study is valid, 3 if it or the site file has mistakes, 11 if the site refuses the study.
    """
    read: list[Path] = []
    try:
        read.append(study)
        valid = load_study(study)
        local = None
        if site is not None:
            read.append(site)
            local = load_site_file(site)
            apply_site(valid, local)
    except (StudyError, PolicyDeniedError) as error:
        if as_json:
            click.echo(json.dumps(_as_json(read[-1], error), indent=1, ensure_ascii=False))
        elif isinstance(error, StudyError) and error.problems:
            _print_mistakes(read[-1], error)
        else:
            raise
        context.exit(error.exit_status)
    if as_json:
        click.echo(json.dumps(_valid_as_json(study, valid, local), indent=1, ensure_ascii=False))
    else:
        _print_valid(study, valid, local)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:  # A pipe or a file has no width to wrap at.
        console.width = max(console.width, 100)
    return console


def _print_mistakes(path: Path, error: StudyError) -> None:
    console = _console()
    lines = [line.rstrip() for line in read_text(path).split("\n")]
    gutter = len(str(len(lines)))
    for problem in error.problems:
        _print_source(console, lines, problem, gutter)
        where = f"{problem.path}: " if problem.path else ""
        message = Text.assemble((where, "bold"), problem.message)
        console.print(Padding(message, (0, 0, 0, gutter + 3), expand=False))
        if problem.suggestion:
            meant = Text.assemble("did you mean ", (problem.suggestion, "bold green"), "?")
            console.print(Padding(meant, (0, 0, 0, gutter + 3), expand=False))
        console.print()
    console.print(Text.assemble((error.message, "bold red")))


def _print_source(console: Console, lines: list[str], problem: Problem, gutter: int) -> None:
    if problem.line is None or problem.line > len(lines):
        return
    source = lines[problem.line - 1].expandtabs(1)
    start, stop = problem.span or (0, 0)
    shown = Text(source[:_LONGEST_LINE])
    shown.stylize("bold red", start, stop)
    line = Text.assemble((f"{problem.line:>{gutter}} │ ", "blue"), shown)
    console.print(line, no_wrap=True, crop=False, overflow="ignore")
    if problem.span and stop <= _LONGEST_LINE:
        below = Text.assemble((f"{'':>{gutter}} │ ", "blue"), " " * start, ("^" * max(stop - start, 1), "bold red"))
        console.print(below, no_wrap=True, crop=False, overflow="ignore")


def _print_valid(path: Path, study: Study, site: SiteFile | None) -> None:
    console = _console()
    console.print(Text.assemble(("✓ ", "bold green"), (str(path), "bold"), " is a valid study"))
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")  # a digest is of use as a whole only
    for name, words in _summary(study).items():
        table.add_row(Text(name, style="dim"), Text(words))
    console.print(Padding(table, (0, 0, 1, 2), expand=False))
    console.print(Padding(_protections(study), (0, 0, 1, 2), expand=False))
    if site is not None:
        console.print(Text.assemble(("✓ ", "bold green"), (site.site.name, "bold"), " takes part"))


def _protections(study: Study) -> Table:
    table = Table.grid(padding=(0, 1))
    for state in protection_states(study):
        mark = Text("✓", style="bold green") if state.state == "on" else Text("✗", style="bold yellow")
        table.add_row(mark, Text.assemble((f"{state.name} is {state.state}.", "bold"), f" {state.meaning}"))
        if state.reason:
            table.add_row("", Text(f"reason given: {state.reason}", style="dim"))
    return table


def _gate(gate: Gate) -> str:
    reference = "what each site has alone" if gate.reference.kind == "alone" else gate.reference.path
    then = {"withhold": "is withheld", "exclude": "is trained again without those who harm"}[gate.on_failure]
    return f"a model with which a group is worse off than with {reference} {then}"


def _summary(study: Study) -> dict[str, str]:
    evaluation = study.evaluation
    against = " and ".join(
        {"alone": "each site alone", "pooled": "all data pooled"}[name] for name in evaluation.compare
    )
    return {
        "study": f"{study.study.name}, {study.study.rounds} rounds, seed {study.study.seed}",
        **({"question": study.study.question} if study.study.question else {}),
        "digest": study_digest(study).hex(),
        "cohort": describe_source(study.cohort),
        "sites": describe_sites(study.cohort),
        "split": describe_split(study.cohort),
        "model": describe_model(study.model),
        "training": describe_training(study.training) + describe_weighing(study.fairness),
        **({"sums": describe_sums(study)} if study.protection.sealed else {}),
        "measured": study.primary_metric + (f", compared with {against}" if against else ""),
        **({"gate": _gate(study.fairness.gate)} if study.fairness.gate else {}),
    }


def _as_json(path: Path, error: SealroundError) -> dict[str, Any]:
    found: dict[str, Any] = {"valid": False, "file": str(path), "code": error.code, "message": error.message}
    if isinstance(error, StudyError):
        found["problems"] = [asdict(problem) for problem in error.problems]
    if isinstance(error, PolicyDeniedError):
        found["decision"] = list(error.decision)
    return found | {"hint": error.hint}


def _valid_as_json(path: Path, study: Study, site: SiteFile | None) -> dict[str, Any]:
    return {
        "valid": True,
        "file": str(path),
        "name": study.study.name,
        "rounds": study.study.rounds,
        "seed": study.study.seed,
        "task": study.task,
        "primary": study.primary_metric,
        "digest": study_digest(study).hex(),
        "model": describe_model(study.model),
        "sites": describe_sites(study.cohort),
        "sums": describe_sums(study),
        "protection": [asdict(state) for state in protection_states(study)],
        "site": site.site.name if site else None,
    }

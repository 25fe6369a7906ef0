"""``sealround run`` and ``sealround resume``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from sealround.cli.progress import Watcher
from sealround.cli.summary import print_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.engines.in_process import Progress

    _Workers = int | Literal["auto"] | None

__all__ = ["WorkerCount", "resume", "run"]


class WorkerCount(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on, which we do not require
    """``auto`` or a number."""

    name = "auto|N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["auto"]:
        """Return the number, or ``"auto"``."""
        if value == "auto":
            return "auto"
        try:
            number = int(str(value))
        except ValueError:
            number = -1
        if not 0 <= number <= 256:  # noqa: PLR2004
            self.fail("expected auto, or a number of processes from 0 to 256", param, ctx)
        return number


_quiet = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors and the run folder.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on standard output.")
_workers = click.option(
    "--workers",
    type=WorkerCount(),
    help="Worker processes for the sites; 0 computes in this process. The result is the same, byte for byte.  "
    "[default: as site.toml says, else auto]",
)


@click.command()
@click.argument("study", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Run folder  [default: runs/NAME-DATE-TIME]"
)
@click.option(
    "--data-folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where `data:` paths start  [default: as site.toml says, else $SEALROUND_DATA, else the user's data folder]",
)
@click.option(
    "--site",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A site.toml: every simulated site insists on what it says.",
)
@click.option(
    "--audit",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the study asks for a leakage audit: its folder  [default: the newest below audits/ that passed]",
)
@click.option(
    "--without-audit", metavar="REASON", help="Start without the audit that the study asks for; the report says why."
)
@_workers
@_quiet
@_json
def run(study: Path, workers: _Workers, *, quiet: bool, as_json: bool, **options: Any) -> None:  # noqa: ANN401  (as click hands them over)
    """Run STUDY: train, compare, and write a run folder with the report.

    Every site is simulated on this machine. A run that is killed goes on with `sealround resume`, and ends with the
    same model, byte for byte.
    """
    from sealround.engines.audit.requirement import AuditChoice
    from sealround.engines.runs import start_run

    def go(observe: Callable[[Progress], None], folder_known: Callable[[Path], None]) -> Mapping[str, Any]:
        return start_run(
            study,
            out=options["out"],
            data_folder=options["data_folder"],
            workers=workers,
            observe=observe,
            folder_known=folder_known,
            site_file=options["site"],
            audit=AuditChoice(options["audit"], options["without_audit"]),
        )

    _watch(go, quiet=quiet, as_json=as_json)


@click.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path, file_okay=False))
@_workers
@_quiet
@_json
def resume(run_folder: Path, workers: _Workers, *, quiet: bool, as_json: bool) -> None:
    """Go on with RUN, a run folder, after the last round in its journal."""
    from sealround.engines.runs import resume_run

    def go(observe: Callable[[Progress], None], folder_known: Callable[[Path], None]) -> Mapping[str, Any]:
        return resume_run(run_folder, workers=workers, observe=observe, folder_known=folder_known)

    _watch(go, quiet=quiet, as_json=as_json)


def _watch(
    go: Callable[[Callable[[Progress], None], Callable[[Path], None]], Mapping[str, Any]],
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    with Watcher(silent=quiet or as_json) as watcher:
        evidence = go(watcher.observe, watcher.folder_known)
    if as_json:
        click.echo(json.dumps({"run": str(watcher.folder), **evidence}, indent=1, allow_nan=False))
    elif quiet:
        click.echo(str(watcher.folder))
    else:
        print_summary(evidence, watcher.folder)

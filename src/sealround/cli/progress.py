"""What a person sees while a study runs: a bar for each kind of training, the live metric, the time left."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sealround.errors import WithheldError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from sealround.engines.in_process import Progress as Step

__all__ = ["Watcher"]

_KINDS = {"federated": "together", "alone": "each alone", "pooled": "pooled"}


class Watcher:
    """Shows progress on standard error; on Ctrl-C says how to go on.

    Args:
        silent: Show nothing.
    """

    def __init__(self, *, silent: bool) -> None:
        self.folder: Path | None = None
        self._silent = silent
        self._rounds: dict[str, tuple[int, int]] = {}
        self._tasks: dict[str, TaskID] = {}
        self._bars = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metric]:<16}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=silent or not sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        """Start showing."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing, and say how to go on if something ended the run early."""
        self._bars.stop()
        ended = kind is None or issubclass(kind, WithheldError)  # withheld is how a run ends, too
        if not ended and self.folder is not None and (self.folder / "journal").is_dir():
            click.echo(f"The run is kept. To go on: sealround resume {self.folder}", err=True)

    def folder_known(self, folder: Path) -> None:
        """Take note of where the run is written."""
        self.folder = folder
        if not self._silent:
            click.echo(f"run folder: {folder}", err=True)

    def observe(self, step: Step) -> None:
        """Move the bar of a training's kind; the trainings of single sites share one."""
        kind = step.job.partition("-")[0]
        self._rounds[step.job] = step.round, step.rounds
        of_kind = [rounds for job, rounds in self._rounds.items() if job.partition("-")[0] == kind]
        if kind not in self._tasks:
            self._tasks[kind] = self._bars.add_task(_KINDS.get(kind, kind), metric="")
        metric = f"validation {step.validation:.3f}" if step.validation is not None and kind != "alone" else ""
        self._bars.update(
            self._tasks[kind],
            completed=sum(done for done, _ in of_kind),
            total=sum(total for _, total in of_kind),
            metric=metric or step.stage,
        )

"""What a person sees while a drill or an audit runs: one bar, lines above it, and how to go on if it is interrupted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["CellWatcher"]


class CellWatcher:
    """Shows progress on standard error; on Ctrl-C says how to go on.

    Args:
        silent: Show nothing.
    """

    KIND: ClassVar[str]
    """What the work is called, and the verb that does it."""

    WIDTH: ClassVar[int] = 24
    """Of what is being done, beside the bar."""

    def __init__(self, *, silent: bool) -> None:
        self.folder: Path | None = None
        self._silent = silent
        self._announced = False
        self._bar = Progress(
            TextColumn(f"{{task.description:<{self.WIDTH}}}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]:<14}"),
            console=Console(stderr=True),
            disable=silent or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", left="", total=None)

    def __enter__(self) -> Self:
        """Start showing."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing, and say how to go on if something ended the work early."""
        self._bar.stop()
        if kind is not None and self.folder is not None and (self.folder / f"{self.KIND}-start.json").is_file():
            click.echo(f"The {self.KIND} is kept. To go on: sealround {self.KIND} --resume {self.folder}", err=True)

    def folder_known(self, folder: Path) -> None:
        """Take note of where the work is written."""
        self.folder = folder
        self._say(f"{self.KIND} folder: {folder}")

    def _say(self, line: str) -> None:
        if not self._silent:
            click.echo(line, err=True)

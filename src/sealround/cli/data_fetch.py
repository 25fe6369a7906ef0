"""``sealround data fetch``: public data sets, from their publishers, checked."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from sealround.clinical.fetch import PUBLIC_SETS, PublicSet, public_set
from sealround.clinical.fetch import fetch as fetch_set
from sealround.clinical.places import default_data_folder

__all__ = ["fetch"]

_STATES = {
    "fetched": "fetched and verified",
    "present": "already there, as published",
    "different": "already there and different from the published file; kept (--force replaces it)",
}


@click.command()
@click.argument("name", required=False)
@click.option("--list", "list_sets", is_flag=True, help="List the public data sets, and which are here.")
@click.option(
    "--data-folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to  [default: $SEALROUND_DATA, else the user's data folder]",
)
@click.option("--force", is_flag=True, help="Replace files that are already there.")
@click.pass_context
def fetch(context: click.Context, name: str | None, data_folder: Path | None, *, list_sets: bool, force: bool) -> None:
    """Bring the public data set NAME from its publisher, and keep it only if it is what was published.

    A download that breaks off goes on with the same command.
    """
    folder = default_data_folder() if data_folder is None else data_folder
    if list_sets or name is None:
        for public in PUBLIC_SETS:
            _list(public, folder)
        if name is None and not list_sets:
            click.echo("\nsay which: sealround data fetch NAME", err=True)
            context.exit(2)
        return
    public = public_set(name)
    click.echo(f"{public.title}\n{public.licence}, {public.page}")
    with _bar() as bar:
        task = bar.add_task(public.name, total=public.remote.size_bytes)
        results = fetch_set(
            public, folder, force=force, observe=lambda done, total: bar.update(task, completed=done, total=total)
        )
        bar.update(task, completed=public.remote.size_bytes)
    for result in results:
        click.echo(f"{result.path}: {_STATES[result.state]}")


def _list(public: PublicSet, folder: Path) -> None:
    here = sum((folder / file.place).is_file() for file in public.files)
    state = "here" if here == len(public.files) else "not here" if here == 0 else "partly here"
    size = f"{public.remote.size_bytes / 1e6:.1f} MB"
    click.echo(f"{public.name}  ({state}; {size}, {public.licence})\n    {public.title}\n    {public.page}")


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )

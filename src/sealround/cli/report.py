"""``sealround report``."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from sealround.errors import ServiceError

__all__ = ["report"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
def report(run: Path, *, open_browser: bool) -> None:
    """Make the result page of RUN, a run folder, again.

    Reads `metrics.json`, writes `report.html`, prints where that is. Evidence that is damaged, or of a format this
    version does not know, is refused; the page that was there stays.
    """
    from sealround.report import render
    from sealround.storage import RunFolder

    folder = RunFolder.open(run)
    folder.write("report.html", render(folder.read_json("metrics.json")).encode())
    page = folder.file("report.html")
    click.echo(str(page))
    if open_browser and not webbrowser.open(page.resolve().as_uri()):
        raise ServiceError("no browser could be opened", hint=f"open {page} yourself")

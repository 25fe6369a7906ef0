"""``sealround report``."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from sealround.errors import ServiceError

__all__ = ["report"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
def report(folder: Path, *, open_browser: bool) -> None:
    """Make the page of FOLDER, a run or drill folder, again.

    Reads `metrics.json` or `drill.json`, writes `report.html`, prints where that is. Evidence that is damaged, or of a
    format this version does not know, is refused; the page that was there stays.
    """
    page = _write_page(folder)
    click.echo(str(page))
    if open_browser and not webbrowser.open(page.resolve().as_uri()):
        raise ServiceError("no browser could be opened", hint=f"open {page} yourself")


def _write_page(path: Path) -> Path:
    from sealround.report import render, render_drill
    from sealround.storage import DrillFolder, RunFolder

    if any((path / name).is_file() for name in ("drill-start.json", "drill.json")):
        drill = DrillFolder.open(path)
        drill.write("report.html", render_drill(drill.read_json("drill.json")).encode())
        return drill.file("report.html")
    run = RunFolder.open(path)
    run.write("report.html", render(run.read_json("metrics.json")).encode())
    return run.file("report.html")

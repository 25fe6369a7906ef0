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
    """Make the page of FOLDER, a run, drill or audit folder, again.

    Reads `metrics.json`, `drill.json` or `audit.json`, writes `report.html`, prints where that is. Evidence that is
    damaged, or of a format this version does not know, is refused; the page that was there stays.
    """
    page = _write_page(folder)
    click.echo(str(page))
    if open_browser and not webbrowser.open(page.resolve().as_uri()):
        raise ServiceError("no browser could be opened", hint=f"open {page} yourself")


def _write_page(path: Path) -> Path:
    from sealround.report import render, render_audit, render_drill
    from sealround.storage import AuditFolder, DrillFolder, RunFolder

    for kind, make in ((DrillFolder, render_drill), (AuditFolder, render_audit)):
        if any((path / name).is_file() for name in (kind.start_file(), f"{kind.KIND}.json")):
            folder = kind.open(path)
            folder.write("report.html", make(folder.read_json(f"{kind.KIND}.json")).encode())
            return folder.file("report.html")
    run = RunFolder.open(path)
    run.write("report.html", render(run.read_json("metrics.json")).encode())
    return run.file("report.html")

"""``sealround report``: the page again, from the folder of a run or a drill."""

from __future__ import annotations

import json
import webbrowser
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from sealround.cli.report import report
from sealround.errors import ConsistencyError, ServiceError, UnsupportedError, UsageError
from sealround.report import render, render_drill

if TYPE_CHECKING:
    from pathlib import Path

Tree = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path, four: Tree) -> Path:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "metrics.json").write_text(json.dumps(four))
    return tmp_path


def _invoke(*arguments: object) -> str:
    result = CliRunner().invoke(report, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_page_is_made_again(run: Path, four: Tree) -> None:
    page = run / "report.html"
    page.write_text("old")
    assert _invoke(run) == f"{page}\n"
    assert page.read_text(encoding="utf-8") == render(four)


@pytest.fixture
def drill_folder(tmp_path: Path, drill: Tree) -> Path:
    (tmp_path / "drill-start.json").write_text("{}")
    (tmp_path / "drill.json").write_text(json.dumps(drill))
    return tmp_path


def test_the_page_of_a_drill_is_made_again(drill_folder: Path, drill: Tree) -> None:
    page = drill_folder / "report.html"
    page.write_text("old")
    assert _invoke(drill_folder) == f"{page}\n"
    assert page.read_text(encoding="utf-8") == render_drill(drill)


@pytest.mark.parametrize("text", ["{", "[]", None])
def test_a_drill_without_whole_evidence_is_refused_and_the_old_page_stays(drill_folder: Path, text: str | None) -> None:
    (drill_folder / "report.html").write_text("old")
    if text is None:
        (drill_folder / "drill.json").unlink()
    else:
        (drill_folder / "drill.json").write_text(text)
    with pytest.raises(ConsistencyError, match=r"drill\.json"):
        _invoke(drill_folder)
    assert (drill_folder / "report.html").read_text() == "old"


def test_evidence_of_a_run_under_a_drills_name_is_refused(drill_folder: Path, four: Tree) -> None:
    (drill_folder / "drill.json").write_text(json.dumps(four))
    with pytest.raises(UnsupportedError):
        _invoke(drill_folder)
    assert not (drill_folder / "report.html").exists()


def test_open_shows_the_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    _invoke(run, "--open")
    assert opened == [(run / "report.html").as_uri()]


def test_no_browser_is_the_machines_fault(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    with pytest.raises(ServiceError, match="no browser"):
        _invoke(run, "--open")
    assert (run / "report.html").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run folder"):
        _invoke(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", None])
def test_damaged_evidence_is_refused_and_the_old_page_stays(run: Path, text: str | None) -> None:
    (run / "report.html").write_text("old")
    if text is None:
        (run / "metrics.json").unlink()
    else:
        (run / "metrics.json").write_text(text)
    with pytest.raises(ConsistencyError):
        _invoke(run)
    assert (run / "report.html").read_text() == "old"


def test_evidence_of_another_format_is_refused_and_the_old_page_stays(run: Path, four: Tree) -> None:
    (run / "report.html").write_text("old")
    (run / "metrics.json").write_text(json.dumps(four | {"format": "sealround-evidence/9"}))
    with pytest.raises(UnsupportedError):
        _invoke(run)
    assert (run / "report.html").read_text() == "old"

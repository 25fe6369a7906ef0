from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner

from sealround.cli.data_fetch import fetch
from sealround.clinical.fetch import public_set
from sealround.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_sets_are_listed_with_what_is_here(tmp_path: Path) -> None:
    (tmp_path / "heart_disease_uci").mkdir()
    (tmp_path / "heart_disease_uci" / "processed.va.data").write_bytes(b"")
    result = CliRunner().invoke(fetch, ["--list", "--data-folder", str(tmp_path)])
    assert result.exit_code == 0
    assert "pneumoniamnist  (not here; 4.2 MB, CC BY 4.0)" in result.output
    assert "heart-disease  (partly here; 0.1 MB, CC BY 4.0)" in result.output


def test_without_a_name_it_asks_which(tmp_path: Path) -> None:
    result = CliRunner().invoke(fetch, ["--data-folder", str(tmp_path)])
    assert result.exit_code == 2
    assert "say which" in result.output


def test_an_unknown_name_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(fetch, ["pneumonia", "--data-folder", str(tmp_path)])
    assert isinstance(result.exception, UsageError)


def test_files_that_are_here_are_kept_and_said_to_differ(tmp_path: Path) -> None:
    for file in public_set("heart-disease").files:
        path = tmp_path / file.place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"my own")
    result = CliRunner().invoke(fetch, ["heart-disease", "--data-folder", str(tmp_path)])
    assert result.exit_code == 0
    assert result.output.count("different from the published file; kept (--force replaces it)") == 4
    assert "https://doi.org/10.24432/C52P4X" in result.output

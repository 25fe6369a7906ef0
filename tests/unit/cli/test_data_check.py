from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from sealround.cli.data_check import check
from sealround.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

PROTECTION = """
[model]
kind = "logistic"

[training]
optimizer = { kind = "sgd", learning_rate = 0.1 }
local_epochs = 1

[protection]
secure_aggregation = { mode = "none", reason = "public data, for a test" }
robustness = { rule = "mean", reason = "public data, for a test" }
privacy = { unit = "none", reason = "public data, for a test" }
"""
HEADER = '[study]\nname = "a-test"\nrounds = 1\nseed = 7\n'
HEART = HEADER + '[cohort]\nsource = { kind = "builtin", name = "heart-disease" }\nsites = { kind = "column" }\n'
LEAKING = (
    HEADER
    + """
[cohort]
source = { kind = "csv", path = "table.csv" }
sites = { kind = "iid", number = 1 }
split = { kind = "column", column = "part" }

[cohort.columns]
x = { role = "feature", kind = "numeric" }
pid = { role = "patient" }
label = { role = "label", positive = [1] }
"""
)


def _check(folder: Path, study: str, *options: str) -> Result:
    (folder / "study.toml").write_text(study + PROTECTION, encoding="utf-8")
    return CliRunner().invoke(check, [str(folder / "study.toml"), *options])


def _leaking(folder: Path) -> None:
    rows = [f"{number},p{number % 20},{number % 2},{'train' if number < 25 else 'test'}" for number in range(40)]
    (folder / "table.csv").write_text("x,pid,label,part\n" + "\n".join(rows) + "\n")


def test_a_page_for_a_terminal(tmp_path: Path) -> None:
    result = _check(tmp_path, HEART)
    assert result.exit_code == 0, result.output
    for words in ("Switzerland", "115 (93%)", "chol: the code for missing in every row (123 rows)", "3 warnings"):
        assert words in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 100


def test_it_fits_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    result = _check(tmp_path, HEART)
    from rich.text import Text

    lines = Text.from_ansi(result.output).plain.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert any("199" in line or "197 / 45 / 61" in line for line in lines)  # no number is folded away


def test_errors_of_the_data_make_a_status_of_1(tmp_path: Path) -> None:
    _leaking(tmp_path)
    result = _check(tmp_path, LEAKING)
    assert result.exit_code == 1
    assert "✗ site-1: rows of one patient are in more than one split (15 patients)" in result.output
    assert "rows 6, 7, 8" in result.output


def test_the_report_as_json(tmp_path: Path) -> None:
    report = json.loads(_check(tmp_path, HEART, "--json").output)
    assert [site["site"] for site in report["sites"]] == ["Cleveland", "Hungary", "Switzerland", "VA Long Beach"]
    assert any(finding["column"] == "chol" for finding in report["findings"])


def test_what_is_shareable_has_no_small_counts(tmp_path: Path) -> None:
    _leaking(tmp_path)
    page = _check(tmp_path, LEAKING, "--shareable").output
    assert "rows 6, 7, 8" not in page
    page = _check(tmp_path, HEART, "--shareable").output
    assert "<5" in page
    assert "(4 patients)" not in page
    split = 'split = { kind = "flamby-heart" }\n'
    assert "45 (98%)" in _check(tmp_path, HEART + split).output  # of 46 Swiss patients
    page = _check(tmp_path, HEART + split, "--shareable").output
    assert ">41" in page
    assert "45 (98%)" not in page
    report = json.loads(_check(tmp_path, HEART, "--json", "--shareable").output)
    assert report["sites"][0]["smallest_cell"] is None


def test_one_site_alone(tmp_path: Path) -> None:
    output = _check(tmp_path, HEART, "--site", "Hungary").output
    assert "Hungary" in output
    assert "Switzerland" not in output
    result = _check(tmp_path, HEART, "--site", "hungry")
    assert isinstance(result.exception, UsageError)
    assert "did you mean 'Hungary'?" in str(result.exception)


def test_many_sites_are_summed_up(tmp_path: Path) -> None:
    study = HEART.replace('{ kind = "column" }', '{ kind = "dirichlet", number = 30, alpha = 0.3 }')
    output = _check(tmp_path, study).output
    assert "… and 18 more; the 30 sites have" in output
    assert len(output.splitlines()) < 60


def test_data_paths_start_at_the_given_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    _leaking(tmp_path / "data")
    study = LEAKING.replace('"table.csv"', '"data:table.csv"')
    result = _check(tmp_path, study, "--data-folder", str(tmp_path / "data"), "--json")
    assert json.loads(result.output)["sites"][0]["rows"] == 40

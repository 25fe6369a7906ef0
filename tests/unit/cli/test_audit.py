"""What the command line of a leakage audit says, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sealround.cli.audit import audit
from sealround.cli.report import report
from sealround.engines.audit import audits
from sealround.errors import UsageError

STUDY = Path(__file__).resolve().parents[3] / "examples" / "breast-cancer-open.toml"
QUICK = ("--budget", "1s", "--attacks", "closed-form", "--only-study")


def small(folder: Path, more: str = "") -> Path:
    path = folder / "study.toml"
    path.write_text(STUDY.read_text().replace("hidden = [200, 100]", "hidden = [4]") + more)
    return path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no study is named"),
        (["--explain"], "no study is named"),
        ([str(STUDY), "--resume", "audits/x"], "goes on with the study in its folder"),
        (["--resume", "audits/nowhere"], "not an audit folder|not a audit folder"),
        ([str(STUDY), "--attacks", "speer"], "there is no attack 'speer'"),
        ([str(STUDY), "--site", "nowhere"], "'nowhere'"),
    ],
)
def test_what_cannot_be_audited_is_said_at_once(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(audit, arguments, catch_exceptions=False, standalone_mode=False)


@pytest.mark.parametrize("budget", ["2", "0s", "2 minutes", "8d", "-1m", "nan"])
def test_a_budget_is_a_time(budget: str) -> None:
    result = CliRunner().invoke(audit, [str(STUDY), "--budget", budget])
    assert result.exit_code == 2
    assert "expected a time" in result.output


def test_help_shows_examples() -> None:
    result = CliRunner().invoke(audit, ["--help"])
    assert "sealround audit study.toml --explain" in result.output


def test_explaining_says_who_attacks() -> None:
    text = CliRunner().invoke(audit, [str(STUDY), "--explain"], catch_exceptions=False).output
    tree = json.loads(CliRunner().invoke(audit, [str(STUDY), "--explain", "--json"], catch_exceptions=False).output)
    assert tree["study"] == "breast-cancer-open"
    for attacker in tree["attackers"]:
        assert attacker["name"] in text
    assert "spear" in text.lower()


def test_quiet_prints_the_folder_and_report_makes_the_page_again(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    result = CliRunner().invoke(audit, [str(small(tmp_path)), *QUICK, "--out", str(folder), "--quiet"])
    assert (result.exit_code, result.output.strip()) == (0, str(folder))
    page = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    again = CliRunner().invoke(report, [str(folder)], catch_exceptions=False)
    assert again.output.strip() == str(folder / "report.html")
    assert (folder / "report.html").read_bytes() == page


@pytest.mark.parametrize(("strict", "status"), [(("--strict",), 1), ((), 0)])
def test_strict_is_for_scripts(tmp_path: Path, strict: tuple[str, ...], status: int) -> None:
    study = small(tmp_path, "[audit]\nrequire = { membership_auc = 0.9 }\n")  # which no attack here measures
    result = CliRunner().invoke(audit, [str(study), *QUICK, *strict, "--out", str(tmp_path / "audit")])
    assert result.exit_code == status
    assert "not measured: not passed" in result.output


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(audits, "_finish", interrupted)
    result = CliRunner().invoke(audit, [str(small(tmp_path)), *QUICK, "--out", str(tmp_path / "audit")])
    assert result.exit_code != 0
    assert f"To go on: sealround audit --resume {tmp_path / 'audit'}" in result.output

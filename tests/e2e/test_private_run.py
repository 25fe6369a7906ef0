"""A study with differential privacy as a person runs it: what the page and the evidence say, and what they do not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "heart-disease-private.toml"
HOSPITALS = ["Cleveland", "Hungary", "Switzerland", "VA Long Beach"]


def _sealround(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sealround.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "100"},
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run of a few rounds, and what it printed."""
    folder = tmp_path_factory.mktemp("private")
    study = folder / "study.toml"
    text, changed = re.subn(r"(?m)^rounds = \d+", "rounds = 4", EXAMPLE.read_text())
    assert changed == 1
    study.write_text(text)
    ran = _sealround("run", study, "--out", folder / "run", "--workers", 0)
    assert ran.returncode == 0, ran.stderr
    return folder / "run", ran.stdout


@pytest.fixture
def evidence(done: tuple[Path, str]) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((done[0] / "metrics.json").read_text())
    return tree


def test_the_evidence_says_what_was_spent(evidence: dict[str, Any]) -> None:
    found = evidence["privacy"]
    assert (found["unit"], found["trust"], found["relation"]) == ("patient", "sealed", "add-or-remove-one")
    assert 0.0 < found["epsilon"] <= found["budget"] == 3.0
    assert sorted(found["by_site"]) == HOSPITALS
    assert found["simulated"] is True
    assert found["over_rounds"]["rounds"] == [0, 1, 2, 3, 4]
    assert {entry["what"] for entry in found["releases"]} == {"training", "metrics"}
    assert found["not_covered"]


def test_the_evidence_tells_nothing_without_noise(evidence: dict[str, Any]) -> None:
    cohort = evidence["cohort"]
    assert cohort["sites"] == {}
    assert cohort["together"] == {"roster": HOSPITALS, "examples": None, "positives": None, "features": []}
    for entry in evidence["rounds"]:
        assert entry["sites"] == {}
        assert (entry["train_loss"], entry["validation_loss"], entry["validation"]) == (None, None, None)
    model = evidence["models"]["federated"]
    assert (model["sites"], model["worst"], model["gap"]) == ({}, {}, {})
    assert all(found["value"] is None for found in model["mean"].values())
    assert {name for name, found in model["all"].items() if found["value"] is not None} == {"auroc"}
    assert abs(model["together"]["n"] - 254) < 60, "noised, and near the published split"
    assert "subgroups" not in evidence


def test_the_page_says_how_private_it_is_and_shows_no_empty_table(done: tuple[Path, str]) -> None:
    page = (done[0] / "report.html").read_text()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.split("</style>", 1)[1]))
    assert "How private is it?" in words
    assert "A simulation hides nobody." in words
    assert "Of 100 patients who were not in the data, an attacker who calls 1 of them in finds at most" in words
    assert "Results have noise too" in words
    assert "about 480" in words
    for anchor in ("sites", "learning", "roc", "calibration", "decision", "groups"):
        assert f'<section id="{anchor}"' not in page
    for table in re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", table, re.DOTALL)
        assert any(cell.strip() not in {"", "–"} for cell in cells)
    assert "<script" not in page


def test_the_terminal_says_what_was_reached_and_spent(done: tuple[Path, str]) -> None:
    said = done[1]
    assert "all patients, noised" in said
    assert "mean of hospitals" not in said
    assert re.search(r"private: each patient spends an epsilon of [\d.]+ at a delta of 0\.0001", said)


def test_each_hospital_finds_its_own_results(done: tuple[Path, str]) -> None:
    files = sorted((done[0] / "sites").glob("*.json"))
    assert [json.loads(file.read_text())["site"] for file in files] == HOSPITALS
    for file in files:
        own = json.loads(file.read_text())["models"]["federated"]
        assert own["n"] is None or own["n"] > 0
        assert own["metrics"]["accuracy"]["value"] is not None

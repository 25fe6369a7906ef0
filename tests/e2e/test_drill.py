"""A drill as a person runs it: real processes, interrupted and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_OPTIONS = ("--attacks", "sign-flip,badnets,not-finite", "--rules", "own,median", "--seeds", "1", "--rounds", "4")
_CELLS = 8


@pytest.fixture(scope="session")
def study_file() -> Path:
    return EXAMPLES / "heart-disease.toml"


def _start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sealround.cli.main", "drill", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "100"},
    )


def _drill(*arguments: object) -> tuple[int, str, str]:
    process = _start(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def _evidence(folder: Path) -> dict[str, Any]:
    evidence: dict[str, Any] = json.loads((folder / "drill.json").read_text())
    del evidence["cost"]
    return evidence


@pytest.fixture(scope="session")
def finished(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "drill"
    status, out, err = _drill(study_file, *_OPTIONS, "--out", folder, "--workers", 2)
    assert status == 0, err
    assert "8 trainings: nobody lies, then 3 attacks by 1 site; 2 rules" in err
    assert "Backdoor (BadNets)" in out
    assert f"report: {folder / 'report.html'}" in out
    return folder


def test_a_drill_leaves_everything_a_reader_needs(finished: Path, study_file: Path) -> None:
    assert (finished / "study.toml").read_bytes() == study_file.read_bytes()
    evidence = _evidence(finished)
    assert evidence["format"] == "sealround-drill/1"
    assert [attack["key"] for attack in evidence["attacks"]] == ["none", "sign-flip", "badnets", "not-finite"]
    assert evidence["study"]["parameters"] > 10
    assert len(evidence["cells"]) == len(list((finished / "cells").iterdir())) == _CELLS
    assert {cell["attack"]: cell["verdict"] for cell in evidence["cells"] if cell["rule"] == "mean"}[
        "not-finite"
    ] == "fails"
    page = (finished / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "BadNets" in page


def test_a_killed_drill_ends_with_the_same_evidence(finished: Path, study_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drill"
    process = _start(study_file, *_OPTIONS, "--out", folder, "--workers", 0)
    _wait_for_cells(process, folder, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    status, out, err = _drill("--resume", folder, "--workers", 0, "--quiet")
    assert status == 0, err
    assert out.strip() == str(folder)
    # Two workers or none, at once or in two starts: the same bytes, but for the cost.
    assert _evidence(folder) == _evidence(finished)


def test_ctrl_c_says_how_to_go_on_and_changed_studies_do_not(study_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drill"
    process = _start(study_file, *_OPTIONS, "--out", folder, "--workers", 2)
    _wait_for_cells(process, folder, 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"To go on: sealround drill --resume {folder}" in err
    text = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(text.replace("local_steps = 5", "local_steps = 6"))
    status, _, err = _drill("--resume", folder)
    assert status == 7
    assert "study.toml in the drill folder has changed" in err


def _wait_for_cells(process: subprocess.Popen[str], folder: Path, number: int) -> None:
    """Wait until so many trainings are written down."""
    deadline = time.monotonic() + 120
    while len(list(folder.glob("cells/*.json"))) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_typo_is_answered_before_anything_is_written(study_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drill"
    status, _, err = _drill(study_file, "--attacks", "bad-nets", "--out", folder)
    assert status == 2
    assert "did you mean badnets?" in err
    assert not folder.exists()

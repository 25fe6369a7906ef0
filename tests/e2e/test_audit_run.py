"""A leakage audit as a person runs it: real processes, killed and resumed, and the run that waits for it."""

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

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "breast-cancer-open.toml"
# Searches that are counted: no clock decides what they find.
_OPTIONS = ("--budget", "1s", "--attacks", "closed-form,spear,imprint,linkage", "--only-study")


@pytest.fixture(scope="session")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = EXAMPLE.read_text().replace("rounds = 60", "rounds = 2").replace("hidden = [200, 100]", "hidden = [24]")
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(text)
    return path


def _start(verb: str, *arguments: object, folder: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sealround.cli.main", verb, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"COLUMNS": "100"},
    )


def _end(verb: str, *arguments: object, folder: Path | None = None) -> tuple[int, str, str]:
    process = _start(verb, *arguments, folder=folder)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def _evidence(folder: Path) -> dict[str, Any]:
    evidence: dict[str, Any] = json.loads((folder / "audit.json").read_text())
    del evidence["plan"]["seconds"]
    for found in evidence["findings"]:
        del found["seconds"]
    return evidence


def test_a_killed_audit_ends_with_the_same_findings(study_file: Path, tmp_path: Path) -> None:
    status, out, err = _end("audit", study_file, *_OPTIONS, "--out", tmp_path / "whole")
    assert status == 0, err
    assert "The coordinator, curious" in out
    killed = tmp_path / "killed"
    process = _start("audit", study_file, *_OPTIONS, "--out", killed)
    deadline = time.monotonic() + 120
    # The plan, and an attack or two.
    while len(list(killed.glob("cells/*.json"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "report.html").exists()
    status, out, err = _end("audit", "--resume", killed, "--quiet")
    assert status == 0, err
    assert out.strip() == str(killed)
    assert _evidence(killed) == _evidence(tmp_path / "whole")


def test_a_run_waits_for_the_audit_that_its_study_asks_for(study_file: Path, tmp_path: Path) -> None:
    required = tmp_path / "study.toml"
    # A limit that nothing exceeds: what is tested is that the run waits, not what is found.
    required.write_text(study_file.read_text() + "\n[audit]\nrequire = { exact_cells = 1.0 }\n")
    status, _, err = _end("run", required, "--out", tmp_path / "run", folder=tmp_path)
    assert status == 11, err
    assert "asks for a leakage audit" in err
    assert not (tmp_path / "run").exists()
    status, _, err = _end("audit", required, "--budget", "1s", "--only-study", "--strict", folder=tmp_path)
    assert status == 0, err
    status, _, err = _end("run", required, "--out", tmp_path / "run", folder=tmp_path)
    assert status == 0, err
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["audit"]["state"] == "passed"

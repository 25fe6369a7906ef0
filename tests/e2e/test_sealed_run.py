"""A sealed study as a person runs it: the same model, nothing of one hospital in the evidence, killed and resumed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sealround.storage import file_name

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HOSPITALS = ["Cleveland", "Hungary", "Switzerland", "VA Long Beach"]
MODES = ["pairwise", "replicated"]


def _study(folder: Path, mode: str, rounds: int = 4) -> Path:
    """The four hospitals in a few rounds, in another mode."""
    text = (EXAMPLES / "heart-disease.toml").read_text().replace("rounds = 100", f"rounds = {rounds}")
    lines = [
        f'secure_aggregation = {{ mode = "{mode}" }}'
        if line.startswith("secure_aggregation") and mode != "none"
        else line
        for line in text.splitlines()
    ]
    path = folder / f"{mode}.toml"
    path.write_text("\n".join(lines))
    return path


def _sealround(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sealround.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "100"},
    )


def _weights(run: Path) -> np.ndarray:
    from safetensors.numpy import load_file

    return np.concatenate([values.ravel() for _, values in sorted(load_file(run / "model.safetensors").items())])


def _model(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def _evidence(run: Path) -> dict[str, Any]:
    """The evidence without what may differ: time, memory, processes."""
    evidence: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    del evidence["cost"]
    for entry in evidence["rounds"]:
        del entry["seconds"]
    return evidence


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One finished run of each mode, and an open one."""
    folder = tmp_path_factory.mktemp("sealed")
    found = {}
    for mode in ("none", *MODES):
        found[mode] = folder / mode
        done = _sealround("run", _study(folder, mode), "--out", found[mode], "--workers", 0)
        assert done.returncode == 0, done.stderr
        assert ("Secure aggregation is off" in done.stdout) == (mode == "none")
    return found


@pytest.mark.parametrize("mode", MODES)
def test_the_model_is_that_of_the_open_study(mode: str, runs: dict[str, Path]) -> None:
    np.testing.assert_allclose(_weights(runs[mode]), _weights(runs["none"]), atol=1e-5)
    sealed, plain = _evidence(runs[mode]), _evidence(runs["none"])
    for metric in ("accuracy", "auroc", "brier"):
        found, expected = (each["models"]["federated"]["mean"][metric] for each in (sealed, plain))
        assert found["value"] == pytest.approx(expected["value"], abs=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_the_evidence_tells_sums_and_no_hospital(mode: str, runs: dict[str, Path]) -> None:
    evidence = _evidence(runs[mode])
    assert evidence["cohort"]["sites"] == {}
    assert all(entry["sites"] == {} for entry in evidence["rounds"])
    assert all(model["sites"] == {} for model in evidence["models"].values())
    assert all(not model["worst"] and not model["gap"] for model in evidence["models"].values())
    sealing = evidence["aggregation"]
    assert (sealing["mode"], sealing["sites"], sealing["n_min"]) == (mode, 4, 4)
    assert 0 < sealing["error_bound"] < 1e-6
    assert sealing["clipped"] == [0] * 4
    page = (runs[mode] / "report.html").read_text()
    assert evidence["cohort"]["together"].pop("roster") == HOSPITALS
    assert "VA Long Beach" not in json.dumps(evidence)
    assert not any(f"<td>{hospital}</td>" in page for hospital in HOSPITALS)


def _groups(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _evidence(run)["subgroups"]["models"]["federated"]["groups"]
    return found


@pytest.mark.parametrize("mode", MODES)
def test_sums_over_all_hospitals_tell_more_of_groups_than_open_counts(mode: str, runs: dict[str, Path]) -> None:
    """An open study's hospitals leave out groups of fewer than five; of everybody, all tell the same."""
    sealed, plain = _groups(runs[mode]), _groups(runs["none"])
    assert [entry["group"] for entry in sealed] == [entry["group"] for entry in plain]
    everybody = [
        {metric: found["value"] for metric, found in groups[0]["metrics"].items()} | {"patients": groups[0]["patients"]}
        for groups in (sealed, plain)
    ]
    assert everybody[0] == pytest.approx(everybody[1], abs=2e-3)
    men = [next(entry for entry in groups if entry["group"] == "sex = male") for groups in (sealed, plain)]
    assert (men[0]["patients"], men[0]["sites"]) == (198, 4)
    assert (men[1]["patients"], men[1]["sites"]) == (156, 3)
    assert sealed == _groups(runs[MODES[0]])
    assert sum(entry["assessable"] for entry in sealed) >= sum(entry["assessable"] for entry in plain)


@pytest.mark.parametrize("mode", MODES)
def test_each_hospital_finds_its_own_results(mode: str, runs: dict[str, Path]) -> None:
    files = sorted((runs[mode] / "sites").glob("*.json"))
    assert len(files) == len(HOSPITALS)
    plain = _evidence(runs["none"])
    for file, hospital in zip(files, HOSPITALS, strict=True):
        own = json.loads(file.read_text())
        expected = plain["models"]["federated"]["sites"][hospital]["metrics"]["accuracy"]["value"]
        assert own["site"] == hospital
        assert own["models"]["federated"]["metrics"]["accuracy"]["value"] == pytest.approx(expected, abs=0.02)


def test_the_number_of_processes_does_not_show_in_the_result(runs: dict[str, Path], tmp_path: Path) -> None:
    done = _sealround("run", _study(tmp_path, "pairwise"), "--out", tmp_path / "run", "--workers", 2, "--quiet")
    assert done.returncode == 0, done.stderr
    assert _model(tmp_path / "run") == _model(runs["pairwise"])
    assert _evidence(tmp_path / "run") == _evidence(runs["pairwise"])


_DYING = """
import os, pathlib, signal, sys
from sealround.engines import runs
number, study, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
calls = 0
def observe(step):
    global calls
    calls += 1
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)
runs.start_run(pathlib.Path(study), out=pathlib.Path(out), data_folder=None, workers=0, observe=observe,
               folder_known=lambda folder: None)
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_run_killed_within_a_sealed_sum_goes_on_to_the_same_bytes(
    mode: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    killed = subprocess.run(
        [sys.executable, "-c", _DYING, "60", _study(tmp_path, mode), run], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (run / "model.safetensors").exists()
    done = _sealround("resume", run, "--quiet")
    assert done.returncode == 0, done.stderr
    assert _model(run) == _model(runs[mode])
    assert _evidence(run) == _evidence(runs[mode])


@pytest.mark.parametrize("mode", MODES)
def test_each_party_keeps_its_record_of_rounds(mode: str, runs: dict[str, Path]) -> None:
    records = runs[mode] / "records"
    parties = [*HOSPITALS, *(["aggregator-a", "aggregator-b", "aggregator-c"] if mode == "replicated" else [])]
    assert sorted(path.name for path in records.iterdir()) == sorted(f"{file_name(name)}.rounds" for name in parties)
    # Eight sums: counts, squares, four rounds, validation, test; each entered and agreed to, and the roster, once.
    assert {len(path.read_bytes()) for path in records.iterdir()} == {len((records / "Cleveland.rounds").read_bytes())}


def test_a_sum_that_cannot_be_sealed_is_refused_before_anything_runs(tmp_path: Path) -> None:
    study = _study(tmp_path, "pairwise")
    study.write_text(study.read_text().replace('mode = "pairwise"', 'mode = "pairwise", n_min = 5'))
    done = _sealround("run", study, "--out", tmp_path / "run")
    assert done.returncode == 3
    assert "protection.secure_aggregation.n_min" in done.stderr
    assert "lower it to 4, or leave it out" in done.stderr
    assert not (tmp_path / "run").exists()

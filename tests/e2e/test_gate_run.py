"""A run whose model harms a group: withheld, or trained again without those who did it; killed, it ends the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

STUDY = """\
[study]
name = "harm"
question = "Is the patient ill?"
rounds = 4
seed = 3

[cohort]
source = { kind = "csv", path = "patients.csv" }
sites = { kind = "column" }
split = { kind = "random", validation = 0.4, test = 0.2 }

[cohort.columns]
hospital = { role = "site" }
sex = { role = "feature", kind = "categorical", levels = ["f", "m"], sensitive = true }
first = { role = "feature", kind = "numeric" }
second = { role = "feature", kind = "numeric" }
ill = { role = "label", positive = [1], outcome = "the illness" }

[model]
kind = "logistic"

[training]
optimizer = { kind = "sgd", learning_rate = 0.5 }
local_epochs = 2

[evaluation]
bootstrap = 100
compare = []

[fairness.gate]
metrics = ["fnr"]
tolerance = 0.03
on_failure = "withhold"

[protection]
secure_aggregation = { mode = "none", reason = "made-up patients in a test" }
robustness = { rule = "mean", reason = "made-up patients in a test" }
privacy = { unit = "none", reason = "made-up patients in a test" }
"""

EXCLUDE = STUDY.replace('"withhold"', '"exclude"')
SEALED = STUDY.replace('{ mode = "none", reason = "made-up patients in a test" }', '{ mode = "replicated" }', 1)


def patients(liars: int) -> str:
    """Six hospitals; those that lie call every woman healthy."""
    draw = np.random.default_rng(0)
    lines = ["hospital,sex,first,second,ill"]
    for hospital in range(6):
        for _ in range(160):
            woman, (first, second) = draw.random() < 0.5, draw.normal(size=2)
            ill = draw.random() < 1 / (1 + np.exp(-(3 * first - 2 * second))) and not (woman and hospital < liars)
            lines.append(f"hospital-{hospital},{'f' if woman else 'm'},{first:.4f},{second:.4f},{int(ill)}")
    return "\n".join(lines) + "\n"


def sealround(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sealround.cli.main", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def evidence(run: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return tree


def results(run: Path) -> dict[str, Any]:
    """Everything but times and memory."""
    tree = evidence(run)
    for entry in tree["rounds"]:
        del entry["seconds"]
    return {key: value for key, value in tree.items() if key not in {"cost", "environment"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gate")
    (path / "patients.csv").write_text(patients(2))
    for name, text in (("withhold", STUDY), ("exclude", EXCLUDE), ("sealed", SEALED)):
        (path / f"{name}.toml").write_text(text)
    fair = path / "fair"
    fair.mkdir()
    (fair / "patients.csv").write_text(patients(0))
    (fair / "study.toml").write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def mended(folder: Path) -> Path:
    run = folder / "mended"
    done = sealround("run", folder / "exclude.toml", "--out", run, "--workers", 0, "--quiet")
    assert done.returncode == 0, done.stderr
    return run


def test_a_harmful_model_is_withheld_with_evidence_a_page_and_no_model(folder: Path) -> None:
    run = folder / "withheld"
    done = sealround("run", folder / "withhold.toml", "--out", run, "--workers", 0)
    assert done.returncode == 12
    assert "error [withheld] the model did not pass the gate and is not released: sex = f (fnr)" in done.stderr
    assert "sealround resume" not in done.stderr
    assert not (run / "model.safetensors").exists()
    assert not (run / "updates").exists(), "updates in clear are kept no longer than the gate takes"
    found = evidence(run)
    assert found["gate"]["outcome"] == "withheld"
    attribution = found["gate"]["looks"][0]["attribution"]
    assert {entry["site"] for entry in attribution["sites"] if entry["traced"]} == {"hospital-0", "hospital-1"}
    assert found["models"]["federated"]["sites"] == {}, "a model that is not released is not tested"
    page = (run / "report.html").read_text()
    assert "May this model be used?" in page
    assert "No model was released" in page
    assert "hospital-0 and hospital-1" in page
    before = results(run)
    again = sealround("resume", run)
    assert again.returncode == 12
    assert results(run) == before


def test_trained_again_without_those_who_did_it_the_model_passes(mended: Path) -> None:
    found = evidence(mended)
    gate = found["gate"]
    assert (gate["outcome"], gate["without"]) == ("released", ["hospital-0", "hospital-1"])
    assert [look["round"] for look in gate["looks"]] == [4, 8]
    women = [
        next(entry for entry in look["groups"] if entry["group"] == "sex = f")["candidate"] for look in gate["looks"]
    ]
    assert women[1] < women[0] / 2
    assert [entry["site"] for entry in found["excluded"]] == ["hospital-0", "hospital-1"]
    assert found["models"]["federated"]["released_round"] == 8
    assert (mended / "model.safetensors").is_file()
    assert not (mended / "updates").exists()


def test_an_honest_run_passes(folder: Path) -> None:
    run = folder / "honest"
    done = sealround("run", folder / "fair" / "study.toml", "--out", run, "--workers", 0, "--quiet")
    assert done.returncode == 0, done.stderr
    assert evidence(run)["gate"]["outcome"] == "released"


def test_an_approved_model_is_what_a_later_one_is_held_to(folder: Path, mended: Path) -> None:
    study = folder / "approved.toml"
    approved = f'reference = {{ kind = "model", path = "{mended / "model.safetensors"}" }}\non_failure'
    study.write_text(STUDY.replace("on_failure", approved))
    run = folder / "held"
    done = sealround("run", study, "--out", run, "--workers", 0)
    assert done.returncode == 12, done.stderr
    assert evidence(run)["gate"]["reference"] == {"kind": "model", "name": "model.safetensors"}
    moved = mended / "model.safetensors"
    data = moved.read_bytes()
    moved.write_bytes(data.replace(b'"threshold":"0.5"', b'"threshold":"0.4"'))
    try:
        changed = sealround("resume", run)
    finally:
        moved.write_bytes(data)
    assert changed.returncode == 7
    assert "the gate's reference is not the model this run was started with" in changed.stderr


def test_a_sealed_gate_withholds_and_traces_to_nobody(folder: Path) -> None:
    run = folder / "hidden"
    done = sealround("run", folder / "sealed.toml", "--out", run, "--workers", 0)
    assert done.returncode == 12, done.stderr
    gate = evidence(run)["gate"]
    assert gate["looks"][0]["attribution"] is None
    assert "sealed" in gate["looks"][0]["untraced"]
    assert not (run / "updates").exists()
    assert "hospital-0" not in json.dumps(gate)


# Dies by SIGKILL before the n-th flush to disk: updates, rounds, checkpoints, in the order they are written.
_DYING = """
import os, pathlib, signal, sys
from sealround.engines import runs
number, study, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
calls, flush = 0, os.fsync
def dying(handle):
    global calls
    calls += 1
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)
    flush(handle)
os.fsync = dying
quiet = dict(workers=0, observe=lambda step: None, folder_known=lambda folder: None)
runs.start_run(pathlib.Path(study), out=pathlib.Path(out), data_folder=None, **quiet)
"""


@pytest.mark.parametrize("flush", [15, 24, 26, 28, 33])
def test_killed_through_the_gate_a_run_goes_on_to_the_same_bytes(
    flush: int, folder: Path, mended: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    dying = [sys.executable, "-c", _DYING, str(flush), str(folder / "exclude.toml"), str(run)]
    killed = subprocess.run(dying, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (run / "model.safetensors").exists()
    done = sealround("resume", run, "--quiet")
    assert done.returncode == 0, done.stderr
    assert (run / "model.safetensors").read_bytes() == (mended / "model.safetensors").read_bytes()
    assert results(run) == results(mended)
    assert not (run / "updates").exists()

"""A study as a person runs it: real processes, killed at real moments."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sealround.storage import RunFolder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="session")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four hospitals in six rounds."""
    text = (EXAMPLES / "heart-disease.toml").read_text()
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(text.replace("rounds = 100", "rounds = 6"))
    return path


def _sealround(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sealround.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env=os.environ | {"COLUMNS": "100"},
    )


def _model(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


def _results(run: Path) -> dict[str, Any]:
    """The evidence without what may differ: time, memory, processes."""
    evidence: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    del evidence["cost"]
    for entry in evidence["rounds"]:
        del entry["seconds"]
    return evidence


@pytest.fixture(scope="session")
def finished(study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    done = _sealround("run", study_file, "--out", run, "--workers", 0)
    assert done.returncode == 0, done.stderr
    assert "mean of hospitals" in done.stdout
    assert "Secure aggregation is off" in done.stdout
    return run


def test_a_run_leaves_everything_a_reader_needs(finished: Path, study_file: Path) -> None:
    assert (finished / "study.toml").read_bytes() == study_file.read_bytes()
    evidence = json.loads((finished / "metrics.json").read_text())
    assert list(evidence["models"]) == ["federated", "alone", "pooled"]
    assert sorted(evidence["models"]["alone"]["sites"]) == ["Cleveland", "Hungary", "Switzerland", "VA Long Beach"]
    assert [entry["round"] for entry in evidence["rounds"]] == list(range(7))
    assert (finished / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert len((finished / "rounds.csv").read_text().splitlines()) == 8
    assert json.loads((finished / "environment.json").read_text())["torch"]
    assert evidence["cost"]["bytes_up"] > 0


def test_the_model_file_says_how_to_use_it(finished: Path) -> None:
    from safetensors import safe_open

    with safe_open(finished / "model.safetensors", "numpy") as model:
        metadata = model.metadata()
        shapes = {name: model.get_tensor(name).shape for name in model.keys()}  # noqa: SIM118  (not a dict)
    assert shapes == {"head.weight": (1, 14), "head.bias": (1,)}
    assert metadata["features"].splitlines()[:2] == ["age", "chol"]
    encoding = json.loads(metadata["encoding"])
    assert len(encoding["mean"]) == len(encoding["numeric"])
    assert metadata["intended_use"] == "research; not for clinical use"


def test_the_number_of_processes_does_not_show_in_the_result(finished: Path, study_file: Path, tmp_path: Path) -> None:
    done = _sealround("run", study_file, "--out", tmp_path / "run", "--workers", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert _model(tmp_path / "run") == _model(finished)
    assert _results(tmp_path / "run") == _results(finished)
    printed = json.loads(done.stdout)
    assert printed["run"] == str(tmp_path / "run")
    assert printed["cost"]["workers"] == 2


# Runs a study, and dies by SIGKILL at the n-th call of one function: nothing is flushed, no clean-up runs.
_DYING = """
import os, pathlib, signal, sys
from sealround.engines import runs
what, number, study, out = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
calls = 0
def die_when_due():
    global calls
    calls += 1
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)
def before(function):
    def wrapped(*args, **kwargs):
        die_when_due()
        return function(*args, **kwargs)
    return wrapped
def after(function):
    def wrapped(*args, **kwargs):
        result = function(*args, **kwargs)
        die_when_due()
        return result
    return wrapped
if what == "flush":
    os.fsync = before(os.fsync)
elif what == "rename":
    pathlib.Path.replace = after(pathlib.Path.replace)
observe = (lambda step: die_when_due()) if what == "message" else (lambda step: None)
arguments = dict(workers=0, observe=observe, folder_known=lambda folder: None)
if os.path.exists(os.path.join(out, "run.json")):
    runs.resume_run(pathlib.Path(out), **arguments)
else:
    runs.start_run(pathlib.Path(study), out=pathlib.Path(out), data_folder=None, **arguments)
"""

# While joining, within rounds, between two files, in the comparisons, near the end.
_MOMENTS = [("message", 2), ("message", 9), ("flush", 8), ("rename", 9), ("flush", 17), ("rename", 14), ("message", 30)]


@pytest.mark.parametrize(("what", "number"), _MOMENTS)
def test_a_killed_run_goes_on_to_the_same_bytes(
    what: str, number: int, finished: Path, study_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    killed = subprocess.run(
        [sys.executable, "-c", _DYING, what, str(number), study_file, run], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (run / "model.safetensors").exists()
    done = _sealround("resume", run, "--quiet")
    assert done.returncode == 0, done.stderr
    assert _model(run) == _model(finished)
    assert _results(run) == _results(finished)


def test_a_run_killed_again_and_again_comes_to_its_end(finished: Path, study_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for attempt in itertools.count(12):
        assert attempt < 60, "the run never gets anywhere"
        ended = subprocess.run(
            [sys.executable, "-c", _DYING, "flush", str(attempt), study_file, run], check=False, capture_output=True
        )
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert _model(run) == _model(finished)


def test_a_killed_run_remembers_what_its_rule_goes_by(study_file: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    text = study_file.read_text().replace('compare = ["alone", "pooled"]', "compare = []")
    study.write_text(re.sub(r"robustness = {[^}]*}", 'robustness = { rule = "foolsgold", num_byzantine = 0 }', text))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _sealround("run", study, "--out", whole, "--workers", 0, "--quiet").returncode == 0
    dying = subprocess.run(
        [sys.executable, "-c", _DYING, "flush", "14", study, killed], check=False, capture_output=True
    )
    assert dying.returncode == -signal.SIGKILL, dying.stderr.decode()
    journal = (killed / "journal" / "federated" / "rounds.jsonl").read_text()
    assert 0 < len(journal.splitlines()) < 6
    assert _sealround("resume", killed, "--quiet").returncode == 0
    assert _model(killed) == _model(whole)
    assert _results(killed) == _results(whole)
    judged = _results(whole)["robustness"]
    assert judged["memory"] == 1.0
    assert all(entry["rounds"] == 6 and entry["reason"] for entry in judged["sites"].values())


def test_resuming_a_finished_run_changes_nothing(finished: Path) -> None:
    before = _model(finished), _results(finished)
    assert _sealround("resume", finished, "--quiet").returncode == 0
    assert (_model(finished), _results(finished)) == before


def test_a_run_folder_has_one_process_at_a_time(finished: Path) -> None:
    folder = RunFolder.open(finished)
    folder.lock()
    try:
        refused = _sealround("resume", finished)
    finally:
        folder.unlock()
    assert refused.returncode == 2
    assert "another process is working in" in refused.stderr


def test_changed_data_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text(
        "site,age,ill\n" + "".join(f"{'ab'[i % 2]},{30 + i % 40},{(i // 2) % 2}\n" for i in range(80))
    )
    text = (EXAMPLES / "heart-disease.toml").read_text()
    head, _, rest = text.partition("[cohort]")
    _, _, tail = rest.partition("[standardisation]")
    (tmp_path / "study.toml").write_text(
        head.replace("rounds = 100", "rounds = 2")
        + """[cohort]
source = { kind = "csv", path = "patients.csv" }
sites = { kind = "column" }
[cohort.columns]
site = { role = "site" }
age = { role = "feature", kind = "numeric" }
ill = { role = "label", positive = [1] }
[standardisation]"""
        + tail
    )
    run = tmp_path / "run"
    assert _sealround("run", tmp_path / "study.toml", "--out", run, "--quiet").returncode == 0
    (tmp_path / "patients.csv").write_text((tmp_path / "patients.csv").read_text().replace("a,30,0", "a,31,0", 1))
    refused = _sealround("resume", run)
    assert refused.returncode == 7
    assert "the data are not those this run was started with" in refused.stderr


def test_a_typo_is_met_with_the_nearest_word_and_nothing_is_written(study_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "study.toml"
    broken.write_text(study_file.read_text().replace('"logistic"', '"logistik"').replace("batch_size", "batchsize"))
    refused = _sealround("run", broken, "--out", tmp_path / "run")
    assert refused.returncode == 3
    assert "did you mean logistic?" in refused.stderr
    assert "did you mean batch_size?" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_a_site_that_refuses_the_study_keeps_it_from_starting(study_file: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[site]\nname = "cleveland"\n[floors]\nrequire = ["privacy"]\n')
    refused = _sealround("run", study_file, "--site", site, "--out", tmp_path / "run")
    assert refused.returncode == 11
    assert "floors.require: privacy is switched off" in refused.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("run", "nowhere.toml"), 3, "nowhere.toml"),
        (("resume", "."), 2, "not a run folder"),
        (("rnu",), 2, "Did you mean 'run'?"),
        (("run", "x.toml", "--workers", "many"), 2, "expected auto"),
    ],
)
def test_mistakes_on_the_command_line_are_explained(
    arguments: tuple[str, ...], status: int, said: str, tmp_path: Path
) -> None:
    refused = _sealround(*arguments, folder=tmp_path)
    assert refused.returncode == status
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(finished: Path, study_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # The study's own process sends itself what Ctrl-C sends, in its third round.
    interrupting = """
import os, signal, sys
from sealround.cli import main, progress
seen = progress.Watcher.observe
def observe(self, step):
    seen(self, step)
    if step.round == 3 and step.job == "federated":
        os.kill(os.getpid(), signal.SIGINT)
progress.Watcher.observe = observe
main.main(["run", sys.argv[1], "--out", sys.argv[2], "--workers", "0"])
"""
    stopped = subprocess.run(
        [sys.executable, "-c", interrupting, study_file, run], check=False, capture_output=True, text=True
    )
    assert stopped.returncode == 130
    assert f"sealround resume {run}" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert _sealround("resume", run, "--quiet").stdout.strip() == str(run)
    assert _model(run) == _model(finished)

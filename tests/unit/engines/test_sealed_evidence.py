"""What a sealed study leaves behind: sums in the evidence, and for each site a file of its own results."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sealround.engines.runs import resume_run, start_run
from sealround.engines.sealed_evidence import cohort_together, sealed_models, site_results
from sealround.errors import UsageError
from sealround.federation.scores import METRICS, Scores
from sealround.federation.statistics import Layout, Statistics
from sealround.study import load_study
from sealround.testing import small_study

STUDY = """\
[study]
name = "small"
rounds = 2
seed = 7

[cohort]
source = { kind = "csv", path = "patients.csv" }
sites = { kind = "column" }
split = { kind = "random", validation = 0.2, test = 0.3 }

[cohort.columns]
site = { role = "site" }
age = { role = "feature", kind = "numeric", unit = "years" }
blood = { role = "feature", kind = "categorical" }
ill = { role = "label", positive = [1] }

[model]
kind = "logistic"

[training]
optimizer = { kind = "sgd", learning_rate = 0.1 }
local_steps = 2

[evaluation]
compare = ["alone", "pooled"]
bootstrap = 100

[protection]
secure_aggregation = { mode = "pairwise" }
robustness = { rule = "mean", reason = "simulation on made-up data" }
privacy = { unit = "none", reason = "simulation on made-up data" }
"""
SITES = {"St. Mary's/North": 120, "berne": 110, "Berne": 60, "Zermatt": 90}
WATCHED = {"observe": lambda _: None, "folder_known": lambda _: None}


def _write(folder: Path, study: str = STUDY) -> Path:
    draw = np.random.default_rng(0)
    lines = []
    for site, number in SITES.items():
        for _ in range(number):
            age, ill = draw.integers(30, 70), draw.integers(0, 2)
            lines.append(f"{site},{age + 8 * ill},{'rare' if draw.random() < 0.1 else 'common'},{ill}")
    (folder / "patients.csv").write_text("\n".join(["site,age,blood,ill", *lines]) + "\n")
    path = folder / "study.toml"
    path.write_text(study)
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The evidence of a sealed run, and its folder."""
    study = _write(tmp_path_factory.mktemp("sealed"))
    folder = study.with_name("run")
    evidence = start_run(study, out=folder, data_folder=None, workers=0, **WATCHED)
    return dict(evidence), folder


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (folder / "sites").iterdir()]
    return {result["site"]: result for result in found}


def _without_roster(evidence: dict[str, Any]) -> str:
    tree = json.loads(json.dumps(evidence))
    assert tree["cohort"]["together"].pop("roster") == sorted(SITES)
    return json.dumps(tree)


def test_the_evidence_names_no_site_but_in_the_roster(done: tuple[dict[str, Any], Path]) -> None:
    evidence, folder = done
    text = _without_roster(evidence)
    assert not [site for site in SITES if site in text]
    assert evidence["cohort"]["sites"] == {}
    for model in evidence["models"].values():
        assert (model["sites"], model["worst"], model["gap"]) == ({}, {}, {})
    assert not any(entry["sites"] for entry in evidence["rounds"])
    page = (folder / "report.html").read_text()
    assert not [site for site in SITES if site in page]
    header, *_ = csv.reader((folder / "rounds.csv").read_text().splitlines())
    assert header[-1] == "seconds"


def test_each_site_has_a_file_of_its_own_results(done: tuple[dict[str, Any], Path]) -> None:
    _, folder = done
    files = _files(folder)
    assert files.keys() == SITES.keys()
    for site, result in files.items():
        assert result["cohort"]["rows"] == SITES[site]
        assert result["models"].keys() == {"federated", "alone", "pooled"}
        assert "replicates" not in result["models"]["federated"]
        assert result["models"]["federated"]["roc"]["fpr"][-1] == 1.0
        assert result["alone_failed"] is None


def test_the_evidence_is_the_mean_of_what_the_sites_know(done: tuple[dict[str, Any], Path]) -> None:
    evidence, folder = done
    own = _files(folder).values()
    for name, model in evidence["models"].items():
        for metric in METRICS["binary"]:
            mean = np.mean([result["models"][name]["metrics"][metric]["value"] for result in own])
            assert model["mean"][metric]["value"] == pytest.approx(mean, abs=2**-11), (name, metric)
            assert model["mean"][metric]["low"] <= model["mean"][metric]["value"] <= model["mean"][metric]["high"]
        assert model["together"]["n"] == sum(result["models"][name]["n"] for result in own)
        assert model["tested"] == 4
    for other in ("alone", "pooled"):
        found = evidence["differences"][f"federated-{other}"]["auroc"]["value"]
        means = [evidence["models"][name]["mean"]["auroc"]["value"] for name in ("federated", other)]
        assert found == pytest.approx(means[0] - means[1])


def test_table_one_is_the_sum_of_the_training_patients(done: tuple[dict[str, Any], Path]) -> None:
    evidence, folder = done
    together = evidence["cohort"]["together"]
    assert together["examples"] == sum(result["cohort"]["train"] for result in _files(folder).values())
    age, blood = together["features"]
    assert (age["name"], age["unit"], age["n"]) == ("age", "years", together["examples"])
    assert 50 < age["mean"] < 58
    assert 8 < age["sd"] < 16
    assert blood["levels"]["common"] > 5 * (blood["levels"]["rare"] or 0)


def test_how_sums_were_sealed_is_stated(done: tuple[dict[str, Any], Path]) -> None:
    evidence, _ = done
    aggregation = evidence["aggregation"]
    assert (aggregation["mode"], aggregation["n_min"], aggregation["sites"]) == ("pairwise", 4, 4)
    assert aggregation["clipped"] == [0, 0]
    assert 0 < aggregation["error_bound"] < 1e-5
    assert aggregation["in_clear"]


def test_a_resumed_run_leaves_the_same(done: tuple[dict[str, Any], Path]) -> None:
    evidence, folder = done
    before = _files(folder)
    resumed = dict(resume_run(folder, workers=0, **WATCHED))
    assert {**resumed, "cost": None} == {**evidence, "cost": None}
    assert _files(folder) == before


def test_why_a_site_alone_failed_stays_with_it(tmp_path: Path) -> None:
    by_column = STUDY.replace(
        '{ kind = "random", validation = 0.2, test = 0.3 }', '{ kind = "column", column = "part" }'
    )
    study = _write(tmp_path, by_column)
    records = tmp_path / "patients.csv"
    header, *lines = records.read_text().splitlines()
    parts = ["test" if "Berne" in line else ("train", "train", "test")[i % 3] for i, line in enumerate(lines)]
    rows = [f"{line},{part}" for line, part in zip(lines, parts, strict=True)]
    records.write_text("\n".join([f"{header},part", *rows]) + "\n")
    evidence = dict(start_run(study, out=tmp_path / "run", data_folder=None, workers=0, **WATCHED))
    assert evidence["excluded"] == []
    assert (evidence["models"]["alone"]["tested"], evidence["models"]["federated"]["tested"]) == (3, 4)
    assert "Berne" not in _without_roster(evidence)
    # Means over other sites are not compared: the difference would tell the fourth site's part.
    assert evidence["differences"]["federated-alone"]["auroc"]["value"] is None
    assert evidence["differences"]["federated-pooled"]["auroc"]["value"] is not None
    berne = _files(tmp_path / "run")["Berne"]
    assert "no site reports training data" in berne["alone_failed"]
    assert berne["models"].keys() == {"federated", "pooled"}


# --- without a run ----------------------------------------------------------------------------------------------------


def _result(value: float) -> dict[str, Any]:
    names = METRICS["binary"]
    return {
        "metrics": {name: {"value": value} for name in names},
        "replicates": {name: np.full(1000, value) for name in names},
        "histogram": np.ones(516),
    }


def _job(evaluations: dict[str, Any] | None, scores: Scores | None = None) -> Any:
    coordinator = SimpleNamespace(scores=scores, gate=None)
    return SimpleNamespace(evaluations=evaluations, coordinator=coordinator, failure=None, kept={})


SEALED = {"secure_aggregation": {"mode": "pairwise"}}


def _trainings(alone: int, *, done: bool = True) -> Any:
    sites = {site: _result(0.5 + 0.1 * number) for number, site in enumerate("abcd")}
    federated = _job({}, Scores.of(sites, "binary", 1000) if done else None)
    jobs = {site: _job({site: result} if place < alone else None) for place, (site, result) in enumerate(sites.items())}
    return SimpleNamespace(federated=federated, alone=jobs, pooled=_job(sites))


@pytest.mark.parametrize(("alone", "models"), [(4, ["federated", "alone", "pooled"]), (2, ["federated", "pooled"])])
def test_a_comparison_of_fewer_sites_than_a_sum_may_have_is_left_out(alone: int, models: list[str]) -> None:
    study = small_study(protection=SEALED)
    found, differences, _ = sealed_models(study, study, _trainings(alone))
    assert list(found) == models
    assert list(differences) == [f"federated-{name}" for name in models[1:]]


def test_an_unfinished_or_open_study_has_no_sums() -> None:
    study = small_study(protection=SEALED)
    with pytest.raises(UsageError, match="not done"):
        sealed_models(study, study, _trainings(4, done=False))
    with pytest.raises(UsageError, match="not sealed"):
        sealed_models(small_study(), small_study(), _trainings(4))


def test_a_withheld_model_has_no_test_results_and_the_comparisons_have_theirs() -> None:
    study, trainings = small_study(protection=SEALED), _trainings(4, done=False)
    trainings.federated.coordinator.gate = SimpleNamespace(outcome="withheld")
    found, _, _ = sealed_models(study, study, trainings)
    assert found["federated"]["tested"] == 0
    assert found["alone"]["tested"] == 4


def test_a_site_without_results_has_its_cohort_still(tmp_path: Path) -> None:
    from sealround.clinical import Places, load_cohorts

    study = load_study(_write(tmp_path))
    cohorts = load_cohorts(study, Places.of_study(tmp_path / "study.toml", None))
    jobs = SimpleNamespace(federated=_job({}), alone={}, pooled=None)
    found = site_results(study, study, cohorts, jobs)
    assert {site: (result["models"], result["alone_failed"]) for site, result in found.items()} == {
        site: ({}, None) for site in SITES
    }


def test_table_one_says_nothing_it_does_not_know(tmp_path: Path) -> None:
    study = load_study(_write(tmp_path))
    layout = Layout(("age",), (("blood", ("common", "rare")),))
    plan = SimpleNamespace(roster=("a", "b", "c"))
    counts = layout.join(50, 0, np.array([40.0]), np.array([2000.0]), np.array([30.0, 0.0]))
    statistics = Statistics.from_counts(layout, counts)
    found = cohort_together(study, plan, statistics)
    age, blood = found["features"]
    assert (found["examples"], found["positives"]) == (50, None)
    assert (age["n"], age["mean"], age["sd"]) == (40, 50.0, None)  # a constant, or not measured
    assert blood["levels"] == {"common": 30, "rare": None}
    nothing = Statistics.from_counts(layout, np.zeros(layout.size))
    assert cohort_together(study, plan, nothing)["features"][0]["mean"] is None

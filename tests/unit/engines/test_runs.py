"""A site file in a run: what it insists on holds at every simulated site, before anything is trained and on resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sealround.engines.runs import resume_run, start_run
from sealround.errors import ConsistencyError, PolicyDeniedError, ServiceError
from sealround.study import load_study, study_digest

STUDY = """\
[study]
name = "small"
rounds = 2
seed = 7

[cohort]
source = { kind = "csv", path = "data:patients.csv" }
sites = { kind = "column" }
split = { kind = "random", validation = 0.2, test = 0.3 }

[cohort.columns]
site = { role = "site" }
age = { role = "feature", kind = "numeric" }
blood = { role = "feature", kind = "categorical" }
ill = { role = "label", positive = [1] }

[model]
kind = "logistic"

[training]
optimizer = { kind = "sgd", learning_rate = 0.1 }
local_steps = 2

[evaluation]
compare = []
bootstrap = 100

[protection]
secure_aggregation = { mode = "none", reason = "simulation on made-up data" }
robustness = { rule = "mean", reason = "simulation on made-up data" }
privacy = { unit = "none", reason = "simulation on made-up data" }
"""
SITES = {"a": 120, "b": 120, "c": 60}
RARE = 10  # One patient in so many has the rare blood group: 5 or 6 of a site's training patients.


@pytest.fixture
def study(tmp_path: Path) -> Path:
    lines = [
        f"{site},{30 + i % 41},{'rare' if i % RARE == 0 else 'common'},{i // 3 % 2}"
        for site, number in SITES.items()
        for i in range(number)
    ]
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "patients.csv").write_text("\n".join(["site,age,blood,ill", *lines]) + "\n")
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def site_file(study: Path, text: str = "") -> Path:
    path = study.with_name("site.toml")
    path.write_text(f'[site]\nname = "every-site"\n[data]\nfolder = "records"\n{text}')
    return path


def run(study: Path, out: str = "run", **options: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"data_folder": None, "workers": 0}
    watched = {"observe": lambda _: None, "folder_known": lambda _: None}
    return dict(start_run(study, out=study.with_name(out), **(defaults | options), **watched))


def resume(study: Path, out: str = "run") -> dict[str, Any]:
    run_folder = study.with_name(out)
    return dict(resume_run(run_folder, workers=None, observe=lambda _: None, folder_known=lambda _: None))


def levels(study: Path, out: str) -> list[str]:
    """What the released model knows as levels: those that the sites reported."""
    from safetensors import safe_open

    with safe_open(study.with_name(out) / "model.safetensors", "numpy") as model:
        ((_, found),) = json.loads(model.metadata()["encoding"])["categories"]
    return list(found)


@pytest.mark.parametrize(
    ("floors", "reason"),
    [
        ("max_rounds = 1", "floors.max_rounds: 2 rounds are more than 1"),
        ("min_sites = 4", "floors.min_sites: 3 sites are fewer than 4"),
        ('require = ["privacy"]', "floors.require: privacy is switched off"),
    ],
)
def test_a_floor_refuses_before_anything_is_written(study: Path, floors: str, reason: str) -> None:
    with pytest.raises(PolicyDeniedError) as caught:
        run(study, site_file=site_file(study, f"[floors]\n{floors}\n"))
    assert caught.value.decision == (reason,)
    assert not study.with_name("run").exists()


def test_a_round_of_fewer_sites_than_the_roster_is_refused(study: Path) -> None:
    study.write_text(STUDY.replace("local_steps = 2", "local_steps = 2\nparticipation = 0.67"))
    site = site_file(study, "[floors]\nmin_sites = 3\n")
    with pytest.raises(PolicyDeniedError, match="round of 2"):
        run(study, site_file=site)


def test_a_larger_cell_count_holds_in_statistics_and_evidence_and_on_resume(study: Path) -> None:
    plain = run(study, "plain", site_file=site_file(study))
    site = site_file(study, "[floors]\nmin_cell_count = 15\n")
    strict = run(study, "strict", site_file=site)

    assert (plain["study"]["min_cell_count"], strict["study"]["min_cell_count"]) == (5, 15)
    assert (levels(study, "plain"), levels(study, "strict")) == (["common", "rare"], ["common"])
    blood = [evidence["cohort"]["sites"]["a"]["features"][1]["levels"] for evidence in (plain, strict)]
    assert blood == [{"common": 108, "rare": 12}, {"common": None, "(other)": None}]
    bins = strict["models"]["federated"]["sites"]["a"]["calibration"]
    assert all(entry["count"] >= 15 for entry in bins)
    agreed = study_digest(load_study(study)).hex()
    assert strict["study"]["digest"] == plain["study"]["digest"] == agreed

    kept = study.with_name("strict") / "site.toml"
    assert kept.read_bytes() == site.read_bytes()
    site.unlink()
    resumed = resume(study, "strict")
    assert {**resumed, "cost": None} == {**strict, "cost": None}


def test_a_site_file_that_changed_in_the_run_folder_is_noticed(study: Path) -> None:
    run(study, "strict", site_file=site_file(study, "[floors]\nmin_cell_count = 15\n"))
    run(study, "plain", data_folder=study.with_name("records"))
    kept = study.with_name("strict") / "site.toml"
    kept.rename(study.with_name("plain") / "site.toml")
    for out in ("strict", "plain"):
        with pytest.raises(ConsistencyError, match=r"site\.toml in the run folder"):
            resume(study, out)


def test_the_flag_goes_before_the_site_file(study: Path) -> None:
    site = site_file(study, "[compute]\nworkers = 1\n")
    assert run(study, "flag", site_file=site, workers=0)["cost"]["workers"] == 0
    assert run(study, "site", site_file=site, workers=None)["cost"]["workers"] == 1
    with pytest.raises(ServiceError, match=r"patients\.csv"):
        run(study, "data", site_file=site, data_folder=study.with_name("elsewhere"))


def test_a_site_without_training_patients_has_no_model_of_its_own_and_the_study_goes_on(study: Path) -> None:
    records = study.parent / "records" / "patients.csv"
    header, *lines = records.read_text().splitlines()
    parts = ["test" if line.startswith("c") else ("train", "train", "test")[i % 3] for i, line in enumerate(lines)]
    rows = [f"{line},{part}" for line, part in zip(lines, parts, strict=True)]
    records.write_text("\n".join([f"{header},part", *rows]) + "\n")
    by_column = STUDY.replace(
        '{ kind = "random", validation = 0.2, test = 0.3 }', '{ kind = "column", column = "part" }'
    )
    study.write_text(by_column.replace("compare = []", 'compare = ["alone"]'))
    evidence = run(study, site_file=site_file(study))
    assert sorted(evidence["models"]["federated"]["sites"]) == ["a", "b", "c"]
    assert sorted(evidence["models"]["alone"]["sites"]) == ["a", "b"]
    ((site, why),) = [(gone["site"], gone["why"]) for gone in evidence["excluded"]]
    assert site == "c"
    assert "no site reports training data" in why


def test_a_comparison_does_not_pay_for_what_only_sharing_costs(study: Path) -> None:
    study.write_text(STUDY.replace("compare = []", 'compare = ["alone"]'))
    strict = run(study, "strict", site_file=site_file(study, "[floors]\nmin_cell_count = 40\n"))
    plain = run(study, "plain", site_file=site_file(study))
    assert not strict["excluded"]
    aurocs = [run_["models"]["alone"]["sites"]["c"]["metrics"]["auroc"] for run_ in (strict, plain)]
    assert aurocs[0] == aurocs[1]

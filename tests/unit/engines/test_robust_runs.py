"""What a run with a rule writes down of it: in the evidence, the journal and the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sealround.engines.runs import start_run
from sealround.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Mapping

STUDY = """
[study]
name = "made-up"
rounds = 2
seed = 3

[cohort]
source = { kind = "csv", path = "patients.csv" }
sites = { kind = "column" }
split = { kind = "random", validation = 0.2, test = 0.3 }

[cohort.columns]
site = { role = "site" }
age = { role = "feature", kind = "numeric" }
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
robustness = { RULE }
privacy = { unit = "none", reason = "simulation on made-up data" }
"""
SITES = ("Basel", "Bern", "Chur")


def run(folder: Path, rule: str) -> Mapping[str, Any]:
    lines = [f"{site},{30 + i % 41},{(i % 41 + i // 41) % 3 % 2}" for site in SITES for i in range(90)]
    (folder / "patients.csv").write_text("\n".join(["site,age,ill", *lines]) + "\n")
    (folder / "study.toml").write_text(STUDY.replace("RULE", rule))
    watched: dict[str, Any] = {"observe": lambda _: None, "folder_known": lambda _: None}
    return start_run(folder / "study.toml", out=folder / "run", data_folder=None, workers=0, **watched)


def test_a_root_of_trust_is_named_apart_from_those_it_measures(tmp_path: Path) -> None:
    evidence = run(tmp_path, 'rule = "fltrust", num_byzantine = 0, root = "Bern"')
    judged = evidence["robustness"]
    assert (judged["rule"], judged["root"], judged["memory"]) == ("fltrust", "Bern", None)
    assert set(judged["sites"]) == {"Basel", "Chur"}
    assert all("trust" in entry["reason"] for entry in judged["sites"].values())
    for entry in evidence["rounds"][1:]:
        assert entry["influence"]["Bern"] == [0.0, "root of trust: its update measures the others'"]
    assert "the way of Bern, the root of trust" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(("rule", "memory"), [("foolsgold", 1.0), ("median", None)])
def test_what_a_rule_remembers_is_evidence(rule: str, memory: float | None, tmp_path: Path) -> None:
    judged = run(tmp_path, f'rule = "{rule}", num_byzantine = 0')["robustness"]
    assert judged["memory"] == memory
    assert judged["root"] is None
    assert set(judged["sites"]) == set(SITES)
    page = (tmp_path / "run" / "report.html").read_text()
    assert ("It goes by the mean of all updates" in page) == (memory is not None)


def test_a_root_that_is_no_site_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        run(tmp_path, 'rule = "fltrust", num_byzantine = 0, root = "Berne"')
    (problem,) = caught.value.problems
    assert problem.path == "protection.robustness.root"
    assert problem.message == 'there is no site "Berne"; sites are Basel, Bern, Chur'
    assert problem.suggestion == "Bern"
    assert not (tmp_path / "run").exists()

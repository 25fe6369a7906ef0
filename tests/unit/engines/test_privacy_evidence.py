"""The evidence of differential privacy: numbers of the accountant's, and nothing that was not noised."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sealround.engines.privacy_evidence import declared_cohort, privacy_evidence, private_results, private_sums
from sealround.engines.runs import start_run
from sealround.federation.private import PrivacyTerms
from sealround.privacy.accounting import epsilon_of
from sealround.privacy.events import PrivacyEvent
from sealround.privacy.tradeoff import max_true_positive_rate, posterior
from sealround.report.reading import read_evidence
from sealround.study import load_study

if TYPE_CHECKING:
    from pathlib import Path

    from sealround.study import Study

STUDY = """\
[study]
name = "small"
rounds = 4
seed = 7

[cohort]
source = { kind = "builtin", name = "breast-cancer" }
sites = { kind = "iid", number = 3 }

[model]
kind = "logistic"

[training]
optimizer = { kind = "sgd", learning_rate = 0.1 }
local_steps = 2

[standardisation]
kind = "example"

[evaluation]
compare = []
bootstrap = 100

[protection]
secure_aggregation = { mode = "pairwise" }
robustness = { rule = "mean", reason = "simulation on public data" }

[protection.privacy]
unit = "patient"
neighboring_relation = "add-or-remove-one"
trust = "sealed"
delta = 1e-4
epsilon = 8.0
sampling_probability = 0.1
l2_clip_norm = 1.0
patients = 400
"""
LOCAL = STUDY.replace('"sealed"', '"local"').replace(
    '{ mode = "pairwise" }', '{ mode = "none", reason = "simulation on public data" }'
)
KEPT = STUDY + 'metrics = "kept"\n'
SITES = ("site-1", "site-2", "site-3")
RELATION = "add-or-remove-one"


def _load(folder: Path, text: str) -> Study:
    path = folder / "study.toml"
    path.write_text(text)
    return load_study(path)


def _gather(folder: Path, text: str = STUDY) -> tuple[dict[str, Any], PrivacyTerms]:
    study = _load(folder, text)
    terms = PrivacyTerms.of(study, len(SITES))
    assert terms is not None
    coordinator: Any = SimpleNamespace(plan=SimpleNamespace(privacy=terms, roster=SITES))
    found = privacy_evidence(study, coordinator)
    assert found is not None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found, terms


def test_a_study_without_it_has_none(tmp_path: Path) -> None:
    head, _, _ = STUDY.partition("[protection.privacy]")
    study = _load(tmp_path, head + 'privacy = { unit = "none", reason = "simulation on public data" }\n')
    coordinator: Any = SimpleNamespace(plan=SimpleNamespace(privacy=None, roster=SITES))
    assert privacy_evidence(study, coordinator) is None
    summary = {"mode": "pairwise", "in_clear": ["all"]}
    assert private_sums(study, summary) is summary
    assert private_results(study, {"federated": {}}) == {"federated": {}}


def test_epsilon_is_the_most_that_one_split_spends(tmp_path: Path) -> None:
    found, terms = _gather(tmp_path)
    spent = {entry["what"]: entry["epsilon"] for entry in found["releases"]}
    assert spent.keys() == {"training", "metrics"}
    assert found["epsilon"] == terms.epsilon == max(spent.values()) <= 8.0
    assert found["epsilon_rdp"] > found["epsilon"]
    assert (found["steps"], found["sites"], found["honest"]) == (4, 3, 3)


def test_every_site_spends_what_the_sum_does(tmp_path: Path) -> None:
    found, terms = _gather(tmp_path)
    assert tuple(found["by_site"]) == SITES
    spent = epsilon_of((terms.events[0],), 1e-4, RELATION)
    assert {entry["epsilon"] for entry in found["by_site"].values()} == {spent}


def test_rounds_end_at_what_the_training_spends(tmp_path: Path) -> None:
    found, _ = _gather(tmp_path)
    course = found["over_rounds"]
    assert course["rounds"] == [0, 1, 2, 3, 4]
    assert course["epsilon"][0] == 0.0
    assert course["epsilon"] == sorted(course["epsilon"])
    assert course["epsilon"][-1] == pytest.approx(found["releases"][0]["epsilon"])


def test_a_long_training_has_few_points(tmp_path: Path) -> None:
    rounds = _gather(tmp_path, STUDY.replace("rounds = 4", "rounds = 200"))[0]["over_rounds"]["rounds"]
    assert len(rounds) < 40
    assert (rounds[0], rounds[-1]) == (0, 200)


def test_the_bound_on_an_attacker_is_that_of_the_most_telling_release(tmp_path: Path) -> None:
    found, terms = _gather(tmp_path)
    for entry in found["max_true_positive_rate"]:
        rate = entry["false_positive_rate"]
        each = [max_true_positive_rate((event,), RELATION, rate) for event in terms.events]
        assert entry["true_positive_rate"] == max(each)
    alpha, beta = found["tradeoff"]["alpha"], found["tradeoff"]["beta"]
    assert len(alpha) == len(beta) == 61
    assert (alpha[0], alpha[-1], beta[-1]) == (0.0, 1.0, 0.0)
    assert all(one >= other for one, other in itertools.pairwise(beta))
    assert max(1 - miss - false for false, miss in zip(alpha, beta, strict=True)) <= found["advantage"] + 1e-9


def test_beliefs_are_read_off_epsilon_alone_and_labelled_so(tmp_path: Path) -> None:
    found, _ = _gather(tmp_path)
    assert found["posterior"] == [
        {"prior": prior, "posterior": posterior(prior, found["epsilon"]), "reading": "pure-epsilon"}
        for prior in (0.1, 0.5)
    ]


def test_against_a_site_that_takes_its_noise_off_there_is_less(tmp_path: Path) -> None:
    found, terms = _gather(tmp_path)
    training = terms.events[0]
    less = PrivacyEvent("training", training.noise_multiplier * math.sqrt(2 / 3), 0.1, 4)
    assert found["epsilon_seen_by_site"] >= epsilon_of((less,), 1e-4, RELATION) > found["epsilon"]
    assert any("dishonest_sites = 0" in one for one in found["not_covered"])


def test_where_a_dishonest_site_is_reckoned_with_none_sees_more(tmp_path: Path) -> None:
    found, _ = _gather(tmp_path, STUDY + "dishonest_sites = 1\n")
    assert (found["epsilon_seen_by_site"], found["honest"], found["dishonest_sites"]) == (None, 2, 1)
    assert any(one.startswith("More than 1 hospital that leave") for one in found["not_covered"])


def test_private_messages_rest_on_nobodys_noise(tmp_path: Path) -> None:
    found, terms = _gather(tmp_path, LOCAL)
    assert (found["trust"], found["honest"], found["epsilon_seen_by_site"]) == ("local", 1, None)
    assert found["steps"] == terms.rounds * 2
    assert not any("takes it off" in one for one in found["not_covered"])


def test_results_that_stay_are_no_release(tmp_path: Path) -> None:
    found, _ = _gather(tmp_path, KEPT)
    assert [entry["what"] for entry in found["releases"]] == ["training"]
    assert (found["metrics"], found["noise_in_results"]) == ("kept", 0.0)
    study = _load(tmp_path, KEPT)
    counted: dict[str, dict[str, Any]] = {"federated": {"all": {}, "together": {"n": 0, "positives": 0}}}
    assert private_results(study, counted)["federated"]["together"]["n"] is None


@pytest.mark.parametrize(
    ("unit", "said"), [("patient", "A patient of several hospitals"), ("record", "of k records up to k times")]
)
def test_whom_the_unit_leaves_out_is_said(tmp_path: Path, unit: str, said: str) -> None:
    found, _ = _gather(tmp_path, STUDY.replace('unit = "patient"', f'unit = "{unit}"'))
    assert any(said in one for one in found["not_covered"])


def test_of_private_hospitals_the_unit_is_a_hospital(tmp_path: Path) -> None:
    text = KEPT.replace('unit = "patient"', 'unit = "site"').replace("patients = 400", "patients = 3")
    found, _ = _gather(tmp_path, text.replace("sampling_probability = 0.1", "sampling_probability = 1.0"))
    assert (found["unit"], found["patients"], found["sampling_probability"]) == ("site", 3, 1.0)
    assert (
        "That a hospital takes part: everybody sees it. What is hidden is what its records are."
        in (found["not_covered"])
    )


def test_sums_tell_less_in_clear(tmp_path: Path) -> None:
    study = _load(tmp_path, STUDY)
    found = private_sums(study, {"mode": "pairwise", "in_clear": ["counts and spread of the inputs"]})
    assert found is not None
    assert found["mode"] == "pairwise"
    assert not any("spread of the inputs" in one for one in found["in_clear"])
    assert private_sums(study, None) is None


def test_nobody_counts_the_cohort() -> None:
    assert declared_cohort(SITES) == {"roster": list(SITES), "examples": None, "positives": None, "features": []}


@pytest.mark.parametrize("text", [STUDY, LOCAL, KEPT], ids=["sealed", "local", "kept"])
def test_the_evidence_of_a_run_has_no_number_of_one_site(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text)
    evidence = dict(
        start_run(
            path,
            out=tmp_path / "run",
            data_folder=None,
            workers=0,
            observe=lambda _: None,
            folder_known=lambda _: None,
        )
    )
    read = read_evidence(json.loads(json.dumps(evidence)))
    assert read.privacy is not None
    assert read.privacy.by_site.keys() == set(SITES)
    assert read.cohort.together is not None
    assert (read.cohort.sites, read.cohort.together.examples) == ({}, None)
    assert all(not entry.sites and entry.train_loss is None for entry in read.rounds)
    assert read.subgroups is None
    for name, site in json.loads(json.dumps(evidence["models"]))["federated"].items():
        assert name != "sites" or site == {}
    defined = {name for name, found in read.federated.everyone.items() if found.value is not None}
    assert defined == (set() if text is KEPT else {"auroc"})
    assert len(list((tmp_path / "run" / "sites").glob("*.json"))) == len(SITES)

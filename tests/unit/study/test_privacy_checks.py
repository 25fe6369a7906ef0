"""What does not go together with differential privacy is refused with the study, each thing at its place."""

from __future__ import annotations

from typing import Any

import pytest

from sealround.study import Study
from sealround.study.privacy_checks import privacy_problems
from sealround.study.summary import protection_states
from sealround.testing import small_study

REASON = "made-up numbers in a test"
OPTIONS = {
    "unit": "patient",
    "neighboring_relation": "add-or-remove-one",
    "trust": "sealed",
    "delta": 1e-5,
    "epsilon": 3.0,
    "sampling_probability": 0.1,
    "l2_clip_norm": 1.0,
    "patients": 1000,
}
OPEN = {"mode": "none", "reason": REASON}


def study_of(
    aggregation: dict[str, Any] | None = None, privacy: dict[str, Any] | None = None, **sections: Any
) -> Study:
    protection = {
        "secure_aggregation": aggregation or {"mode": "pairwise"},
        "robustness": {"rule": "mean", "reason": REASON},
        "privacy": OPTIONS | (privacy or {}),
    }
    evaluation = {"compare": [], **sections.pop("evaluation", {})}
    sections = {"standardisation": {"kind": "declared"}} | sections
    return small_study(**sections, evaluation=evaluation, protection=protection)


LOCAL = {"aggregation": OPEN, "privacy": {"trust": "local"}, "training": {"local_epochs": None, "local_steps": 5}}


def places(study: Study) -> list[str]:
    return [".".join(path) for path, _ in privacy_problems(study)]


@pytest.mark.parametrize("given", [{}, LOCAL], ids=["sealed", "local"])
def test_a_study_that_fits_has_no_problem(given: dict[str, Any]) -> None:
    assert places(study_of(**given)) == []


def test_a_study_without_it_is_not_looked_at() -> None:
    assert list(privacy_problems(small_study())) == []


CHANGES: dict[str, dict[str, Any]] = {
    "protection.privacy.epsilon": {"privacy": {"epsilon": None}},
    "protection.privacy.delta": {"privacy": {"delta": 0.001}},
    "protection.privacy.neighboring_relation": {"privacy": {"neighboring_relation": "replace-one"}},
    "protection.privacy.trust": {"aggregation": OPEN},
    "protection.secure_aggregation.clip_norm": {"aggregation": {"mode": "pairwise", "clip_norm": 1.0}},
    "protection.secure_aggregation.scale_bits": {"aggregation": {"mode": "replicated", "scale_bits": 20}},
    "standardisation.kind": {"standardisation": {"kind": "federated"}},
    "model.kind": {"model": {"kind": "cox"}},
    "training.participation": {"training": {"participation": 0.5}},
    "training.algorithm": {"training": {"algorithm": {"kind": "scaffold"}}},
    "training.personalisation": {"training": {"personalisation": {"kind": "local-intercept"}}},
    "training.class_balance": {"training": {"class_balance": "weighted"}},
    "training.augmentation": {"training": {"augmentation": {"flip": True}}},
    "evaluation.selection": {"evaluation": {"selection": "best-validation"}},
    "evaluation.compare": {"evaluation": {"compare": ["alone"]}},
    "evaluation.primary": {"evaluation": {"primary": "accuracy"}},
    "evaluation.threshold": {"privacy": {"metrics": "kept"}, "evaluation": {"threshold": {"kind": "youden"}}},
    "fairness.gate": {"fairness": {"gate": {}}},
    "fairness.training": {"fairness": {"training": "minimax"}},
    "fairness.group_thresholds": {"fairness": {"group_thresholds": "sex"}},
    "cohort.columns.ward.levels": {
        "cohort": {"columns": {"ward": {"role": "feature", "kind": "categorical"}}},
    },
}


@pytest.mark.parametrize("place", CHANGES)
def test_what_does_not_fit_is_named_and_nothing_else(place: str) -> None:
    assert places(study_of(**CHANGES[place])) == [place]


SITE = {"unit": "site", "patients": 4, "sampling_probability": 1.0, "metrics": "kept"}


def test_a_study_whose_unit_is_the_site_fits_too() -> None:
    assert places(study_of(privacy=SITE)) == []
    assert "one hospital, with all its patients" in protection_states(study_of(privacy=SITE))[-1].meaning


@pytest.mark.parametrize(
    ("key", "value"),
    [("trust", "local"), ("sampling_probability", 0.5), ("metrics", "noised"), ("patients", 5)],
)
def test_sites_have_needs_of_their_own(key: str, value: object) -> None:
    given = {"training": LOCAL["training"], "aggregation": OPEN} if key == "trust" else {}
    assert places(study_of(privacy=SITE | {key: value}, **given)) == [f"protection.privacy.{key}"]


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("training.local_steps", {"training": {"local_epochs": 1}}),
        (
            "training.optimizer",
            {"training": {**LOCAL["training"], "optimizer": {"kind": "adam", "learning_rate": 0.1}}},
        ),
        ("protection.privacy.dishonest_sites", {"privacy": {"trust": "local", "dishonest_sites": 1}}),
    ],
)
def test_local_training_has_needs_of_its_own(place: str, change: dict[str, Any]) -> None:
    assert places(study_of(**(LOCAL | change))) == [place]


def test_what_is_bounded_and_against_whom_is_said() -> None:
    sealed, local, record = (
        protection_states(study_of(**given))[-1]
        for given in ({}, LOCAL, {"privacy": {"unit": "record", "epsilon": None, "noise_multiplier": 2.0}})
    )
    assert (sealed.state, sealed.reason) == ("on", "")
    assert "whoever sees sums or the model" in sealed.meaning
    assert "one patient, with all records" in sealed.meaning
    assert "(epsilon 3, delta 1e-05)" in sealed.meaning
    assert "everybody but the own site" in local.meaning
    assert "not of a patient who has several" in record.meaning

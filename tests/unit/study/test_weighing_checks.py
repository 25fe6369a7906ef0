"""Training that weighs groups of patients is refused with the study where it cannot work, and never ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sealround.study import parse_study
from sealround.study.sections import Fairness
from sealround.study.summary import describe_weighing

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.errors import Problem

    Problems = Callable[[dict[str, str]], tuple[Problem, ...]]
    Changed = Callable[[dict[str, str]], str]

AGE = 'age = { role = "feature", kind = "numeric" }'
BANDED = 'age = { role = "feature", kind = "numeric", sensitive = true, bands = [50] }'
FINE = 'age = { role = "feature", kind = "numeric", sensitive = true, bands = [10, 20, 30, 40, 50, 60, 70, 80, 90] }'
WARD = 'ward = { role = "sensitive", levels = ["a", "b", "c", "d", "e", "f", "g"] }'
SURVIVAL = {
    'disease = { role = "label", positive = [1] }': 'time = { role = "time" }\nevent = { role = "event" }',
    'kind = "logistic"': 'kind = "cox"',
}


def weighed(text: str = 'training = "minimax"') -> dict[str, str]:
    return {"bootstrap = 200": f"bootstrap = 200\n[fairness]\n{text}"}


@pytest.mark.parametrize("kind", ["reweighted", "minimax"])
def test_groups_that_are_declared_can_be_weighed(changed: Changed, kind: str) -> None:
    assert parse_study(changed(weighed(f'training = "{kind}"') | {AGE: BANDED}), "study.toml").fairness.training == kind


def test_what_is_weighed_is_said() -> None:
    said = [describe_weighing(Fairness(training=kind)) for kind in ("plain", "reweighted", "minimax")]
    assert said[0] == ""
    assert "independent" in said[1]
    assert "largest loss" in said[2]


@pytest.mark.parametrize(
    ("edit", "path", "phrase"),
    [
        pytest.param(weighed(), "fairness.training", "no column makes any; say sensitive = true", id="no groups"),
        pytest.param(
            weighed() | SURVIVAL | {AGE: BANDED}, "fairness.training", 'say training = "plain"', id="survival"
        ),
        pytest.param(
            weighed() | {AGE: f"{FINE}\n{WARD}"}, "fairness.training", "70 combinations, 64 at most", id="too many"
        ),
        pytest.param(
            weighed('group_thresholds = "aeg"') | {AGE: BANDED},
            "fairness.group_thresholds",
            'no sensitive column "aeg"; did you mean "age"?',
            id="thresholds of no column",
        ),
    ],
)
def test_what_cannot_be_weighed_is_refused(problems: Problems, edit: dict[str, str], path: str, phrase: str) -> None:
    (problem,) = problems(edit)
    assert problem.path == path
    assert phrase in problem.message

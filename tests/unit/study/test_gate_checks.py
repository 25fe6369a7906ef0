"""A gate that could judge nothing is refused with the study, and the reason says what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sealround.study import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.errors import Problem

    Problems = Callable[[dict[str, str]], tuple[Problem, ...]]
    Changed = Callable[[dict[str, str]], str]

AGE = 'age = { role = "feature", kind = "numeric" }'
BANDED = 'age = { role = "feature", kind = "numeric", sensitive = true, bands = [50] }'
SITES = 'sites = { kind = "column" }'
HOSPITAL = 'hospital = { role = "site" }'
OPEN = 'secure_aggregation = { mode = "none", reason = "simulation on public data" }'
SEALED = 'secure_aggregation = { mode = "pairwise" }'
SOURCE = '{ kind = "csv", path = "cohort.csv" }'
BUILTIN = '{ kind = "builtin", name = "heart-disease" }'
SURVIVAL = {
    'disease = { role = "label", positive = [1] }': 'time = { role = "time" }\nevent = { role = "event" }',
    'kind = "logistic"': 'kind = "cox"',
}


def gated(text: str = "", **more: str) -> dict[str, str]:
    return {"bootstrap = 200": f"bootstrap = 200\n[fairness.gate]\n{text}", **more}


@pytest.mark.parametrize(
    ("edit", "path", "phrase"),
    [
        pytest.param(gated(), "fairness.gate", "no column makes any; say sensitive = true", id="no groups"),
        pytest.param(
            gated() | {AGE: BANDED, SITES: 'sites = { kind = "iid", number = 2 }', HOSPITAL: ""},
            "fairness.gate",
            "at 3 sites or more, and there are 2",
            id="two sites",
        ),
        pytest.param(
            gated() | {AGE: BANDED, SITES: f'{SITES}\nsplit = {{ kind = "random", validation = 0.0 }}'},
            "fairness.gate",
            "needs validation data",
            id="no validation patients",
        ),
        pytest.param(
            gated('on_failure = "exclude"') | {AGE: BANDED, OPEN: SEALED},
            "fairness.gate.on_failure",
            'cannot be told where mode "pairwise" hides them; take on_failure = "withhold"',
            id="sealed and exclude",
        ),
        pytest.param(gated() | SURVIVAL | {AGE: BANDED}, "fairness.gate", "is for two classes", id="survival"),
    ],
)
def test_a_gate_that_cannot_work_is_refused(problems: Problems, edit: dict[str, str], path: str, phrase: str) -> None:
    found = [problem for problem in problems(edit) if problem.path == path]
    assert found, [str(problem) for problem in problems(edit)]
    assert phrase in found[0].message


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(gated('on_failure = "exclude"') | {AGE: BANDED}, id="open and exclude"),
        pytest.param(gated() | {AGE: BANDED, OPEN: SEALED}, id="sealed and withhold"),
        pytest.param(gated('reference = { kind = "model", path = "old.safetensors" }') | {AGE: BANDED}, id="a model"),
        pytest.param({AGE: BANDED}, id="groups without a gate"),
    ],
)
def test_a_gate_that_can_work_is_not(changed: Changed, edit: dict[str, str]) -> None:
    study = parse_study(changed(edit), "study.toml")
    assert (study.fairness.gate is not None) == ("bootstrap = 200" in edit)

"""A small valid study, and what is wrong with a changed one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from sealround.errors import StudyError
from sealround.study import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.errors import Problem

SMALL = """\
[study]
name = "small"
rounds = 3
seed = 7

[cohort]
source = { kind = "csv", path = "cohort.csv" }
sites = { kind = "column" }

[cohort.columns]
age = { role = "feature", kind = "numeric" }
disease = { role = "label", positive = [1] }
hospital = { role = "site" }

[model]
kind = "logistic"

[training]
optimizer = { kind = "sgd", learning_rate = 0.1 }
local_epochs = 1

[evaluation]
bootstrap = 200

[protection]
secure_aggregation = { mode = "none", reason = "simulation on public data" }
robustness = { rule = "mean", reason = "simulation on public data" }
privacy = { unit = "none", reason = "simulation on public data" }
"""


@pytest.fixture
def small() -> str:
    """Text of a small valid study."""
    return SMALL


@pytest.fixture
def changed() -> Callable[[dict[str, str]], str]:
    """Text of the small study with some texts replaced; each must occur once."""

    def change(edits: dict[str, str]) -> str:
        text = SMALL
        for old, new in edits.items():
            assert len(re.findall(re.escape(old), text)) == 1, f"{old!r} does not occur exactly once"
            text = text.replace(old, new)
        return text

    return change


@pytest.fixture
def problems(changed: Callable[[dict[str, str]], str]) -> Callable[[dict[str, str]], tuple[Problem, ...]]:
    """What is wrong with the small study after some replacements."""

    def find(edits: dict[str, str]) -> tuple[Problem, ...]:
        with pytest.raises(StudyError) as caught:
            parse_study(changed(edits), "study.toml")
        return caught.value.problems

    return find

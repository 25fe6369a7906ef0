"""Sensitive columns that make no good groups, each in its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sealround.study import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.errors import Problem

    Changed = Callable[[dict[str, str]], str]
    Problems = Callable[[dict[str, str]], tuple[Problem, ...]]

DISEASE = 'disease = { role = "label", positive = [1] }'


def _column(text: str, more: str = "") -> dict[str, str]:
    return {DISEASE: f"{DISEASE}\nx = {{ {text} }}\n{more}"}


@pytest.mark.parametrize(
    ("text", "path", "phrase"),
    [
        ('role = "sensitive"', "x", 'name the levels: levels = ["0", "1"]'),
        ('role = "feature", kind = "numeric", sensitive = true', "x", "bands = [50, 65]"),
        ('role = "feature", kind = "categorical", sensitive = true', "x", "name the levels"),
        ('role = "sensitive", bands = [65, 50]', "x.bands", "ascend"),
        ('role = "sensitive", bands = [65, 65]', "x.bands", "ascend"),
        ('role = "feature", kind = "numeric", bands = [65]', "x.bands", "sensitive = true"),
        ('role = "sensitive", bands = [65], levels = ["a"]', "x.bands", "levels or bands, not both"),
        ('role = "sensitive", levels = ["a", "b", "a"]', "x.levels", 'names the level "a" twice'),
        ('role = "sensitive", levels = ["a", "b"], names = { c = "C" }', "x.names", '"c", which is not among'),
        ('role = "sensitive", levels = ["a", "b"], names = { a = "b" }', "x.names", 'calls two levels "b"'),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(text: str, path: str, phrase: str, problems: Problems) -> None:
    (found,) = problems(_column(text))
    assert found.path == f"cohort.columns.{path}"
    assert phrase in found.message


def test_too_many_groups(problems: Problems, changed: Changed) -> None:
    levels = ", ".join(f'"{level}"' for level in range(15))
    column = f'role = "sensitive", levels = [{levels}]'
    (found,) = problems(_column(column, f"y = {{ {column} }}"))
    assert found.path == "cohort.columns"
    assert "255 groups of patients, 200 at most" in found.message
    text = changed(_column(column, f"y = {{ {column} }}")) + "\n[fairness]\nintersections = false\n"
    assert not parse_study(text, "study.toml").fairness.intersections


@pytest.mark.parametrize(
    "text",
    [
        'role = "sensitive", levels = ["a", "b"], names = { a = "A" }',
        'role = "sensitive", bands = [50, 65]',
        'role = "feature", kind = "numeric", sensitive = true, bands = [50]',
        'role = "feature", kind = "categorical", sensitive = true, levels = ["a", "b"]',
    ],
)
def test_what_is_right_passes(text: str, changed: Changed) -> None:
    assert "x" in parse_study(changed(_column(text)), "study.toml").cohort.columns


def test_a_survival_study_needs_no_groups(changed: Changed) -> None:
    survival = {DISEASE: 'time = { role = "time" }\nevent = { role = "event" }\nx = { role = "sensitive" }'}
    text = changed({**survival, 'kind = "logistic"': 'kind = "cox"'})
    assert parse_study(text, "study.toml").task == "survival"

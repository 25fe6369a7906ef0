"""Whether a study can weigh patients by group as its ``[fairness]`` section says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sealround.study.gate_checks import builtin_sensitive, has_groups
from sealround.study.group_checks import levels_of
from sealround.study.words import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealround.study.sections import Study

__all__ = ["MAX_COMBINATIONS", "weighing_problems"]

MAX_COMBINATIONS = 64
"""Combinations of levels of all sensitive columns."""


def weighing_problems(study: Study) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the place of each reason why patients cannot be weighed, below ``fairness``, and what to change."""
    yield from _threshold_problems(study)
    if study.fairness.training == "plain":
        return
    if study.task == "survival":
        why = "weighs patients by group and outcome, and a time to event is not an outcome that is there or not"
        yield ("training",), f'{why}; say training = "plain"'
    elif not has_groups(study):
        how = "say sensitive = true of a feature with levels or bands, or give a column the role sensitive"
        yield ("training",), f"weighs groups of patients, and no column makes any; {how}"
    sizes = [size for size in map(levels_of, study.cohort.columns.values()) if size]
    if math.prod(sizes) > MAX_COMBINATIONS:
        why = f"the levels of sensitive columns make {math.prod(sizes)} combinations, {MAX_COMBINATIONS} at most"
        yield ("training",), f"{why}; take fewer levels or bands"


def _threshold_problems(study: Study) -> Iterator[tuple[tuple[str, ...], str]]:
    name = study.fairness.group_thresholds
    if name is None:
        return
    column = study.cohort.columns.get(name)
    if study.task == "survival":
        yield ("group_thresholds",), "a time to event is not decided by a threshold; leave it out"
    elif column is None and name not in builtin_sensitive(study):
        known = [known for known, each in study.cohort.columns.items() if levels_of(each)]
        near = nearest(name, (*known, *builtin_sensitive(study)))
        yield (
            ("group_thresholds",),
            f'there is no sensitive column "{name}"' + (f'; did you mean "{near}"?' if near else ""),
        )
    elif column is not None and not levels_of(column):
        yield ("group_thresholds",), f'"{name}" makes no groups; say sensitive = true of it, and its levels or bands'
    if study.evaluation.selection == "best-validation":
        why = "needs the validation of the model that is released, group by group, and only the last one's is asked for"
        yield ("group_thresholds",), f'{why}; say selection = "last" in [evaluation]'

"""Which groups of patients a study looks at, from its declared columns alone, and which rows belong to each.

A group is a level of a sensitive column (of a number, one of its bands), or a level of each of two. A row without a
value belongs to no group of that column.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical.cells import band_codes, band_names, canonical_levels
from sealround.clinical.counting import level_codes
from sealround.clinical.roles import declared_columns
from sealround.errors import Problem, StudyError
from sealround.federation.groups import Group
from sealround.federation.weighing import Partition
from sealround.study.group_checks import MAX_GROUPS, ungrouped
from sealround.study.sections import CategoricalFeature, NumericFeature, SensitiveColumn

if TYPE_CHECKING:
    import polars as pl

    from sealround.clinical.cohort import SiteCohort
    from sealround.study.sections import Column, Study
    from sealround.vocabulary import Rows

__all__ = ["combinations_of", "groups_of", "memberships"]


@dataclass(frozen=True, slots=True)
class _Column:
    """A sensitive column that is cut into levels.

    Attributes:
        name: Of the column.
        levels: What reports call its levels.
        codes: The levels as cells have them; empty for bands.
        bands: Ascending cut points; empty for levels.
    """

    name: str
    levels: tuple[str, ...]
    codes: tuple[str, ...] = ()
    bands: tuple[float, ...] = ()

    def of(self, cells: pl.Series) -> Rows:
        """Return which level each cell has, int64 ``(n,)``; -1 where it is missing."""
        if not self.bands:
            return level_codes(cells, self.codes)
        return band_codes(cells, self.bands)


def groups_of(study: Study) -> tuple[Group, ...]:
    """Return a study's groups: levels by column (sorted) and level (as declared), then pairs of levels in that order.

    None for a survival study: what is compared between groups are errors of a decision. None where answers are private:
    counts by group are not among what has noise.

    Raises:
        StudyError: If a sensitive column has neither levels nor bands, or there are more groups than can be told.
    """
    if study.task == "survival" or study.protection.private:
        return ()
    columns = _columns(study)
    singles = [Group(((column.name, level),)) for column in columns for level in column.levels]
    pairs = [
        Group(((first.name, one), (second.name, other)))
        for first, second in _pairs(study, columns)
        for one in first.levels
        for other in second.levels
    ]
    groups = (*singles, *pairs)
    if len(groups) > MAX_GROUPS:
        problem = Problem("cohort.columns", f"sensitive columns make {len(groups)} groups; {MAX_GROUPS} at most")
        raise StudyError("too many groups of patients", (problem,))
    return groups


def memberships(study: Study, cohort: SiteCohort, rows: Rows) -> np.ndarray:
    """Say who belongs to which group.

    Args:
        study: The study.
        cohort: A site's records.
        rows: Row numbers, int64 ``(n,)``.

    Returns:
        bool ``(n, g)``, a column for each of `groups_of`.

    Raises:
        StudyError: As `groups_of`.
    """
    if not groups_of(study):
        return np.zeros((rows.size, 0), dtype=bool)
    columns = _columns(study)
    flags = {
        column.name: column.of(cohort.table[column.name])[rows, None] == np.arange(len(column.levels))
        for column in columns
    }
    pairs = [
        (flags[first.name][:, :, None] & flags[second.name][:, None, :]).reshape(rows.size, -1)
        for first, second in _pairs(study, columns)
    ]
    return np.concatenate([*flags.values(), *pairs], axis=1)


def combinations_of(study: Study, cohort: SiteCohort, rows: Rows) -> Rows:
    """Say which combination of levels each row has, int64 ``(n,)``: positions of `Partition.of` the study's groups.

    Raises:
        StudyError: As `groups_of`.
        UsageError: If the study has no groups.
    """
    codes = [column.of(cohort.table[column.name])[rows] for column in _columns(study)]
    return Partition.of(groups_of(study)).combined(codes)


def _pairs(study: Study, columns: tuple[_Column, ...]) -> list[tuple[_Column, _Column]]:
    return list(combinations(columns, 2)) if study.fairness.intersections else []


def _columns(study: Study) -> tuple[_Column, ...]:
    problems, found = [], []
    for name, column in declared_columns(study.cohort).items():
        if why := ungrouped(column):
            problems.append(Problem(f"cohort.columns.{name}", why))
        elif cut := _cut(name, column):
            found.append(cut)
    if problems:
        raise StudyError("groups of patients are not declared", tuple(problems))
    return tuple(found)


def _cut(name: str, column: Column) -> _Column | None:
    match column:
        case NumericFeature(sensitive=True, bands=tuple(bands)) | SensitiveColumn(levels=None, bands=tuple(bands)):
            return _Column(name, band_names(bands), bands=bands)
        case CategoricalFeature(sensitive=True, levels=tuple(levels)) | SensitiveColumn(levels=tuple(levels)):
            codes = canonical_levels(levels)
            names = dict(zip(canonical_levels(tuple(column.names)), column.names.values(), strict=True))
            return _Column(name, tuple(names.get(code, code) for code in codes), codes=codes)
    return None

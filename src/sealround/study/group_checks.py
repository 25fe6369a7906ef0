"""Whether the sensitive columns of a study can be cut into groups of patients that everybody knows beforehand."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from sealround.study.sections import CategoricalFeature, NumericFeature, SensitiveColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sealround.study.sections import Column, Study

__all__ = ["MAX_GROUPS", "group_problems", "levels_of", "ungrouped"]

MAX_GROUPS = 200
"""Groups of a study, pairs among them."""

_LEVELS = 'levels = ["0", "1"], names = { 0 = "female", 1 = "male" }'


def ungrouped(column: Column) -> str | None:
    """Say why a sensitive column makes no groups, and what to add; ``None`` if it does or is not sensitive."""
    match column:
        case NumericFeature(sensitive=True, bands=None):
            return "a sensitive number is reported by bands; say where they begin: bands = [50, 65]"
        case CategoricalFeature(sensitive=True, levels=None):
            return f"groups are known before any data is read; name the levels: {_LEVELS}"
        case SensitiveColumn(levels=None, bands=None):
            return f"groups are known before any data is read; name the levels: {_LEVELS}, or for a number bands = [50]"
    return None


def group_problems(study: Study) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the key of each declaration that makes no good groups, below ``cohort.columns``, and what to change."""
    if study.task == "survival":
        return
    sizes: list[int] = []
    for name, column in study.cohort.columns.items():
        if why := ungrouped(column):
            yield (name,), why
        for key, problem in _column_problems(column):
            yield (name, key), problem
        sizes.append(levels_of(column))
    pairs = sum(first * second for first, second in combinations(sizes, 2)) if study.fairness.intersections else 0
    if sum(sizes) + pairs > MAX_GROUPS:
        why = f"sensitive columns make {sum(sizes) + pairs} groups of patients, {MAX_GROUPS} at most"
        yield (), f"{why}; take fewer levels or bands, or say fairness.intersections = false"


def _column_problems(column: Column) -> Iterator[tuple[str, str]]:
    bands = column.bands if isinstance(column, NumericFeature | SensitiveColumn) else None
    if bands is not None:
        if any(low >= high for low, high in pairwise(bands)):
            yield "bands", "expected cut points that ascend, each once"
        if isinstance(column, NumericFeature) and not column.sensitive:
            yield "bands", "cuts a sensitive number into groups; say sensitive = true, too, or leave it out"
        if isinstance(column, SensitiveColumn) and column.levels is not None:
            yield "bands", "a column has levels or bands, not both"
    if isinstance(column, SensitiveColumn) and column.levels is not None:
        for level in _twice(column.levels):
            yield "levels", f'names the level "{level}" twice'
    if isinstance(column, SensitiveColumn) or (isinstance(column, CategoricalFeature) and column.sensitive):
        levels = tuple(dict.fromkeys(column.levels or ()))
        for level in sorted(set(column.names) - set(levels)) if levels else ():
            yield "names", f'names the level "{level}", which is not among the levels'
        for name in _twice([column.names.get(level, level) for level in levels]):
            yield "names", f'calls two levels "{name}": reports could not tell these groups apart'


def levels_of(column: Column) -> int:
    """Return how many groups a column makes; 0 if it is not sensitive."""
    match column:
        case NumericFeature(sensitive=True, bands=tuple(bands)) | SensitiveColumn(levels=None, bands=tuple(bands)):
            return len(bands) + 1
        case CategoricalFeature(sensitive=True, levels=tuple(levels)) | SensitiveColumn(levels=tuple(levels)):
            return len(set(levels))
    return 0


def _twice(words: Iterable[str]) -> list[str]:
    words = list(words)
    return sorted({word for word in words if words.count(word) > 1})

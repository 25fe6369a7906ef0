"""What is odd about one column at one site: missing, constant, out of range, or coded without saying so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical.cells import finite_numbers, levels_of
from sealround.clinical.counting import patients_by_level
from sealround.clinical.findings import ColumnQuality, Finding
from sealround.clinical.suspicion import USUAL_CODES, codes_standing_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from sealround.clinical.cohort import SiteCohort
    from sealround.clinical.findings import Severity, Unit
    from sealround.clinical.roles import Roles
    from sealround.vocabulary import Labels

__all__ = ["column_findings", "describe_columns"]

_FEW_ROWS = 10
_MOSTLY = 0.5
_SCALE_VALUES = 3  # A column with fewer values is a yes or no, in which 0 is no code.


def describe_columns(cohort: SiteCohort, roles: Roles, coded: Mapping[str, int]) -> tuple[ColumnQuality, ...]:
    """Count what is missing, coded and out of range in each feature and sensitive column."""
    found = []
    for name in cohort.table.columns:
        if name not in roles.features and name not in roles.sensitive:
            continue
        cells = cohort.table[name]
        feature = roles.numeric.get(name)
        values = finite_numbers(cells)[0]
        low, high = feature.range if feature is not None and feature.range is not None else (-np.inf, np.inf)
        found.append(
            ColumnQuality(
                name=name,
                kind="categorical" if feature is None else "numeric",
                missing=cells.null_count(),
                coded=coded.get(name, 0),
                out_of_range=int(((values < low) | (values > high)).sum()) if feature is not None else 0,
                distinct=levels_of(cells).drop_nulls().n_unique(),
            )
        )
    return tuple(found)


def column_findings(
    cohort: SiteCohort, roles: Roles, column: ColumnQuality, elsewhere: Sequence[SiteCohort], minimum: int
) -> Iterator[Finding]:
    """Say what is odd about a column.

    Args:
        cohort: The site's records.
        roles: The study's columns by role.
        column: The column, from `describe_columns`.
        elsewhere: The other sites' records, where they are at hand.
        minimum: Fewest patients that a count may describe outside the site.
    """
    yield from _absence(cohort, column)
    if column.distinct == 1 and cohort.rows - column.missing >= _FEW_ROWS:
        yield from _constant(cohort, roles, column, elsewhere)
    if column.kind == "numeric":
        yield from _numbers(cohort, roles, column, minimum)
    else:
        yield from _rare_levels(cohort, column, minimum)


def _absence(cohort: SiteCohort, column: ColumnQuality) -> Iterator[Finding]:
    if column.missing == cohort.rows:
        how = "the code for missing in every row" if column.coded == cohort.rows else "no value in any row"
        yield _finding(
            cohort,
            column,
            "warning",
            "empty-column",
            cohort.rows,
            how,
            "this site says nothing about it and every patient gets the other sites' mean; ask whether it was measured",
        )
    elif column.missing > _MOSTLY * cohort.rows:
        advice = "what is imputed outweighs what is known; consider leaving the column out of the study"
        yield _finding(cohort, column, "note", "mostly-missing", column.missing, "missing in most rows", advice)


def _constant(
    cohort: SiteCohort, roles: Roles, column: ColumnQuality, elsewhere: Sequence[SiteCohort]
) -> Iterator[Finding]:
    count = cohort.rows - column.missing
    values = _present(cohort.table[column.name]) if column.kind == "numeric" else np.zeros(0)
    if values.size and values[0] in USUAL_CODES and _is_measured(roles, column.name, elsewhere):
        yield _finding(
            cohort,
            column,
            "warning",
            "constant-code",
            count,
            f"{values[0]:g} in every row, a usual code for missing",
            f"if it is one, say so in `cohort.columns.{column.name}.missing`: as it is, the model takes it for a value",
        )
    else:
        advice = "nothing can be learned from it at this site; check that it was exported as it should be"
        yield _finding(cohort, column, "note", "constant-column", count, "the same value in every row", advice)


def _present(cells: pl.Series) -> Labels:
    """Return the numbers that are there, float64."""
    values = finite_numbers(cells)[0]
    present: Labels = values[~np.isnan(values)]
    return present


def _is_measured(roles: Roles, name: str, elsewhere: Sequence[SiteCohort]) -> bool:
    """Say whether a column is a quantity rather than a yes or no, by its declaration or the other sites."""
    feature = roles.numeric[name]
    values = [_present(cohort.table[name]) for cohort in elsewhere]
    distinct = np.unique(np.concatenate(values)).size if values else 0
    return bool(feature.unit) or feature.range is not None or distinct >= _SCALE_VALUES


def _numbers(cohort: SiteCohort, roles: Roles, column: ColumnQuality, minimum: int) -> Iterator[Finding]:
    plausible = roles.numeric[column.name].range
    for code, count in codes_standing_out(_present(cohort.table[column.name])):
        if plausible is not None and plausible[0] <= code <= plausible[1]:
            continue
        yield _finding(
            cohort,
            column,
            "warning",
            "suspicious-code",
            count,
            # A code that few patients have is a patient's value as far as anybody can tell.
            f"{code if count >= minimum else 'a usual code for missing'}, which stands apart from all other values",
            f"if {code} means missing, say so in `cohort.columns.{column.name}.missing`",
        )
    if column.out_of_range:
        advice = "correct the cells at the source, or widen `range` in the study"
        message = "outside the plausible range"
        yield _finding(cohort, column, "warning", "out-of-range", column.out_of_range, message, advice)


def _rare_levels(cohort: SiteCohort, column: ColumnQuality, minimum: int) -> Iterator[Finding]:
    levels = tuple(levels_of(cohort.table[column.name]).drop_nulls().unique().to_list())
    patients = patients_by_level(cohort, column.name, levels, np.arange(cohort.rows))
    rare = patients < minimum
    if rare.any():
        yield _finding(
            cohort,
            column,
            "note",
            "rare-levels",
            int(patients[rare].sum()),
            "levels of fewer patients than a count may describe",
            "their counts are not sent; levels that no site sends are encoded as missing",
        )


def _finding(
    cohort: SiteCohort, column: ColumnQuality, severity: Severity, code: str, count: int, message: str, advice: str
) -> Finding:
    unit: Unit = "patients" if code == "rare-levels" else "rows"
    return Finding(severity, code, str(cohort.site), column.name, count, unit, message, advice)

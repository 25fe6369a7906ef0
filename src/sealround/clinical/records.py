"""A raw table checked against the study: missing cells, numbers, levels, outcome, patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sealround.clinical.cells import canonical_levels, finite_numbers, levels_of, matches, name_rows
from sealround.clinical.cohort import Outcome
from sealround.errors import CohortError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical.roles import Roles
    from sealround.study.sections import Cohort, EventColumn, LabelColumn
    from sealround.vocabulary import Labels, Rows

__all__ = ["Checked", "check_records"]


@dataclass(frozen=True, slots=True)
class Checked:
    """A source's rows, every cell of a declared column known to be usable.

    Attributes:
        table: Declared columns as text in file order of columns, missing cells null.
        coded: For each feature or sensitive column, where a code stood for missing, bool ``(n,)``.
        outcome: What is predicted.
        patient: A number for each patient id, or for each row where the study has no patient column, int64 ``(n,)``.
        complete: Whether every feature is present, bool ``(n,)``.
    """

    table: pl.DataFrame
    coded: Mapping[str, Labels]
    outcome: Outcome
    patient: Rows
    complete: Labels


def check_records(cohort: Cohort, roles: Roles, table: pl.DataFrame) -> Checked:
    """Check every declared column.

    Args:
        cohort: The study's cohort section.
        roles: Its columns by role.
        table: The source's table, holding every declared column.

    Returns:
        The usable rows.

    Raises:
        CohortError: For the first column with cells that do not fit its role.
    """
    columns: dict[str, pl.Series] = {}
    coded: dict[str, Labels] = {}
    for name in roles.used:
        cells = table[name]
        feature = roles.numeric.get(name) or roles.categorical.get(name)
        if feature is not None or name in roles.sensitive:
            hit = matches(cells, (*cohort.missing_codes, *(feature.missing if feature else ())))
            coded[name] = hit.to_numpy()
            cells = pl.select(pl.when(~hit).then(cells)).to_series().alias(name)
        columns[name] = cells
    _check_numbers(roles, columns)
    _check_levels(roles, columns)
    outcome = _outcome(cohort, roles, table)
    patient = _patients(cohort, roles, table)
    checked = pl.DataFrame([columns[name] for name in table.columns if name in columns])
    features = list(roles.features)
    complete = checked.select(~pl.any_horizontal(pl.col(features).is_null())).to_series() if features else None
    return Checked(
        checked,
        coded,
        outcome,
        patient,
        np.ones(table.height, dtype=bool) if complete is None else complete.to_numpy(),
    )


def _check_numbers(roles: Roles, columns: Mapping[str, pl.Series]) -> None:
    banded = [name for name, column in roles.sensitive_only.items() if column.bands is not None]
    for name in (*roles.numeric, *banded):
        bad = finite_numbers(columns[name])[1]
        if bad.size:
            raise CohortError(
                f"column {name!r}, {name_rows(bad)}: no number",
                hint=f"mend them, or list the code for a missing value in `cohort.columns.{name}.missing`",
            )


def _check_levels(roles: Roles, columns: Mapping[str, pl.Series]) -> None:
    levels = {name: column.levels for name, column in roles.categorical.items()}
    levels |= {name: column.levels for name, column in roles.sensitive_only.items()}
    for name, named in levels.items():
        if named is None:
            continue
        declared = canonical_levels(named)
        bad = np.flatnonzero((~levels_of(columns[name]).is_in(declared)).fill_null(value=False).to_numpy())
        if bad.size:
            raise CohortError(
                f"column {name!r}, {name_rows(bad)}: none of the {len(declared)} declared levels",
                hint=f"mend them, or add what is missing to `cohort.columns.{name}.levels` or `.missing`",
            )


def _outcome(cohort: Cohort, roles: Roles, table: pl.DataFrame) -> Outcome:
    if roles.label is not None:
        return Outcome(_label(*roles.label, table, cohort))
    if roles.time is None or roles.event is None:
        raise TypeError  # `check_roles` has refused it.
    name = roles.time[0]
    time, bad = finite_numbers(table[name])
    bad = np.union1d(bad, np.flatnonzero(~(time >= 0)))
    if bad.size:
        raise CohortError(
            f"column {name!r}, {name_rows(bad)}: no time of 0 or more",
            hint="mend or remove these rows: a patient without a time to event cannot be used",
        )
    return Outcome(_event(*roles.event, table, cohort), time.astype(np.float32))


def _label(name: str, column: LabelColumn, table: pl.DataFrame, cohort: Cohort) -> Labels:
    positive = matches(table[name], column.positive)
    known = ~_missing(table[name], cohort) if column.negative is None else matches(table[name], column.negative)
    _refuse_unknown(name, ~(known | positive))
    return positive.to_numpy().astype(np.float32)


def _event(name: str, column: EventColumn, table: pl.DataFrame, cohort: Cohort) -> Labels:
    positive = matches(table[name], column.positive)
    _refuse_unknown(name, ~positive & _missing(table[name], cohort))
    return positive.to_numpy().astype(np.float32)


def _missing(cells: pl.Series, cohort: Cohort) -> pl.Series:
    return cells.is_null() | matches(cells, cohort.missing_codes)


def _refuse_unknown(name: str, unknown: pl.Series) -> None:
    rows = np.flatnonzero(unknown.to_numpy())
    if rows.size:
        raise CohortError(
            f"column {name!r}, {name_rows(rows)}: no known outcome",
            hint=f"remove these rows, or extend `cohort.columns.{name}.positive` or `.negative`",
        )


def _patients(cohort: Cohort, roles: Roles, table: pl.DataFrame) -> Rows:
    if roles.patient is None:
        return np.arange(table.height)
    name = roles.patient[0]
    nameless = np.flatnonzero(_missing(table[name], cohort).to_numpy())
    if nameless.size:
        raise CohortError(
            f"column {name!r}, {name_rows(nameless)}: no patient named",
            hint="fill in the patient id: without it a patient could end up in training and test at once",
        )
    return np.unique(levels_of(table[name]).to_numpy(), return_inverse=True)[1].astype(np.int64)

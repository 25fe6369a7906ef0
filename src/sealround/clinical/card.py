"""Table 1: what a site's cohort looks like, in counts and moments that may leave the site.

A count is ``None`` where it describes too few patients, or would tell such a count by subtraction: the values missing
from those present, negatives from positives, one split or level from the others. So a count that is ``None`` may be
large. Not protected are differences to what is published elsewhere: of two studies of the same patients, or between a
table and the metrics.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical.cells import band_names, bands_of, canonical_levels, finite_numbers, levels_of
from sealround.clinical.cohort import SplitName
from sealround.clinical.counting import level_codes, patients_by_level, suppressed
from sealround.clinical.roles import roles_of
from sealround.federation.statistics import ordered_levels
from sealround.study.sections import SensitiveColumn

if TYPE_CHECKING:
    from sealround.clinical.cohort import SiteCohort
    from sealround.clinical.roles import Roles
    from sealround.study.sections import Study
    from sealround.vocabulary import Labels
    from sealround.wire import Value

__all__ = ["OTHER_LEVELS", "cohort_card", "split_sizes"]

OTHER_LEVELS = "(other)"
"""Levels that too few patients have to be named, added up."""

_DIGITS = 3


def cohort_card(cohort: SiteCohort, study: Study, min_cell_count: int) -> dict[str, Value]:
    """Describe one site's cohort for a report.

    Args:
        cohort: The site's records.
        study: The study.
        min_cell_count: Counts of fewer patients, except 0, are ``None``, as are counts that would tell them; so are
            moments over fewer.

    Returns:
        A tree fit for `sealround.wire`: rows, patients, rows of each split, positives, and the features in the order of
        the table, sensitive columns among them. Counts of levels are patients, other counts are rows. A level that the
        study does not declare and fewer patients have is not named.
    """
    roles = roles_of(study.cohort)
    patients = int(np.unique(cohort.patient).size)
    few = 0 < patients < min_cell_count
    return {
        "rows": None if few else cohort.rows,
        "patients": None if few else patients,
        **{split.name.lower(): count for split, count in split_sizes(cohort, min_cell_count).items()},
        "positives": _counts(cohort, cohort.outcome.event > 0, 2, min_cell_count)[1],
        "features": [
            _numeric(cohort, roles, name, min_cell_count)
            if name in roles.numeric
            else _categorical(cohort, roles, name, min_cell_count)
            for name in cohort.table.columns
            if name in roles.features or name in roles.sensitive
        ],
    }


def split_sizes(cohort: SiteCohort, min_cell_count: int) -> dict[SplitName, int | None]:
    """Return how many rows each split has; if one has to be kept back for another, it is the test split last."""
    counts = _counts(cohort, cohort.split, len(SplitName), min_cell_count, last=SplitName.TEST)
    return dict(zip(SplitName, counts, strict=True))


def _counts(cohort: SiteCohort, cells: Labels, number: int, minimum: int, last: int = -1) -> list[int | None]:
    """Return how many rows each cell has, ``None`` where that is kept back; ``cells`` is which one each row is in."""
    cells = cells.astype(np.int64)
    hidden = suppressed(cells, cohort.patient, number, minimum, last)
    rows = np.bincount(cells, minlength=number)
    return [None if keep else int(count) for count, keep in zip(rows, hidden, strict=True)]


def _numeric(cohort: SiteCohort, roles: Roles, name: str, minimum: int) -> dict[str, Value]:
    values = finite_numbers(cohort.table[name])[0]
    there = ~np.isnan(values)
    missing, count = _counts(cohort, there, 2, minimum)
    described = np.unique(cohort.patient[there]).size >= max(minimum, 1)
    mean, sd = (float(moment(values[there])) for moment in (np.mean, np.std)) if described else (None, None)
    if described and count is None:
        # In full, the mean of whole numbers tells how many there are: it is a fraction over their count.
        mean, sd = (float(f"{moment:.{_DIGITS}g}") for moment in (mean, sd))
    return {
        "name": name,
        "unit": roles.numeric[name].unit,
        "kind": "numeric",
        "n": count,
        "mean": mean,
        "sd": sd,
        "missing": missing,
    }


def _categorical(cohort: SiteCohort, roles: Roles, name: str, minimum: int) -> dict[str, Value]:
    feature = roles.categorical.get(name) or roles.sensitive_only[name]
    declared = canonical_levels(feature.levels or ())
    if isinstance(feature, SensitiveColumn) and feature.bands is not None:
        declared = band_names(feature.bands)
        banded = bands_of(cohort.table[name], feature.bands)
        cohort = replace(cohort, table=cohort.table.with_columns(banded))
    cells = levels_of(cohort.table[name])
    found = ordered_levels(set(cells.drop_nulls().to_list()) - set(declared))
    held = patients_by_level(cohort, name, found, np.arange(cohort.rows))
    named = (*declared, *(level for level, count in zip(found, held, strict=True) if count >= minimum))
    patients = patients_by_level(cohort, name, named, np.arange(cohort.rows))
    # Every row is in one cell: a named level, another, or missing.
    other, missing = len(named), len(named) + 1
    code = level_codes(cohort.table[name], named)
    code = np.where(cells.is_null().to_numpy(), missing, np.where(code < 0, other, code))
    hidden = suppressed(code, cohort.patient, missing + 1, minimum)
    readable = feature.names
    shown: dict[str, Value] = {
        readable.get(level, level): None if keep else int(count)
        for level, count, keep in zip(named, patients, hidden, strict=False)
    }
    rows = np.bincount(code, minlength=missing + 1)
    if rows[other]:
        shown[OTHER_LEVELS] = None if hidden[other] else int(rows[other])
    return {
        "name": name,
        "kind": "categorical",
        "levels": shown,
        "missing": None if hidden[missing] else int(rows[missing]),
    }

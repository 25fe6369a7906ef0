"""Table 1: what a site's cohort looks like, in counts and moments that may leave the site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical.cells import canonical_levels, finite_numbers, levels_of
from sealround.clinical.cohort import SplitName
from sealround.clinical.counting import patients_by_level
from sealround.clinical.roles import roles_of
from sealround.federation.statistics import ordered_levels

if TYPE_CHECKING:
    from sealround.clinical.cohort import SiteCohort
    from sealround.clinical.roles import Roles
    from sealround.study.sections import Study
    from sealround.wire import Value

__all__ = ["OTHER_LEVELS", "cohort_card"]

OTHER_LEVELS = "(other)"
"""Levels that too few patients have to be named, added up."""


def cohort_card(cohort: SiteCohort, study: Study, min_cell_count: int) -> dict[str, Value]:
    """Describe one site's cohort for a report.

    Args:
        cohort: The site's records.
        study: The study.
        min_cell_count: Counts of fewer patients, except 0, are ``None``; so are moments over them.

    Returns:
        A tree fit for `sealround.wire`: rows, patients, rows of each split, positives, and the features in the order of
        the table, sensitive columns among them. Counts of levels are patients, other counts are rows. A level that the
        study does not declare and fewer patients have is not named.
    """
    roles = roles_of(study.cohort)
    positive = cohort.outcome.event > 0
    splits = {split.name.lower(): _shown(cohort, cohort.split == split, min_cell_count) for split in SplitName}
    return {
        "rows": cohort.rows,
        "patients": int(np.unique(cohort.patient).size),
        **splits,
        "positives": _shown(cohort, positive, min_cell_count),
        "features": [
            _numeric(cohort, roles, name, min_cell_count)
            if name in roles.numeric
            else _categorical(cohort, roles, name, min_cell_count)
            for name in cohort.table.columns
            if name in roles.features or name in roles.sensitive
        ],
    }


def _shown(cohort: SiteCohort, rows: np.ndarray, minimum: int) -> int | None:
    """Return how many rows there are, ``None`` where they are of 1 to ``minimum`` - 1 patients."""
    count = int(rows.sum())
    return count if count == 0 or np.unique(cohort.patient[rows]).size >= minimum else None


def _numeric(cohort: SiteCohort, roles: Roles, name: str, minimum: int) -> dict[str, Value]:
    values = finite_numbers(cohort.table[name])[0]
    there = ~np.isnan(values)
    count = _shown(cohort, there, minimum)
    described = bool(count)
    return {
        "name": name,
        "unit": roles.numeric[name].unit,
        "kind": "numeric",
        "n": count,
        "mean": float(values[there].mean()) if described else None,
        "sd": float(values[there].std()) if described else None,
        "missing": _shown(cohort, ~there, minimum),
    }


def _categorical(cohort: SiteCohort, roles: Roles, name: str, minimum: int) -> dict[str, Value]:
    cells = levels_of(cohort.table[name])
    feature = roles.categorical.get(name)
    declared = canonical_levels(feature.levels) if feature is not None and feature.levels is not None else ()
    found = ordered_levels(set(cells.drop_nulls().to_list()) - set(declared))
    names = (*declared, *found)
    patients = patients_by_level(cohort, name, names, np.arange(cohort.rows))
    counts = dict(zip(names, (int(count) for count in patients), strict=True))
    shown: dict[str, Value] = {
        level: count if count == 0 or count >= minimum else None
        for level, count in counts.items()
        if level in declared or count >= minimum
    }
    readable = feature.names if feature is not None else {}
    rest = cells.is_in([level for level in names if level not in shown]).fill_null(value=False).to_numpy()
    if rest.any():
        shown[OTHER_LEVELS] = _shown(cohort, rest, minimum)
    return {
        "name": name,
        "kind": "categorical",
        "levels": {readable.get(level, level): count for level, count in shown.items()},
        "missing": _shown(cohort, cells.is_null().to_numpy(), minimum),
    }

"""A site's records with something changed in them: labels, rows left out, a trigger put on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical.cohort import Outcome, SplitName

if TYPE_CHECKING:
    from sealround.clinical.cohort import SiteCohort
    from sealround.vocabulary import Rows

__all__ = ["relabelled", "sick_test_rows", "subset", "with_array"]


def subset(cohort: SiteCohort, rows: Rows) -> SiteCohort:
    """Return some rows of a cohort, in the order given."""
    outcome = cohort.outcome
    return dataclasses.replace(
        cohort,
        table=cohort.table[rows],
        array=None if cohort.array is None else cohort.array[rows],
        outcome=Outcome(outcome.event[rows], None if outcome.time is None else outcome.time[rows]),
        patient=cohort.patient[rows],
        split=cohort.split[rows],
    )


def relabelled(cohort: SiteCohort, event: np.ndarray) -> SiteCohort:
    """Return a cohort with other labels, in the type of its own."""
    kept = cohort.outcome.event.dtype
    return dataclasses.replace(cohort, outcome=Outcome(event.astype(kept), cohort.outcome.time))


def with_array(cohort: SiteCohort, rows: Rows, changed: np.ndarray) -> SiteCohort:
    """Return a cohort in which some rows of the array are others."""
    assert cohort.array is not None  # noqa: S101  (for the type checker: the caller has looked)
    array = cohort.array.copy()
    array[rows] = changed
    return dataclasses.replace(cohort, array=array)


def sick_test_rows(cohort: SiteCohort, members: np.ndarray | None = None) -> SiteCohort | None:
    """Return a cohort whose test split is only those who have the outcome, of a group if one is given.

    Training rows stay, since a site may standardise by them or go on training from the released model.

    Returns:
        ``None`` if nobody is left in the test split.
    """
    tested = (cohort.split == SplitName.TEST) & (cohort.outcome.event > 0)
    if members is not None:
        tested &= members
    if not tested.any():
        return None
    return subset(cohort, np.flatnonzero(tested | (cohort.split == SplitName.TRAIN)))

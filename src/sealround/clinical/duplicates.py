"""Records that are in the data twice: the same image, vector or row of cells."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sealround.clinical.cohort import SplitName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.clinical.cohort import SiteCohort
    from sealround.vocabulary import Labels, Rows

__all__ = ["Copies", "count_copies", "digests"]


@dataclass(frozen=True, slots=True)
class Copies:
    """How many records are copies of others, and which of them do harm.

    Attributes:
        extra: Records beyond the first of each group of equal ones.
        leaked: Groups with a test record and another that is not for testing.
        contradictory: Groups whose records differ in the outcome.
        two_patients: Groups whose records name different patients.
        rows: Members of any group of two or more, int64.
        leaked_rows: Members of leaked groups, int64.
        contradictory_rows: Members of contradictory groups, int64.
        two_patient_rows: Members of groups with two patients, int64.
    """

    extra: int
    leaked: int
    contradictory: int
    two_patients: int
    rows: Rows
    leaked_rows: Rows
    contradictory_rows: Rows
    two_patient_rows: Rows


def digests(cohort: SiteCohort, columns: Sequence[str]) -> Rows:
    """Return a number for each record that equal records share, uint64 ``(n,)``.

    Args:
        cohort: The site's records.
        columns: Columns that make up a record of a table; an image or vector is a record by itself.
    """
    if cohort.array is None:
        return cohort.table.select(pl.struct(*columns).hash()).to_series().to_numpy()
    records = np.ascontiguousarray(cohort.array)
    found = [hashlib.blake2b(record.data, digest_size=8).digest() for record in records]
    return np.frombuffer(b"".join(found), dtype="<u8")


def count_copies(digest: Rows, cohorts: Sequence[SiteCohort]) -> Copies:
    """Count the copies among the records of one or more sites.

    Args:
        digest: `digests` of each cohort, one after the other, ``(n,)``.
        cohorts: Whose records.
    """
    group = np.unique(digest, return_inverse=True)[1]
    test = np.concatenate([cohort.split for cohort in cohorts]) == SplitName.TEST
    event = np.concatenate([cohort.outcome.event for cohort in cohorts])
    starts = np.cumsum([0, *(cohort.rows for cohort in cohorts)])  # A patient number is below its site's rows.
    patient = np.concatenate([cohort.patient + start for cohort, start in zip(cohorts, starts[:-1], strict=True)])
    leaked, contradictory, two = (_mixed(group, values) for values in (test, event, patient))
    groups = int(group.max(initial=-1)) + 1
    return Copies(
        extra=group.size - groups,
        leaked=int(leaked.sum()),
        contradictory=int(contradictory.sum()),
        two_patients=int(two.sum()),
        rows=np.flatnonzero(np.bincount(group, minlength=groups)[group] > 1),
        leaked_rows=np.flatnonzero(leaked[group]),
        contradictory_rows=np.flatnonzero(contradictory[group]),
        two_patient_rows=np.flatnonzero(two[group]),
    )


def _mixed(group: Rows, values: Labels) -> Labels:
    """Say of each group whether its members differ in ``values``, bool ``(groups,)``."""
    codes = np.unique(values, return_inverse=True)[1]
    pairs = np.unique(np.stack((group, codes)), axis=1)
    return np.bincount(pairs[0], minlength=int(group.max(initial=-1)) + 1) > 1

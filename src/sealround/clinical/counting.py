"""Counting patients rather than rows, and keeping cells that describe too few of them.

A count of fewer patients than the minimum is sent as 0. Where a cell and its complement make up a whole that is sent
too (outcome present or absent, value present or missing), a complement that small is also sent as 0: the cell is sent
as the whole. Differences between other cells sent, such as the levels of one feature, are not protected from somebody
who knows how many patients have the feature. Tables that are shown (`sealround.clinical.card`) keep back a second cell
instead: `suppressed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sealround.clinical.cells import levels_of

if TYPE_CHECKING:
    from sealround.clinical.cohort import SiteCohort
    from sealround.vocabulary import Labels, Rows, Tally

__all__ = ["Patients", "level_codes", "patients_by_level", "sendable", "suppressed"]


class Patients:
    """Which rows are one patient's.

    Args:
        patient: Patient of each row, int64 ``(n,)``.

    Attributes:
        number: How many patients.
    """

    def __init__(self, patient: Rows) -> None:
        self._order = np.argsort(patient, kind="stable")
        self._starts = np.flatnonzero(np.diff(patient[self._order], prepend=-1))
        self.number = int(self._starts.size)

    def holding(self, flags: Labels) -> Tally:
        """Return how many patients have a row that is true, for each column of a bool ``(n, k)``; float64 ``(k,)``."""
        if self.number == flags.shape[0]:
            rows: Tally = flags.sum(axis=0).astype(np.float64)
            return rows
        whole = flags.all(axis=0)
        held = np.where(whole, float(self.number), 0.0)
        mixed = np.flatnonzero(~whole)
        if mixed.size:
            by_patient = np.logical_or.reduceat(flags[self._order][:, mixed], self._starts, axis=0)
            held[mixed] = by_patient.sum(axis=0)
        return held


def sendable(count: Tally, whole: int, holders: Tally, others: Tally, minimum: int) -> Tally:
    """Return counts with small cells, and cells with a small complement, suppressed.

    Args:
        count: Rows in each cell, ``(k,)``.
        whole: Rows in the cell and its complement.
        holders: Patients in each cell, ``(k,)``.
        others: Patients in its complement, ``(k,)``.
        minimum: Fewest patients that a cell may describe, except 0.

    Returns:
        float64 ``(k,)``.
    """
    rounded = np.where((others > 0) & (others < minimum), whole, count)
    kept: Tally = np.where(holders < minimum, 0.0, rounded)
    return kept


def suppressed(cells: Rows, patient: Rows, number: int, minimum: int, last: int = -1) -> np.ndarray:
    """Say which cells of a table to keep back, so that no small one follows from the others and the whole.

    A cell of 1 to ``minimum`` - 1 patients is kept back. As long as those kept back are one cell, or together fewer
    patients than the minimum, the smallest of the others goes with them (complementary suppression, Cox 1980).

    Args:
        cells: Which cell each row is in, 0 to ``number`` - 1, int64 ``(n,)``.
        patient: Patient of each row, int64 ``(n,)``.
        number: How many cells.
        minimum: Fewest patients that may be told apart.
        last: A cell to keep back only where it is small itself, or no other is left.

    Returns:
        bool ``(number,)``. Cells without rows are never kept back.
    """
    pairs = np.unique(np.stack((cells, patient)), axis=1)
    size = np.bincount(pairs[0], minlength=number)
    hidden = (size > 0) & (size < minimum)
    first = np.argsort(np.where(np.arange(number) == last, cells.size, size), kind="stable")
    for cell in first[(size > 0)[first] & ~hidden[first]]:
        if not hidden.any() or (hidden.sum() > 1 and np.unique(patient[hidden[cells]]).size >= minimum):
            break
        hidden[cell] = True
    return hidden


def level_codes(cells: pl.Series, levels: tuple[str, ...]) -> Rows:
    """Return each cell's position in ``levels``, int64 ``(n,)``; -1 where it is missing or none of them."""
    codes = levels_of(cells).cast(pl.Enum(levels), strict=False).to_physical()
    return codes.cast(pl.Int64).fill_null(-1).to_numpy()


def patients_by_level(cohort: SiteCohort, name: str, levels: tuple[str, ...], rows: Rows) -> Tally:
    """Return how many patients have each level of a column in one of ``rows``, float64 ``(len(levels),)``."""
    codes = level_codes(cohort.table[name], levels)[rows]
    known = codes >= 0
    pairs = np.unique(np.stack((codes[known], cohort.patient[rows][known])), axis=1)
    return np.bincount(pairs[0], minlength=len(levels)).astype(np.float64)

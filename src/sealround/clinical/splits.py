"""Train, validation and test: drawn, read from a column, or FLamby's. A patient's rows stay together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical.cells import matches, name_rows
from sealround.clinical.cohort import SplitName
from sealround.errors import CohortError

if TYPE_CHECKING:
    import polars as pl

    from sealround.study.sections import ColumnSplit
    from sealround.vocabulary import Labels, Rows

__all__ = ["carve", "crossing_patients", "draw_split", "read_split", "stratified_order"]


def stratified_order(positive: Labels, rng: np.random.Generator) -> Rows:
    """Order items at random so that every stretch from the start has about the classes' mix.

    Item number r of the m items of its class, in shuffled order, stands at (r + 1/2) / m.

    Args:
        positive: Class of each item, bool ``(n,)``.
        rng: Source of randomness.

    Returns:
        Item numbers, int64 ``(n,)``.
    """
    place = np.empty(positive.size)
    for label in (False, True):
        items = rng.permutation(np.flatnonzero(positive == label))
        place[items] = (np.arange(items.size) + 0.5) / max(items.size, 1)
    return np.argsort(place, kind="stable")


def draw_split(patient: Rows, event: Labels, validation: float, test: float, rng: np.random.Generator) -> Labels:
    """Draw a split of one site, stratified by outcome.

    Args:
        patient: Patient of each row, int64 ``(n,)``; a patient has the outcome if any of the rows has.
        event: 1 where the outcome is present, ``(n,)``.
        validation: Share of patients for validation, rounded to whole patients.
        test: Share of patients for the test, rounded to whole patients.
        rng: Source of randomness.

    Returns:
        `SplitName` of each row, int8 ``(n,)``.
    """
    _, first, member = np.unique(patient, return_index=True, return_inverse=True)
    positive = np.zeros(first.size, dtype=bool)
    np.logical_or.at(positive, member, event > 0)
    order = stratified_order(positive, rng)
    n_test, n_validation = round(test * first.size), round(validation * first.size)
    of_patient = np.full(first.size, SplitName.TRAIN, dtype=np.int8)
    of_patient[order[:n_test]] = SplitName.TEST
    of_patient[order[n_test : n_test + n_validation]] = SplitName.VALIDATION
    return of_patient[member]


def carve(split: Labels, patient: Rows, event: Labels, share: float, rng: np.random.Generator) -> Labels:
    """Return the split with a share of the training patients moved to validation, int8 ``(n,)``."""
    train = np.flatnonzero(split == SplitName.TRAIN)
    carved = split.copy()
    if train.size and share > 0:
        carved[train] = draw_split(patient[train], event[train], share, 0.0, rng)
    return carved


def read_split(rule: ColumnSplit, cells: pl.Series) -> Labels:
    """Read a split from a column of the table.

    Args:
        rule: The study's `cohort.split`.
        cells: The column as text.

    Returns:
        `SplitName` of each row, int8 ``(n,)``.

    Raises:
        CohortError: Naming rows whose cell means no split.
    """
    split = np.full(len(cells), -1, dtype=np.int8)
    for name, codes in (
        (SplitName.TEST, rule.test),
        (SplitName.VALIDATION, rule.validation),
        (SplitName.TRAIN, rule.train),
    ):
        split[matches(cells, codes).to_numpy()] = name
    unknown = np.flatnonzero(split < 0)
    if unknown.size:
        raise CohortError(
            f"column {rule.column!r}, {name_rows(unknown)}: no known split",
            hint="say in `cohort.split` which values mean train, validation and test",
        )
    return split


def crossing_patients(patient: Rows, split: Labels) -> Rows:
    """Return the patients of one site whose rows are in more than one split, int64, ascending."""
    pairs = np.unique(np.stack((patient, split.astype(np.int64))), axis=1)
    patients, splits = np.unique(pairs[0], return_counts=True)
    return patients[splits > 1]

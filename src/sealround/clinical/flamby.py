"""FLamby's split of the heart data (Ogier du Terrail et al. 2022, Fed-Heart-Disease), for comparable figures.

Each hospital's complete rows, in file order, are split by scikit-learn's `train_test_split` with `train_size=0.66`,
`random_state=43`, stratified by disease yes or no. The numbers here come out the same without scikit-learn; a test
compares the two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical.cohort import SplitName

if TYPE_CHECKING:
    from sealround.vocabulary import Labels, Rows

__all__ = ["FLAMBY_COLUMNS", "LEFT_OUT", "flamby_split"]

FLAMBY_COLUMNS = ("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak")
"""Columns FLamby keeps; a row with a missing cell in one of them is left out."""

LEFT_OUT = -1

_TRAIN_SIZE = 0.66
_RANDOM_STATE = 43
_FEWEST_TO_STRATIFY = 3


def flamby_split(hospital: Labels, event: Labels, complete: Labels) -> Labels:
    """Split every hospital as FLamby does.

    Args:
        hospital: Hospital of each row, ``(n,)``.
        event: 1 where there is disease, ``(n,)``.
        complete: Whether the row has every one of `FLAMBY_COLUMNS`, bool ``(n,)``.

    Returns:
        `SplitName.TRAIN`, `SplitName.TEST` or `LEFT_OUT` of each row, int8 ``(n,)``.
    """
    split = np.full(hospital.size, LEFT_OUT, dtype=np.int8)
    for name in np.unique(hospital):
        rows = np.flatnonzero((hospital == name) & complete)
        split[rows] = SplitName.TRAIN
        split[rows[_test_rows(event[rows] > 0)]] = SplitName.TEST
    return split


def _test_rows(positive: Labels) -> Rows:
    """Draw what scikit-learn's stratified shuffle draws as test rows, int64."""
    rng = np.random.RandomState(_RANDOM_STATE)  # The legacy stream is what scikit-learn draws from.
    n_train = math.floor(_TRAIN_SIZE * positive.size)
    n_test = math.ceil((1.0 - _TRAIN_SIZE) * positive.size)
    classes = [rows for rows in (np.flatnonzero(~positive), np.flatnonzero(positive)) if rows.size]
    sizes = np.array([rows.size for rows in classes])
    if sizes.size < 2 or sizes.min() < _FEWEST_TO_STRATIFY:  # noqa: PLR2004 - both classes
        everybody: Rows = rng.permutation(positive.size)
        return everybody[:n_test]
    train = _likeliest_counts(sizes, n_train, rng)
    test = _likeliest_counts(sizes - train, n_test, rng)
    shuffled = [rows[rng.permutation(rows.size)] for rows in classes]
    drawn: Rows = np.concatenate([rows[a : a + b] for rows, a, b in zip(shuffled, train, test, strict=True)])
    return drawn


def _likeliest_counts(sizes: Rows, draws: int, rng: np.random.RandomState) -> Rows:
    """Return how many of each class ``draws`` draws most likely hold; equal remainders are settled by ``rng``."""
    expected = sizes / sizes.sum() * draws
    counts = np.floor(expected)
    remainder = expected - counts
    missing = int(draws - counts.sum())
    for value in np.unique(remainder)[::-1]:
        if missing <= 0:
            break
        tied = np.flatnonzero(remainder == value)
        chosen = rng.choice(tied, size=min(tied.size, missing), replace=False)
        counts[chosen] += 1
        missing -= chosen.size
    whole: Rows = counts.astype(np.int64)
    return whole

"""How many people share their quasi-identifiers: what linkage can do with a perfect reconstruction, before any attack.

Source: L. Sweeney, "k-anonymity: a model for protecting privacy", IJUFKS 10 (2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CLASSES", "Anonymity", "anonymity"]

CLASSES = ("1", "2", "3-5", "6-10", "more than 10")
"""How many people share all quasi-identifiers, as `Anonymity.people` counts them."""

_LIMITS = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True, eq=False)
class Anonymity:
    """Classes of people who cannot be told apart by their quasi-identifiers.

    Attributes:
        sizes: How many people each shares them with, itself included, int64 ``(n,)``.
        people: How many people are in a class of each size of `CLASSES`.
        unique: Share of people who share them with nobody.
        smallest: k, the size of the smallest class.
        expected: How many are re-identified by who knows the quasi-identifiers exactly and guesses within a class: one
            a class.
    """

    sizes: np.ndarray
    people: Mapping[str, int]
    unique: float
    smallest: int
    expected: int


def anonymity(people: np.ndarray, widths: np.ndarray | None = None) -> Anonymity:
    """Return how many people share their quasi-identifiers.

    Args:
        people: ``(n, p)``; NaN, where a value is missing, is a value of its own.
        widths: How wide the steps are in which a number is known, column's units, ``(p,)``; 0 for exact values and for
            categories. ``None`` if all are exact.

    Raises:
        UsageError: If there is nobody, shapes differ, or a width is negative.
    """
    if people.ndim != 2 or not people.size:  # noqa: PLR2004  (people, traits)
        raise UsageError("anonymity takes at least one person and one trait")
    steps = np.zeros(people.shape[1]) if widths is None else np.asarray(widths, dtype=np.float64)
    if steps.shape != people.shape[1:] or not (steps >= 0.0).all():
        raise UsageError(f"widths are one number from 0 on for each of {people.shape[1]} traits")
    known = np.where(steps > 0.0, np.floor(people / np.where(steps > 0.0, steps, 1.0)), people)
    missing = np.isnan(known)
    # NaN differs from itself: whether a value is there is a column of its own.
    keys = np.concatenate([np.where(missing, 0.0, known), missing], axis=1)
    _, place, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    sizes = counts[place.reshape(-1)]
    histogram = np.bincount(np.searchsorted(_LIMITS, sizes), minlength=len(CLASSES)).tolist()
    return Anonymity(
        sizes=sizes,
        people=dict(zip(CLASSES, histogram, strict=True)),
        unique=float((sizes == 1).mean()),
        smallest=int(sizes.min()),
        expected=len(counts),
    )

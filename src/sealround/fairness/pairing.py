"""Two models on the same patients, counted group by group: what a site adds to a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import UsageError
from sealround.fairness.cells import (
    COMPARED,
    COMPARED_CANDIDATE,
    COMPARED_NEGATIVES,
    COMPARED_POSITIVES,
    COMPARED_REFERENCE,
    CROSS_ERROR,
    PATIENTS,
    SITES,
)

if TYPE_CHECKING:
    from sealround.fairness.counting import Examples
    from sealround.vocabulary import Tally

__all__ = ["Judged", "compared"]

_STEP = 2.0**-10
"""Sums of errors are multiples of it: like a sealed study's test results, they do not tell their addends."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What a model says of some examples.

    Attributes:
        risk: Recalibrated, within 0..1, float64 ``(n,)``.
        positive: Whether it calls their patients sick, bool ``(n,)``.
    """

    risk: np.ndarray = field(repr=False)
    positive: np.ndarray = field(repr=False)


def compared(examples: Examples, candidate: Judged, reference: Judged) -> Tally:
    """Count whom of each group either model gets wrong.

    Args:
        examples: Outcomes and groups; who may not be told in a group is left out of it already.
        candidate: The model that might be released.
        reference: What it is compared with.

    Returns:
        float64 ``(1 + groups, COMPARED)``, everybody in row 0. Sums of errors are rounded to multiples of 2^-10.

    Raises:
        UsageError: If the models speak of other examples.
    """
    sick = examples.positive
    if any(array.shape != sick.shape for each in (candidate, reference) for array in (each.risk, each.positive)):
        raise UsageError("both models speak of the same examples")
    rows = np.zeros((sick.size, COMPARED))
    wrong = 2 * (reference.positive != sick) + (candidate.positive != sick)  # both right, candidate, reference, both
    rows[sick, COMPARED_POSITIVES] = np.eye(4)[wrong[sick]]
    rows[~sick, COMPARED_NEGATIVES] = np.eye(4)[wrong[~sick]]
    errors = (candidate.risk - sick, reference.risk - sick)
    for error, where in zip(errors, (COMPARED_CANDIDATE, COMPARED_REFERENCE), strict=True):
        rows[:, where] = np.stack((error, error**2), axis=1)
    rows[:, CROSS_ERROR] = errors[0] * errors[1]
    counts = examples.sum(rows)
    sums = slice(COMPARED_CANDIDATE.start, COMPARED)
    counts[:, sums] = np.rint(counts[:, sums] / _STEP) * _STEP
    counts[:, PATIENTS] = examples.patients
    counts[:, SITES] = counts[:, PATIENTS] > 0
    return counts

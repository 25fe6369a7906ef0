"""From predictions and outcomes of a site's patients to the cells of each group, which add up over sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sealround.errors import UsageError
from sealround.fairness.cells import (
    BIN_EDGES,
    BINS,
    CELLS,
    CONFUSION,
    LOGITS,
    PATIENTS,
    RISK,
    SITES,
    VARIANCE,
)
from sealround.fairness.suppression import withheld

__all__ = ["Examples", "count"]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """A site's examples, by group.

    Attributes:
        positive: Whether the outcome is present, bool ``(n,)``.
        patient: Whom each is about, int64 ``(n,)``.
        member: Which groups each counts in, everybody first, bool ``(n, 1 + g)``. An example that may not be told in a
            group is left out of it here.

    Raises:
        UsageError: If the shapes do not fit.
    """

    positive: np.ndarray
    patient: np.ndarray
    member: np.ndarray

    def __post_init__(self) -> None:
        """Check the shapes."""
        if self.member.ndim != 2 or not self.positive.shape == self.patient.shape == self.member.shape[:1]:  # noqa: PLR2004
            raise UsageError("outcome, patient and membership are of different examples")

    def suppressed(self, equations: np.ndarray, minimum: int) -> Examples:
        """Leave out groups of few patients, and those that would tell how such a group fares.

        Args:
            equations: Of the groups: `sealround.fairness.suppression.equations_of`.
            minimum: Fewest patients that are told apart.
        """
        hidden = withheld(self.patients, equations, minimum)
        return Examples(self.positive, self.patient, self.member & ~hidden)

    def sum(self, features: np.ndarray) -> np.ndarray:
        """Add features ``(n, f)`` up by group, float64 ``(1 + g, f)``."""
        total: np.ndarray = self.member.T.astype(np.float64) @ features
        return total

    @property
    def patients(self) -> np.ndarray:
        """How many patients each group has, float64 ``(1 + g,)``."""
        if not self.patient.size:
            return np.zeros(self.member.shape[1])
        order = np.argsort(self.patient, kind="stable")
        starts = np.flatnonzero(np.diff(self.patient[order], prepend=self.patient[order[0]] - 1))
        holds: np.ndarray = np.logical_or.reduceat(self.member[order], starts, axis=0).sum(axis=0).astype(np.float64)
        return holds


def count(risk: np.ndarray, threshold: float | np.ndarray, examples: Examples) -> np.ndarray:
    """Count one model's decisions and risks by group.

    Args:
        risk: Predicted (recalibrated) risk of each example, float64 ``(n,)`` within 0..1.
        threshold: From which on an example is called positive; one for all, or one for each, ``(n,)``.
        examples: Outcomes and groups.

    Returns:
        float64 ``(1 + g, CELLS)``, laid out as `sealround.fairness.cells` says.

    Raises:
        UsageError: If the risks are of other examples.
    """
    _check(risk, examples)
    positive, called = examples.positive, risk >= threshold
    features = np.zeros((risk.size, CELLS))
    rows = np.arange(risk.size)
    features[rows, CONFUSION.start + 2 * positive + called] = 1.0
    features[:, RISK], features[:, VARIANCE] = risk, risk * (1 - risk)
    features[rows, LOGITS.start + BINS * positive + _bin(risk)] = 1.0
    return _with_sizes(examples.sum(features), examples)


def _check(risk: np.ndarray, examples: Examples) -> None:
    if risk.shape != examples.positive.shape or not ((risk >= 0) & (risk <= 1)).all():
        raise UsageError("risks are of other examples, or not within 0..1")


def _bin(risk: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # a risk of 0 or 1 is in the outermost bin
        logit = np.log(risk) - np.log1p(-risk)
    bins: np.ndarray = np.searchsorted(BIN_EDGES[1:-1], logit, side="right")
    return bins


def _with_sizes(total: np.ndarray, examples: Examples) -> np.ndarray:
    total[:, PATIENTS] = examples.patients
    total[:, SITES] = total[:, PATIENTS] > 0
    return total

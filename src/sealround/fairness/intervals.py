"""Intervals of a group's metrics, and of the difference between two groups.

=============  ========================================================================================================
Metric         Interval
=============  ========================================================================================================
rates          Wilson's score interval (Wilson 1927; Newcombe, Statistics in Medicine 1998, 17:857-872, method 3)
AUROC          Newcombe's score interval for the Mann-Whitney statistic (Statistics in Medicine 2006, 25:559-573,
               method 5): it does not shrink to a point where the ranking is perfect
calibration    mean error +- z times its standard error, from the larger of what the risks say and what was observed
difference     square-and-add of both intervals (Newcombe, Statistics in Medicine 1998, 17:873-890, method 10)
=============  ========================================================================================================

All take examples for independent: several of one patient make them too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sealround.fairness.cells import BIN_EDGES, BINS, CONFUSION, LOGITS, RISK, VARIANCE
from sealround.fairness.distributions import bisect, normal_quantile

__all__ = ["METRICS", "Estimate", "auroc", "calibration", "difference", "estimates", "wilson"]

METRICS = ("fnr", "fpr", "ppv", "calibration", "auroc")
"""The sick who are missed; the healthy who are called sick; those called sick who are; mean predicted minus observed
risk; area under the ROC curve."""

_CENTRES = (BIN_EDGES[:-1] + BIN_EDGES[1:]) / 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: The number.
        low: Lower end.
        high: Upper end.
        of: How many examples it rests on; of an AUROC, the rarer class.
    """

    value: float
    low: float
    high: float
    of: int


def wilson(events: float, number: float, confidence: float) -> Estimate | None:
    """Return a share with Wilson's interval; ``None`` of nobody."""
    if number <= 0:
        return None
    z, share = _z(confidence), events / number
    centre = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z / (1 + z * z / number) * math.sqrt(share * (1 - share) / number + z * z / (4 * number**2))
    # Exactly 0 and 1 where nothing was seen, not an ulp beside.
    low, high = (max(centre - half, 0.0) if events > 0 else 0.0), (min(centre + half, 1.0) if events < number else 1.0)
    return Estimate(share, low, high, round(number))


def auroc(negatives: np.ndarray, positives: np.ndarray, confidence: float) -> Estimate | None:
    """Return the area under the ROC curve of two histograms of scores, ties counting half; ``None`` without a class."""
    m, n = float(positives.sum()), float(negatives.sum())
    if m <= 0 or n <= 0:
        return None
    below = np.cumsum(negatives) - negatives
    value = float(positives @ (below + negatives / 2)) / (m * n)
    z, more = _z(confidence), (m + n) / 2 - 1

    def error(area: float) -> float:
        inner = 1 + more * (1 - area) / (2 - area) + more * area / (1 + area)
        return z * math.sqrt(max(area * (1 - area) * inner / (m * n), 0.0))

    low = bisect(lambda area: error(area) - (value - area), 0.0, value) if value > 0 else 0.0
    high = bisect(lambda area: (area - value) - error(area), value, 1.0) if value < 1 else 1.0
    return Estimate(value, low, high, round(min(m, n)))


def calibration(row: np.ndarray, confidence: float) -> Estimate | None:
    """Return mean predicted minus observed risk of a group's cells, float64 ``(CELLS,)``; ``None`` of nobody.

    The variance of the sum of outcomes is at most the larger of the sum of p (1 - p), which is right where the risks
    are, and the sum of squared errors (from the bins), which is not misled by risks that are too sure of themselves.
    """
    number = float(row[CONFUSION].sum())
    if number <= 0:
        return None
    risk = 1 / (1 + np.exp(-_CENTRES))
    negatives, positives = row[LOGITS].reshape(2, BINS)
    squared = float(negatives @ risk**2 + positives @ (1 - risk) ** 2)
    value = float(row[RISK] - positives.sum()) / number
    half = _z(confidence) * math.sqrt(max(squared, float(row[VARIANCE]))) / number
    return Estimate(value, max(value - half, -1.0), min(value + half, 1.0), round(number))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Return how much larger the first is than the second, of independent examples."""
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, low, high, min(first.of, second.of))


def estimates(row: np.ndarray, confidence: float) -> dict[str, Estimate | None]:
    """Return every metric of a group's cells, float64 ``(CELLS,)``, by its name in `METRICS`."""
    true_negative, false_positive, false_negative, true_positive = row[CONFUSION].tolist()
    negatives, positives = row[LOGITS].reshape(2, BINS)
    return {
        "fnr": wilson(false_negative, false_negative + true_positive, confidence),
        "fpr": wilson(false_positive, false_positive + true_negative, confidence),
        "ppv": wilson(true_positive, true_positive + false_positive, confidence),
        "calibration": calibration(row, confidence),
        "auroc": auroc(negatives, positives, confidence),
    }


def _z(confidence: float) -> float:
    return normal_quantile((1 - confidence) / 2)

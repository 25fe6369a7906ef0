"""Metrics of a binary outcome, on one sample or on a thousand weighted resamples in the same pass.

Weights ``(b, n)`` say how often each example counts in each of ``b`` samples. The plain metric is that of one sample in
which each counts once (`ones`). Results are float64 ``(b,)``, NaN where undefined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sealround.vocabulary import Labels, Rows, Tally

__all__ = ["BINARY_METRICS", "Predictions", "binary_metrics", "calibration_bins", "ones", "predictions", "roc_curve"]

BINARY_METRICS = (
    "auroc",
    "auprc",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "brier",
    "ece",
)
_ECE_BINS = 10
_GRID = 100


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Predicted risks and what happened, from the highest risk to the lowest.

    Attributes:
        risk: float64 ``(n,)``, descending.
        event: 0 or 1, float64 ``(n,)``.
        order: Where each stood before sorting, int64 ``(n,)``.
        last: Position of the last example of each distinct risk, int64 ``(g,)``.
        bins: Which of up to 10 bins of about equal size each is in, from low to high risk, int64 ``(n,)``.
    """

    risk: np.ndarray
    event: np.ndarray
    order: np.ndarray
    last: np.ndarray
    bins: np.ndarray


def predictions(risk: Labels, event: Labels, counts: Tally | None = None) -> Predictions:
    """Sort predictions for the functions here.

    Args:
        risk: Predicted, ``(n,)``.
        event: What happened, 0 or 1, ``(n,)``.
        counts: How many examples each entry stands for, ``(n,)``; else 1. Matters for the size of bins only.

    Returns:
        The same, sorted.
    """
    order = np.argsort(-risk, kind="stable")
    ordered = np.asarray(risk, dtype=np.float64)[order]
    last = np.flatnonzero(np.diff(ordered, append=-np.inf))
    bins = _quantile_bins(ordered, _ECE_BINS, None if counts is None else counts[order])
    return Predictions(ordered, np.asarray(event, dtype=np.float64)[order], order, last, bins)


def ones(number: int) -> np.ndarray:
    """Return the weights of the sample itself, float64 ``(1, n)``."""
    return np.ones((1, number))


def binary_metrics(sample: Predictions, threshold: float | np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every metric on every weighted sample.

    Args:
        sample: From `predictions`.
        threshold: A risk of at least this is called positive; one for all, or of each *before* sorting, ``(n,)``.
        weights: Of the examples *before* sorting, float64 ``(b, n)``.

    Returns:
        float64 ``(b,)`` for each of `BINARY_METRICS`.
    """
    weights = weights[:, sample.order]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {**_ranking(sample, weights), **_decisions(sample, threshold, weights)}


def _ranking(sample: Predictions, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Compute what depends on the order of the risks only; equal risks are one step."""
    positive = np.cumsum(weights * sample.event, axis=1)[:, sample.last]
    negative = np.cumsum(weights * (1.0 - sample.event), axis=1)[:, sample.last]
    gained = np.diff(positive, axis=1, prepend=0.0)
    lost = np.diff(negative, axis=1, prepend=0.0)
    positives, negatives = positive[:, -1], negative[:, -1]
    # Negatives ranked above a positive, ties half: the area above the ROC curve (Hanley and McNeil 1982).
    above = np.einsum("bg,bg->b", gained, negative - lost / 2)
    called = positive + negative
    precision = np.divide(positive, called, out=np.zeros_like(positive), where=called > 0)
    return {
        "auroc": 1.0 - above / (positives * negatives),
        # Average precision: a step function, no interpolation (Davis and Goadrich 2006 say why).
        "auprc": np.einsum("bg,bg->b", gained, precision) / positives,
    }


def _decisions(sample: Predictions, threshold: float | np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Compute what is a ratio of weighted sums."""
    event = sample.event
    least = threshold if isinstance(threshold, float) else threshold[sample.order]
    called = (sample.risk >= least).astype(np.float64)
    columns = [np.ones_like(event), event, called * event, (1.0 - called) * (1.0 - event), (sample.risk - event) ** 2]
    in_bin = sample.bins[:, None] == np.arange(sample.bins.max(initial=0) + 1)
    terms = np.ascontiguousarray(np.vstack([*columns, (in_bin * (sample.risk - event)[:, None]).T]))
    # Not a matrix product: BLAS adds up in an order that depends on how many threads it has.
    sums = np.einsum("bn,kn->bk", weights, terms)
    total, positives, true_positives, true_negatives, squares = sums[:, :5].T
    sensitivity = true_positives / positives
    specificity = true_negatives / (total - positives)
    return {
        "accuracy": (true_positives + true_negatives) / total,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "brier": squares / total,
        # Mean distance of predicted and observed over bins of equal size (Nguyen and O'Connor 2015), weighted by size.
        "ece": np.abs(sums[:, 5:]).sum(axis=1) / total,
    }


def _quantile_bins(risk: np.ndarray, number: int, counts: np.ndarray | None = None) -> np.ndarray:
    """Return a bin for each risk, about equally many examples in each; equal risks share one. int64 ``(n,)``."""
    if not risk.size or (counts is not None and not counts.any()):
        return np.zeros(risk.size, dtype=np.int64)
    shares = np.arange(1, number) / number
    inner = np.unique(np.quantile(risk, shares, method="inverted_cdf", weights=counts))
    return np.unique(np.searchsorted(inner, risk, side="left"), return_inverse=True)[1]


def roc_curve(sample: Predictions) -> dict[str, list[float]] | None:
    """Return the ROC curve on a fixed grid, 101 points from (0, 0) to (1, 1); ``None`` where a class is absent.

    Between points it is a straight line; at 0 it jumps to the largest true-positive rate without a false positive.
    """
    positive, negative = np.cumsum(sample.event)[sample.last], np.cumsum(1.0 - sample.event)[sample.last]
    if not sample.event.size or positive[-1] == 0 or negative[-1] == 0:
        return None
    false_rate = np.concatenate(([0.0], negative / negative[-1]))
    true_rate = np.concatenate(([0.0], positive / positive[-1]))
    # Of several points over one false-positive rate, the highest.
    highest = np.flatnonzero(np.diff(false_rate, append=np.inf))
    grid = np.linspace(0.0, 1.0, _GRID)
    curve = np.interp(grid, false_rate[highest], true_rate[highest])
    return {"fpr": [0.0, *grid.tolist()], "tpr": [0.0, *curve.tolist()]}


def calibration_bins(sample: Predictions, patient: Rows, min_count: int) -> list[dict[str, float | int]]:
    """Return mean predicted risk and observed share in up to 10 bins of about equal size.

    A bin of fewer than ``min_count`` patients joins the next: left out, it could be told from the others and the whole.

    Args:
        sample: From `predictions`.
        patient: Whom each example is about, *before* sorting, int64 ``(n,)``.
        min_count: Fewest patients in a bin; of fewer altogether there are no bins.

    Returns:
        ``predicted`` and ``observed``, means over examples, and ``count``, the patients, of each bin, from low to high
        risk.
    """
    who = patient[sample.order]
    number = min(_ECE_BINS, np.unique(who).size // max(min_count, 1))
    if number == 0:
        return []
    bins = _large_bins(_quantile_bins(sample.risk, number), who, min_count)
    count = np.bincount(bins)
    predicted = np.bincount(bins, sample.risk) / count
    observed = np.bincount(bins, sample.event) / count
    return [
        {"predicted": float(predicted[b]), "observed": float(observed[b]), "count": int(np.unique(who[bins == b]).size)}
        for b in range(count.size)
    ]


def _large_bins(bins: np.ndarray, who: np.ndarray, minimum: int) -> np.ndarray:
    """Join neighbouring bins until each has ``minimum`` patients; numbered from 0, int64 ``(n,)``."""
    joined = np.zeros(bins.max() + 1, dtype=np.int64)
    start = large = 0
    for end in range(1, joined.size + 1):
        if np.unique(who[(bins >= start) & (bins < end)]).size >= minimum:
            joined[start:end] = large
            start, large = end, large + 1
    joined[start:] = large - 1  # What is left is too small: it goes to the last.
    found: np.ndarray = joined[bins]
    return found

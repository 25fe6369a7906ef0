"""Tallies: training loss and validation results as vectors whose sum over sites is all that matters.

Binary outcome, ``BINS`` bins of the predicted logit for each class:

``[train_loss_sum, train_examples, validation_loss_sum, validation_examples, negatives..., positives...]``

Survival:

``[train_loss_sum, train_examples, validation_loss_sum, validation_examples, concordant, tied, comparable]``

A histogram of logits is a sufficient statistic, up to bin width, for AUROC, thresholds and recalibration, and adds up
over sites, which a list of scores or a per-site AUROC does not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.vocabulary import Labels, Tally

__all__ = [
    "BINS",
    "BIN_CENTRES",
    "accuracy",
    "auroc",
    "binary_tally",
    "c_index",
    "histogram",
    "mean_losses",
    "platt",
    "recalibrated",
    "sensitivity_at",
    "sensitivity_threshold",
    "size",
    "survival_tally",
    "threshold_finding",
    "youden_threshold",
]

BINS = 256
_LIMIT = 16.0  # Logits beyond it (a risk within 1.2e-7 of 0 or 1) share the outermost bins.
_EDGES = np.linspace(-_LIMIT, _LIMIT, BINS + 1)
BIN_CENTRES = (_EDGES[:-1] + _EDGES[1:]) / 2
"""Logit at the middle of each bin, float64 ``(BINS,)``."""

_HEAD = 4
_MAX_NEWTON_STEPS = 100
_TOLERANCE = 1e-10
_SAME_RISK = 1e-12
_SAME_SHARE = 1e-12


def size(task: Literal["binary", "survival"]) -> int:
    """Length of a tally."""
    return _HEAD + (2 * BINS if task == "binary" else 3)


def binary_tally(train: tuple[float, int], validation: tuple[float, int], logits: Labels, outcome: Labels) -> Tally:
    """Tally one site's round.

    Args:
        train: Sum of the training loss over examples, and how many.
        validation: Sum of the validation loss over examples, and how many.
        logits: Validation logits, float ``(n,)``.
        outcome: 0 or 1 for each, ``(n,)``.

    Returns:
        float64 ``(4 + 2 * BINS,)``.
    """
    return np.concatenate((np.array([*train, *validation], dtype=np.float64), histogram(logits, outcome)))


def histogram(logits: Labels, outcome: Labels, weights: Tally | None = None) -> Tally:
    """Count logits by class and bin.

    Args:
        logits: float ``(n,)``.
        outcome: 0 or 1 for each, ``(n,)``.
        weights: How much each counts, float64 ``(n,)``; 1 if left out.

    Returns:
        Negatives, then positives, float64 ``(2 * BINS,)``.
    """
    bins = np.clip(((logits + _LIMIT) * (BINS / (2 * _LIMIT))).astype(np.int64), 0, BINS - 1)
    cell = bins + BINS * (outcome > 0)
    return np.bincount(cell, weights=weights, minlength=2 * BINS).astype(np.float64)


def survival_tally(train: tuple[float, int], validation: tuple[float, int], pairs: tuple[float, float, float]) -> Tally:
    """Tally one site's round; ``pairs`` is concordant, tied and comparable within the site. float64 ``(7,)``."""
    return np.array([*train, *validation, *pairs], dtype=np.float64)


def mean_losses(tally: Tally) -> tuple[float | None, float | None]:
    """Return mean training and validation loss per example, ``None`` where nothing was counted."""
    train_loss, train_n, validation_loss, validation_n = tally[:_HEAD]
    return (
        float(train_loss / train_n) if train_n else None,
        float(validation_loss / validation_n) if validation_n else None,
    )


def _histograms(tally: Tally) -> tuple[Tally, Tally]:
    if tally.shape != (_HEAD + 2 * BINS,):
        msg = f"not a binary tally: {tally.shape}"
        raise UsageError(msg)
    return tally[_HEAD : _HEAD + BINS], tally[_HEAD + BINS :]


def auroc(tally: Tally) -> float | None:
    """AUROC of the summed validation histograms (ties count half), ``None`` where a class is absent.

    Within ``sum(neg * pos) / (2 * negatives * positives)`` of the exact figure: only pairs that share a bin can differ.
    """
    negative, positive = _histograms(tally)
    pairs = negative.sum() * positive.sum()
    if pairs == 0:
        return None
    below = np.cumsum(negative) - negative
    return float((positive @ (below + negative / 2)) / pairs)


def accuracy(tally: Tally) -> float | None:
    """Accuracy at a risk of 0.5, which is the edge between two bins; ``None`` without validation data."""
    negative, positive = _histograms(tally)
    number = negative.sum() + positive.sum()
    right = negative[: BINS // 2].sum() + positive[BINS // 2 :].sum()
    return float(right / number) if number else None


def c_index(tally: Tally) -> float | None:
    """Harrell's c over all within-site pairs (Harrell 1982), ``None`` where no pair is comparable."""
    concordant, tied, comparable = tally[_HEAD:]
    return float((concordant + tied / 2) / comparable) if comparable else None


def _rates(tally: Tally) -> tuple[Tally, Tally] | None:
    """Return sensitivity and specificity of calling bins i and up positive, i = 0..BINS, float64 ``(BINS+1,)`` each."""
    negative, positive = _histograms(tally)
    if negative.sum() == 0 or positive.sum() == 0:
        return None
    above = np.concatenate((np.cumsum(positive[::-1])[::-1], [0.0])) / positive.sum()
    below = np.concatenate(([0.0], np.cumsum(negative))) / negative.sum()
    return above, below


def _risk(logit: float) -> float:
    return float(1.0 / (1.0 + np.exp(-logit)))


def _risk_at(edge: float) -> float:
    """Return the risk at a (mean) edge; the outermost bins reach to 0 and 1, whatever their logits."""
    if abs(edge) >= _LIMIT:
        return float(edge > 0)
    return _risk(edge)


def youden_threshold(tally: Tally) -> float | None:
    """Risk threshold with the largest sensitivity + specificity (Youden 1950); the middle of the widest plateau."""
    rates = _rates(tally)
    if rates is None:
        return None
    total = rates[0] + rates[1]
    best = np.flatnonzero(total >= total.max() - 1e-12)
    # On few patients two cuts far apart are often equally good, and what lies between them is not.
    plateaus = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    return _risk_at(float(_EDGES[max(plateaus, key=len)].mean()))


def sensitivity_threshold(tally: Tally, at_least: float) -> float | None:
    """Highest risk threshold whose sensitivity is ``at_least`` or more."""
    rates = _rates(tally)
    if rates is None:
        return None
    return _risk_at(float(_EDGES[np.flatnonzero(rates[0] >= at_least).max()]))


def sensitivity_at(tally: Tally, threshold: float, calibration: tuple[float, float]) -> float | None:
    """Share of the sick whose recalibrated risk reaches a threshold, to a bin's width; ``None`` without any."""
    positive = _histograms(tally)[1]
    called = _recalibrated_edges(calibration)[:-1] >= threshold - _SAME_RISK
    return float(positive[called].sum() / positive.sum()) if positive.sum() else None


def threshold_finding(cells: Tally, at_least: float, near: float, calibration: tuple[float, float]) -> float | None:
    """Of the cuts with the smallest sensitivity that is ``at_least`` so large, the nearest to a threshold.

    Args:
        cells: Bins of negatives and positives, float64 ``(2, BINS)``.
        at_least: Share of the positives.
        near: A threshold on the recalibrated risk.
        calibration: Slope and intercept of the logit.

    Returns:
        A threshold on the recalibrated risk; ``None`` without positives.
    """
    positive = cells[1]
    if not positive.sum():
        return None
    found = np.concatenate((np.cumsum(positive[::-1])[::-1], [0.0])) / positive.sum()
    enough = found >= at_least - _SAME_SHARE
    cuts = np.flatnonzero(enough & (found <= found[enough].min() + _SAME_SHARE))
    risks = _recalibrated_edges(calibration)[cuts]
    # The common threshold itself, if it lies between two cuts that find the same.
    if risks.min() <= near <= risks.max():
        return near
    return float(risks[np.argmin(np.abs(risks - near))])


def _recalibrated_edges(calibration: tuple[float, float]) -> Tally:
    return np.array([recalibrated(_risk_at(float(edge)), calibration) for edge in _EDGES])


def platt(tally: Tally) -> tuple[float, float]:
    """Fit slope and intercept of the logit on the summed histograms (Platt 1999, with his target smoothing).

    Newton's method on two parameters with the bins as weighted examples. ``(1.0, 0.0)`` where a class is
    absent, or where the scores rank no better than chance.
    """
    negative, positive = _histograms(tally)
    n_negative, n_positive = negative.sum(), positive.sum()
    if n_negative == 0 or n_positive == 0:
        return 1.0, 0.0
    weight = negative + positive
    # Platt's equation for the targets: they keep a separable validation set from an infinite slope.
    target = (positive * (n_positive + 1) / (n_positive + 2) + negative / (n_negative + 2)) / np.maximum(weight, 1)
    inputs = np.stack((BIN_CENTRES, np.ones(BINS)))

    def loss(parameters: Tally) -> float:
        logit = parameters @ inputs
        return float(weight @ (np.logaddexp(0.0, logit) - target * logit))

    parameters = np.array([1.0, 0.0])
    for _ in range(_MAX_NEWTON_STEPS):
        risk = 1.0 / (1.0 + np.exp(-np.clip(parameters @ inputs, -500, 500)))
        gradient = inputs @ (weight * (risk - target))
        curvature = (inputs * (weight * risk * (1 - risk))) @ inputs.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        # A full step can overshoot far from the optimum, where the curvature is flat: halve it until the loss falls.
        while np.abs(step).max() > _TOLERANCE and loss(parameters - step) > loss(parameters):
            step /= 2
        if np.abs(step).max() <= _TOLERANCE:
            break
        parameters = parameters - step
    slope, intercept = map(float, parameters)
    # Scores that rank the wrong way round are not mended by turning every decision round.
    return (slope, intercept) if slope > 0 else (1.0, 0.0)


def recalibrated(risk: float, calibration: tuple[float, float]) -> float:
    """Map a risk through slope and intercept on its logit."""
    if not 0.0 < risk < 1.0:
        return risk
    slope, intercept = calibration
    return _risk(slope * math.log(risk / (1.0 - risk)) + intercept)

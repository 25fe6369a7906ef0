"""The test of one model at one site, as a tree of numbers that is fit to be sent: sums, shares and curves, no patients.

Cells, bins and curve ends that describe fewer patients than the site's minimum are left out, and so is what would tell
such a cell by subtraction. Metrics, curves and the tally are not cells: shares of few patients tell how few.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical.counting import suppressed
from sealround.federation import tally
from sealround.federation.randomness import stream
from sealround.learning.bootstrap import interval, resamples
from sealround.learning.metrics import BINARY_METRICS, binary_metrics, calibration_bins, ones, predictions, roc_curve
from sealround.learning.survival import c_index, comparable_pairs, risk_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sealround.clinical.cohort import Outcome
    from sealround.federation.interfaces import EvaluateOrder
    from sealround.vocabulary import Labels, PartyId, Rows
    from sealround.wire import Value

__all__ = ["HeldOut", "evaluate_binary", "evaluate_survival", "risk_of"]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """The patients a model is tested on, and how.

    Attributes:
        site: Whose patients.
        outcome: Of the test examples.
        patient: Whom each is about, int64 ``(n,)``.
        examples: How many there are, if that may be said: `sealround.clinical.card.split_sizes`.
        seed: The study's. Resamples depend on seed and site only: every model of a study meets the same ones, so that
            differences between models are paired.
        replicates: Bootstrap samples.
        confidence: Of intervals.
        min_cell_count: Smallest number of patients shown.
        secret: Makes the resamples, besides seed and site, where nobody else may know who is in them: on known
            resamples, sums over sites are linear equations in each patient's result, as many as there are resamples.
        thresholds: Decision threshold of each example, float64 ``(n,)``, where they are not all the order's.
    """

    site: PartyId
    outcome: Outcome
    patient: Rows
    examples: int | None
    seed: int
    replicates: int
    confidence: float
    min_cell_count: int
    secret: str = field(default="", repr=False)
    thresholds: np.ndarray | None = None

    def resamples(self) -> Iterable[np.ndarray]:
        """Return this site's bootstrap weights, the same at every call."""
        words = (self.site, self.secret) if self.secret else (self.site,)
        return resamples(self.patient, self.replicates, stream(self.seed, "bootstrap", *words))

    @property
    def positives(self) -> int | None:
        """How many have the outcome; ``None`` where too few patients do, or too few do not."""
        event = (self.outcome.event > 0).astype(np.int64)
        return None if suppressed(event, self.patient, 2, self.min_cell_count).any() else int(event.sum())


def risk_of(logits: Labels, calibration: tuple[float, float] = (1.0, 0.0)) -> np.ndarray:
    """Return predicted risks of (recalibrated) logits, float64 ``(n,)``."""
    slope, intercept = calibration
    with np.errstate(over="ignore"):  # exp(-x) = inf is a risk of 0
        risk: np.ndarray = 1.0 / (1.0 + np.exp(-(slope * logits.astype(np.float64) + intercept)))
    return risk


def evaluate_binary(
    logits: Labels, loss: tuple[float, int], order: EvaluateOrder, held_out: HeldOut
) -> dict[str, Value]:
    """Evaluate predicted logits of a binary outcome.

    Args:
        logits: Of the test examples, ``(n,)``.
        loss: Sum and number, for the tally.
        order: Threshold and recalibration.
        held_out: Patients and what happened to them.

    Returns:
        ``n``, ``positives``, ``metrics`` (value, low, high), ``replicates`` (float64 ``(b,)``, NaN where undefined),
        ``roc``, ``calibration``, ``histogram`` (a tally) and ``threshold``. ``n`` and ``positives`` are ``None`` where
        they may not be said; then there is no ``calibration``, whose bins would add up to them.
    """
    event = held_out.outcome.event
    risk = risk_of(logits, order.calibration)
    sample = predictions(risk, event)
    least = order.threshold if held_out.thresholds is None else held_out.thresholds
    slope, intercept = order.calibration
    positives = held_out.positives
    hidden = held_out.examples is None or positives is None
    bins = [] if hidden else calibration_bins(sample, held_out.patient, held_out.min_cell_count)
    return {
        "n": held_out.examples,
        "positives": positives,
        **_with_intervals(BINARY_METRICS, held_out, lambda weights: binary_metrics(sample, least, weights)),
        "roc": _listed(roc_curve(sample)),
        "calibration": [dict(bin_) for bin_ in bins],
        "histogram": tally.binary_tally((0.0, 0), loss, slope * logits + intercept, event),
        "threshold": float(order.threshold),
    }


def evaluate_survival(
    scores: Labels, loss: tuple[float, int], order: EvaluateOrder, held_out: HeldOut
) -> dict[str, Value]:
    """Evaluate predicted log hazard ratios.

    Args:
        scores: Of the test examples, ``(n,)``.
        loss: Sum and number, for the tally.
        order: Its threshold is passed on.
        held_out: Patients and what happened to them.

    Returns:
        As `evaluate_binary`, with ``c_index`` the only metric and ``risk_groups`` in place of ``roc`` and
        ``calibration``.
    """
    time, event = held_out.outcome.time, held_out.outcome.event
    assert time is not None  # noqa: S101  (for the type checker: a survival cohort has times)
    scores = scores.astype(np.float64)
    return {
        "n": held_out.examples,
        "positives": held_out.positives,
        **_with_intervals(("c_index",), held_out, lambda weights: {"c_index": c_index(time, event, scores, weights)}),
        "risk_groups": [
            dict(group) for group in risk_groups(time, event, scores, held_out.patient, held_out.min_cell_count)
        ],
        "histogram": tally.survival_tally((0.0, 0), loss, comparable_pairs(time, event, scores)),
        "threshold": float(order.threshold),
    }


def _with_intervals(
    names: tuple[str, ...], held_out: HeldOut, measure: Callable[[np.ndarray], dict[str, np.ndarray]]
) -> dict[str, Value]:
    number = int(held_out.outcome.event.size)
    if not number:
        undefined = np.full(held_out.replicates, np.nan)
        values, replicates = dict.fromkeys(names, undefined[:1]), dict.fromkeys(names, undefined)
    else:
        values = measure(ones(number))
        chunks = [measure(weights) for weights in held_out.resamples()]
        replicates = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in names}
    metrics = {name: interval(float(values[name][0]), replicates[name], held_out.confidence) for name in names}
    return {"metrics": {name: dict(entry) for name, entry in metrics.items()}, "replicates": dict(replicates)}


def _listed(curve: dict[str, list[float]] | None) -> Value:
    return None if curve is None else {name: list(points) for name, points in curve.items()}

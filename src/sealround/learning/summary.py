"""From the sites' test results to the few numbers of a comparison: mean, worst site, gap, everybody, and differences.

A metric's mean is over sites, each counting the same: a hospital is not less important for being small. Intervals come
from the sites' bootstrap replicates: resamples of different sites are independent, those of one site are the same for
every model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sealround.errors import UsageError
from sealround.federation import tally
from sealround.federation.randomness import stream
from sealround.learning.bootstrap import Interval, interval
from sealround.learning.evaluation import risk_of
from sealround.learning.metrics import binary_metrics, predictions
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealround.vocabulary import Tally
    from sealround.wire import Value

__all__ = ["LOWER_IS_BETTER", "difference", "summarise"]

LOWER_IS_BETTER = frozenset({"brier", "ece"})
_HISTOGRAM_METRICS = ("auroc", "auprc", "ece")
_HELD_BACK = frozenset({"replicates", "histogram"})

Evaluations: TypeAlias = "Mapping[PartyId, Mapping[str, Value]]"


def summarise(evaluations: Evaluations, confidence: float) -> dict[str, Value]:
    """Combine the sites' results of one model (or of one model each, for hospitals alone).

    Args:
        evaluations: What `LocalWork.evaluate` returned, by site.
        confidence: Of the intervals.

    Returns:
        ``sites``: each result without replicates and histogram. By metric: ``mean`` over sites; ``worst`` site, named,
        with its own interval; ``gap`` between the best and the worst site, with the interval of the difference between
        these two; ``all``: every test patient in one heap (see `_together`). What no site could compute is ``None``.
    """
    sites = sorted(evaluations)
    summary: dict[str, dict[str, Value]] = {"mean": {}, "worst": {}, "gap": {}}
    for metric in _metrics(evaluations):
        defined = [site for site in sites if _value(evaluations[site], metric) is not None]
        values = np.array([_value(evaluations[site], metric) for site in defined], dtype=np.float64)
        replicates = [_replicates(evaluations[site], metric) for site in defined]
        summary["mean"][metric] = dict(_mean(values, replicates, confidence))
        summary["worst"][metric] = _worst(metric, defined, values, replicates, confidence)
        summary["gap"][metric] = dict(_gap(values, replicates, confidence))
    return {
        "sites": {
            site: {key: value for key, value in evaluations[site].items() if key not in _HELD_BACK} for site in sites
        },
        **summary,
        "all": _together([evaluations[site] for site in sites], confidence),
    }


def difference(a: Evaluations, b: Evaluations, confidence: float) -> dict[str, Interval]:
    """Compare two models: the mean over sites of ``a`` minus that of ``b``, with a paired bootstrap interval.

    Args:
        a: Results of one model, by site.
        b: Results of the other at the same sites.
        confidence: Of the intervals.

    Returns:
        By metric; over the sites where both are defined.

    Raises:
        UsageError: If the sites are not the same.
    """
    if set(a) != set(b):
        raise UsageError("two models are compared at the same sites", hint="evaluate both at every site")
    result = {}
    for metric in _metrics(a):
        pairs = [(_value(a[site], metric), _value(b[site], metric), site) for site in sorted(a)]
        both = [(x - y, site) for x, y, site in pairs if x is not None and y is not None]
        replicates = [_replicates(a[site], metric) - _replicates(b[site], metric) for _, site in both]
        result[metric] = _mean(np.array([value for value, _ in both]), replicates, confidence)
    return result


def _metrics(evaluations: Evaluations) -> list[str]:
    names: dict[str, None] = {}
    for evaluation in evaluations.values():
        names.update(dict.fromkeys(_map(evaluation["metrics"])))
    return list(names)


def _map(value: Value) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise UsageError("not an evaluation", hint="pass what LocalWork.evaluate returned")
    return value


def _value(evaluation: Mapping[str, Value], metric: str) -> float | None:
    value = _map(_map(evaluation["metrics"])[metric])["value"]
    return float(value) if isinstance(value, float | int) else None


def _replicates(evaluation: Mapping[str, Value], metric: str) -> np.ndarray:
    return np.asarray(_map(evaluation["replicates"])[metric], dtype=np.float64)


def _mean(values: np.ndarray, replicates: list[np.ndarray], confidence: float) -> Interval:
    if not replicates:
        return interval(None, np.zeros(0), confidence)
    return interval(float(values.mean()), _over_sites(replicates, np.ones(len(replicates))), confidence)


def _over_sites(replicates: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of each replicate over the sites where it is defined, float64 ``(b,)``."""
    # A small site may have a class missing in a resample: the mean there is over the others.
    stacked = np.stack(replicates)
    weight = np.where(np.isfinite(stacked), weights[:, None], 0.0)
    total, whole = np.nansum(stacked * weight, axis=0), weight.sum(axis=0)
    mean: np.ndarray = np.divide(total, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return mean


def _worst(
    metric: str, sites: list[PartyId], values: np.ndarray, replicates: list[np.ndarray], confidence: float
) -> dict[str, Value]:
    if not sites:
        return {**interval(None, np.zeros(0), confidence), "site": None}
    place = int(values.argmax() if metric in LOWER_IS_BETTER else values.argmin())
    return {**interval(float(values[place]), replicates[place], confidence), "site": sites[place]}


def _gap(values: np.ndarray, replicates: list[np.ndarray], confidence: float) -> Interval:
    # Between two named sites, so that the interval can reach 0; the spread of resampled extremes never does.
    if not replicates:
        return interval(None, np.zeros(0), confidence)
    high, low = int(values.argmax()), int(values.argmin())
    return interval(float(values[high] - values[low]), replicates[high] - replicates[low], confidence)


def _together(evaluations: list[Mapping[str, Value]], confidence: float) -> dict[str, Value]:
    """Measure all sites' test patients in one heap, without seeing one.

    Binary: AUROC, AUPRC and ECE from the summed histograms of logits (exact up to pairs in one bin), with resampled
    histograms, which takes examples for independent, also those of one patient; accuracy, sensitivity, specificity and
    Brier exactly, from the sites' shares and sizes. Survival: over pairs within sites only, because no site can compare
    its patient's time with another's.
    """
    if not evaluations:
        return {}
    total = np.sum([np.asarray(evaluation["histogram"], dtype=np.float64) for evaluation in evaluations], axis=0)
    if total.size == tally.size("survival"):
        pairs = np.array([np.asarray(evaluation["histogram"])[-1] for evaluation in evaluations])
        return {"c_index": dict(interval(*_weighted(evaluations, "c_index", pairs), confidence))}
    # Sizes from the histograms too: a site may not be free to say how many positives it has.
    cells = np.array([np.asarray(evaluation["histogram"])[-2 * tally.BINS :] for evaluation in evaluations])
    negatives, positives = cells.reshape(len(evaluations), 2, tally.BINS).sum(axis=2).T
    n = negatives + positives
    weights = {"accuracy": n, "sensitivity": positives, "specificity": negatives, "brier": n}
    found = {metric: _weighted(evaluations, metric, weight) for metric, weight in weights.items()}
    (hit, hits), (spared, spares) = found["sensitivity"], found["specificity"]
    both = None if hit is None or spared is None else (hit + spared) / 2
    found["balanced_accuracy"] = both, (hits + spares) / 2
    found.update(_from_histograms(total, hits.size))
    return {metric: dict(interval(*found[metric], confidence)) for metric in _metrics({PartyId("all"): evaluations[0]})}


def _weighted(
    evaluations: list[Mapping[str, Value]], metric: str, weights: np.ndarray
) -> tuple[float | None, np.ndarray]:
    """Return the weighted mean over sites, and its replicates."""
    defined = [
        (value, _replicates(evaluation, metric), weight)
        for evaluation, weight in zip(evaluations, weights, strict=True)
        if (value := _value(evaluation, metric)) is not None and weight > 0
    ]
    if not defined:
        return None, np.full_like(_replicates(evaluations[0], metric), np.nan)
    values, replicates, kept = zip(*defined, strict=True)
    return float(np.average(values, weights=kept)), _over_sites(replicates, np.array(kept))


def _from_histograms(total: Tally, number: int) -> dict[str, tuple[float | None, np.ndarray]]:
    """Return metrics of the summed histograms, and of ``number`` multinomial draws from them."""
    cells = total[-2 * tally.BINS :]
    risk = risk_of(np.tile(tally.BIN_CENTRES, 2))
    sample = predictions(risk, np.repeat([0.0, 1.0], tally.BINS), cells)
    examples = int(cells.sum())
    if not examples:
        return dict.fromkeys(_HISTOGRAM_METRICS, (None, np.full(number, np.nan)))
    drawn = stream(0, "bootstrap", "all sites").multinomial(examples, cells / examples, size=number)
    values = binary_metrics(sample, 0.5, cells[None, :])
    replicates = binary_metrics(sample, 0.5, drawn.astype(np.float64))
    return {metric: (float(values[metric][0]), replicates[metric]) for metric in _HISTOGRAM_METRICS}

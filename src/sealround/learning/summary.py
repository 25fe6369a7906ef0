"""From the sites' test results to the few numbers of a comparison: mean, worst site, gap, everybody, and differences.

A metric's mean is over sites, each counting the same: a hospital is not less important for being small. Intervals come
from the sites' bootstrap replicates: resamples of different sites are independent, those of one site are the same for
every model.

Mean, everybody and differences take sums over sites only (`sealround.federation.scores`), so they are there also where
nobody sees one site's result; worst site and gap are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sealround.errors import UsageError
from sealround.federation import tally
from sealround.federation.randomness import stream
from sealround.federation.scores import Scores
from sealround.learning.bootstrap import Interval, interval
from sealround.learning.evaluation import risk_of
from sealround.learning.metrics import binary_metrics, calibration_bins, predictions, roc_curve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sealround.vocabulary import PartyId
    from sealround.wire import Value

__all__ = ["LOWER_IS_BETTER", "describe_sum", "difference", "difference_of_sums", "shown", "summarise", "summarise_sum"]

LOWER_IS_BETTER = frozenset({"brier", "ece"})
_HISTOGRAM_METRICS = ("auroc", "auprc", "ece")
_HELD_BACK = frozenset({"replicates", "histogram", "groups"})

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
    sites, metrics = sorted(evaluations), _metrics(evaluations)
    summary: dict[str, dict[str, Value]] = {"worst": {}, "gap": {}}
    for metric in metrics:
        defined = [site for site in sites if _value(evaluations[site], metric) is not None]
        values = np.array([_value(evaluations[site], metric) for site in defined], dtype=np.float64)
        replicates = [_replicates(evaluations[site], metric) for site in defined]
        summary["worst"][metric] = _worst(metric, defined, values, replicates, confidence)
        summary["gap"][metric] = dict(_gap(values, replicates, confidence))
    scores = _sum(evaluations)
    return {
        "sites": {site: shown(evaluations[site]) for site in sites},
        "mean": {} if scores is None else _means(scores, metrics, confidence),
        **summary,
        "all": {} if scores is None else _together(scores, metrics, confidence),
    }


def shown(evaluation: Mapping[str, Value]) -> dict[str, Value]:
    """Return what is shown of one site's result: all but replicates, histogram and groups, which serve sums."""
    return {key: value for key, value in evaluation.items() if key not in _HELD_BACK}


def summarise_sum(scores: Scores, confidence: float, at_least: int = 1) -> dict[str, Value]:
    """Do as `summarise` with what the sum of the sites' results holds.

    Args:
        scores: The sum.
        confidence: Of the intervals.
        at_least: Fewest sites a mean is over. A mean over fewer is ``None``: over one, it is that site's result.

    Returns:
        ``mean`` and ``all`` as `summarise`, up to the rounding of `sealround.federation.scores.addend`, for every
        metric of the task; ``sites``, ``worst`` and ``gap`` are empty; ``tested`` is how many sites were summed, and
        ``defined`` at how many of them each metric is.
    """
    return {
        "sites": {},
        "mean": _means(scores, scores.metrics, confidence, at_least),
        "worst": {},
        "gap": {},
        "all": _together(scores, scores.metrics, confidence),
        "tested": scores.sites,
        "defined": {metric: scores.defined(metric) for metric in scores.metrics},
    }


def describe_sum(scores: Scores, min_cell_count: int) -> dict[str, Value]:
    """Describe all sites' test patients in one heap, as a site's result describes its own.

    Args:
        scores: The sum.
        min_cell_count: Counts of fewer, except 0, are ``None``; so are counts that would tell them.

    Returns:
        ``n`` and ``positives``, in examples; ``roc`` and ``calibration`` from the bins of the predicted logit (of each
        site's own model, where each has one). For survival ``n`` alone is known.
    """
    if scores.noise:
        return _describe_noised(scores)
    positives = int(scores.histogram[1].sum())
    few = any(0 < count < min_cell_count for count in (positives, scores.examples - positives))
    number = None if 0 < scores.examples < min_cell_count else scores.examples
    if scores.task == "survival":
        return {"n": number, "positives": None, "roc": None, "calibration": []}
    counts = scores.histogram.ravel().astype(np.int64)
    risk = np.repeat(risk_of(np.tile(tally.BIN_CENTRES, 2)), counts)
    sample = predictions(risk, np.repeat(np.repeat([0.0, 1.0], tally.BINS), counts))
    curve = roc_curve(sample)
    bins = [] if few or number is None else calibration_bins(sample, np.arange(risk.size), min_cell_count)
    return {
        "n": number,
        "positives": None if few else positives,
        "roc": None if curve is None else {axis: list(points) for axis, points in curve.items()},
        "calibration": [dict(bin_) for bin_ in bins],
    }


def _describe_noised(scores: Scores) -> dict[str, Value]:
    """Describe a noised histogram: numbers of patients as they come out, and no curve, whose steps would be noise."""
    positives = max(round(float(scores.histogram[1].sum())), 0)
    return {"n": max(round(float(scores.histogram.sum())), 0), "positives": positives, "roc": None, "calibration": []}


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
    scores = _sum({site: _minus(a[site], b[site]) for site in a})
    return {} if scores is None else {m: interval(*scores.mean(m), confidence) for m in _metrics(a)}


def difference_of_sums(a: Scores, b: Scores, confidence: float, at_least: int = 1) -> dict[str, Interval]:
    """Compare two models by the sums of their results: the difference of the means, with a paired bootstrap interval.

    The mean of differences is the difference of means, on all patients and on each resample, so this is `difference`
    wherever a metric is defined at the same sites for both models. Where the numbers of sites differ there is none:
    the means are over other patients, and no site's part can be taken out of a sum.

    Args:
        a: Sum of one model's results.
        b: Sum of the other's, of the same task and resamples.
        confidence: Of the intervals.
        at_least: Fewest sites, as in `summarise_sum`.

    Returns:
        By metric.

    Raises:
        UsageError: If task or number of resamples differ.
    """
    if (a.task, a.replicates) != (b.task, b.replicates):
        raise UsageError("two models are compared by the same metrics on the same resamples")
    result = {}
    for metric in a.metrics:
        (ours, our_replicates), (theirs, their_replicates) = a.mean(metric), b.mean(metric)
        paired = a.defined(metric) == b.defined(metric) >= at_least
        value = ours - theirs if paired and ours is not None and theirs is not None else None
        result[metric] = interval(value, our_replicates - their_replicates, confidence)
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


def _sum(evaluations: Evaluations) -> Scores | None:
    """Add up results at hand; ``None`` where there is none."""
    if not evaluations:
        return None
    metrics, some = _metrics(evaluations), next(iter(evaluations.values()))
    number = _replicates(some, metrics[0]).size if metrics else 0
    return Scores.of(evaluations, "survival" if "c_index" in metrics else "binary", number, exact=True)


def _from_noised(scores: Scores) -> dict[str, tuple[float | None, np.ndarray]]:
    """Return the AUROC of a noised histogram, and of as many draws of patients and of noise.

    The AUROC is a product of sums over cells: noise of mean 0 in each leaves both the numerator and, nearly, the
    denominator without bias, as long as cells below 0 are left as they are.
    """
    cells = scores.histogram.ravel()
    undefined = np.full(scores.replicates, np.nan)
    found: dict[str, tuple[float | None, np.ndarray]] = dict.fromkeys(_HISTOGRAM_METRICS, (None, undefined))
    there = np.maximum(cells, 0.0)
    positives, negatives = scores.histogram[1].sum(), scores.histogram[0].sum()
    # With less than three standard deviations of noise in either class there is nothing to divide by.
    least = 3.0 * scores.noise * float(np.sqrt(np.count_nonzero(cells) / 2))
    if min(positives, negatives) <= least:
        return found
    sample = predictions(risk_of(np.tile(tally.BIN_CENTRES, 2)), np.repeat([0.0, 1.0], tally.BINS))
    draw = stream(0, "bootstrap", "all sites, noised")
    drawn = draw.multinomial(round(float(cells.sum())), there / there.sum(), size=scores.replicates).astype(np.float64)
    drawn += draw.normal(0.0, scores.noise, drawn.shape) * (cells != 0.0)
    value = float(binary_metrics(sample, 0.5, cells[None, :])["auroc"][0])
    return found | {"auroc": (min(max(value, 0.0), 1.0), np.clip(binary_metrics(sample, 0.5, drawn)["auroc"], 0, 1))}


def _minus(a: Mapping[str, Value], b: Mapping[str, Value]) -> dict[str, Value]:
    """Return one site's difference of two models in the shape of a result."""
    metrics: dict[str, Value] = {}
    replicates: dict[str, Value] = {}
    for metric in _map(a["metrics"]):
        ours, theirs = _value(a, metric), _value(b, metric)
        metrics[metric] = {"value": None if ours is None or theirs is None else ours - theirs}
        replicates[metric] = _replicates(a, metric) - _replicates(b, metric)
    return {"metrics": metrics, "replicates": replicates}


def _means(scores: Scores, metrics: Iterable[str], confidence: float, at_least: int = 1) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for metric in metrics:
        value, replicates = scores.mean(metric)
        enough = scores.defined(metric) >= at_least
        found[metric] = dict(interval(value if enough else None, replicates, confidence))
    return found


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


def _together(scores: Scores, metrics: Iterable[str], confidence: float) -> dict[str, Value]:
    """Measure all sites' test patients in one heap, without seeing one.

    Binary: AUROC, AUPRC and ECE from the summed histograms of logits (exact up to pairs in one bin), with resampled
    histograms, which takes examples for independent, also those of one patient; accuracy, sensitivity, specificity and
    Brier exactly, from the sites' shares and sizes. Survival: over pairs within sites only, because no site can compare
    its patient's time with another's.
    """
    found = {metric: share for metric in scores.metrics if (share := scores.share(metric)) is not None}
    if scores.task == "binary":
        (hit, hits), (spared, spares) = found["sensitivity"], found["specificity"]
        both = None if hit is None or spared is None else (hit + spared) / 2
        found["balanced_accuracy"] = both, (hits + spares) / 2
        found |= _from_histogram(scores)
    return {metric: dict(interval(*found[metric], confidence)) for metric in metrics}


def _from_histogram(scores: Scores) -> dict[str, tuple[float | None, np.ndarray]]:
    """Return metrics of the summed histograms, and of as many multinomial draws from them as there are resamples."""
    if scores.noise:
        return _from_noised(scores)
    cells = scores.histogram.ravel()
    risk = risk_of(np.tile(tally.BIN_CENTRES, 2))
    sample = predictions(risk, np.repeat([0.0, 1.0], tally.BINS), cells)
    examples = round(float(cells.sum()))
    if examples <= 0:
        return dict.fromkeys(_HISTOGRAM_METRICS, (None, np.full(scores.replicates, np.nan)))
    drawn = stream(0, "bootstrap", "all sites").multinomial(examples, cells / cells.sum(), size=scores.replicates)
    values = binary_metrics(sample, 0.5, cells[None, :])
    replicates = binary_metrics(sample, 0.5, drawn.astype(np.float64))
    return {metric: (float(values[metric][0]), replicates[metric]) for metric in _HISTOGRAM_METRICS}

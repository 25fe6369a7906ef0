"""Intervals of what an attack recovered, over patients.

Shares of patients have Clopper and Pearson's interval, means over patients a bootstrap interval. Records of one batch
tend to be rebuilt together or not at all, so that whole batches are drawn where patients come in batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from sealround.errors import UsageError
from sealround.fairness.distributions import binomial_tail, bisect
from sealround.learning.bootstrap import resamples

__all__ = ["Number", "bca", "clopper_pearson", "summarise"]

_NORMAL = NormalDist()
_REPLICATES = 2000


@dataclass(frozen=True, slots=True)
class Number:
    """A figure with its interval and with what needs no update.

    Attributes:
        value: The mean over patients.
        low: Lower end; NaN where there is no interval, as of the mean of one patient.
        high: Upper end, or NaN.
        baseline: The same figure of the best attack that sees no update; ``None`` without baselines.
        patients: How many it rests on.
        interval: Which interval it is.
    """

    value: float
    low: float
    high: float
    baseline: float | None
    patients: int
    interval: str


def clopper_pearson(events: int, number: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval of a share that holds the truth at least as often as it says (Clopper and Pearson 1934).

    Raises:
        UsageError: Unless 0 <= events <= number and number is at least 1.
    """
    if not 0 <= events <= number or number < 1:
        raise UsageError(f"of {number} trials {events} were events: this cannot be")
    tail = (1.0 - confidence) / 2
    least, most = 1e-12, 1.0 - 1e-12
    low = 0.0 if events == 0 else bisect(lambda p: binomial_tail(events, number, p) - tail, least, most)
    high = 1.0
    if events < number:
        high = bisect(lambda p: binomial_tail(events + 1, number, p) - (1.0 - tail), least, most)
    return low, high


def bca(
    values: np.ndarray, draw: np.random.Generator, groups: np.ndarray | None = None, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the bias-corrected and accelerated bootstrap interval of a mean.

    Source: B. Efron, "Better Bootstrap Confidence Intervals", JASA 82 (1987), section 4; the acceleration from the
    jackknife over groups (Efron and Tibshirani 1993, equation 14.15).

    Args:
        values: One a patient, ``(n,)``, finite.
        draw: Where 2000 resamples come from.
        groups: A number for each patient's group (batch), ``(n,)``, which enters or leaves as a whole; ``None`` if
            patients are independent.
        confidence: Share of intervals that should hold the truth.

    Returns:
        Lower and upper end; both the value itself where all values are equal or only one group is there.

    Raises:
        UsageError: If there is no value, or one is not finite.
    """
    if not values.size or not np.isfinite(values).all():
        raise UsageError("an interval of a mean takes at least one value, all finite")
    _, group = np.unique(np.arange(values.size) if groups is None else groups, return_inverse=True)
    mean = float(values.mean())
    sums, sizes = np.bincount(group, values), np.bincount(group)
    if sums.size < 2 or np.ptp(values) == 0.0:  # noqa: PLR2004  (one group varies with nothing)
        return mean, mean
    replicates = np.concatenate([weights @ values / weights.sum(1) for weights in resamples(group, _REPLICATES, draw)])
    without = (values.sum() - sums) / (values.size - sizes)
    apart = without.mean() - without
    acceleration = float((apart**3).sum() / (6.0 * (apart**2).sum() ** 1.5)) if apart.any() else 0.0
    tied = np.abs(replicates - mean) <= 1e-12 * max(1.0, abs(mean))
    below = float(np.mean((replicates < mean) & ~tied) + np.mean(tied) / 2)
    bias = _NORMAL.inv_cdf(min(max(below, 1.0 / (_REPLICATES + 1)), _REPLICATES / (_REPLICATES + 1)))
    half = _NORMAL.inv_cdf((1.0 + confidence) / 2)

    def level(z: float) -> float:
        return _NORMAL.cdf(bias + (bias + z) / (1.0 - acceleration * (bias + z)))

    low, high = np.quantile(replicates, [level(-half), level(half)])
    return min(float(low), mean), max(float(high), mean)


def summarise(
    values: np.ndarray,
    draw: np.random.Generator,
    *,
    share: bool,
    groups: np.ndarray | None = None,
    baseline: float | None = None,
) -> Number | None:
    """Return the mean over patients with a 95 % interval; NaN (a patient whom the attack does not rebuild) is left out.

    A share of patients who are hit or not has Clopper and Pearson's interval if patients are independent. A rate
    within a patient that is 0 for all, or 1 for all, has it too: its mean is nearer to that end than a share of hits,
    and a bootstrap would shrink to a point.

    Args:
        values: One a patient, ``(n,)``.
        draw: For the bootstrap.
        share: Whether values are shares, within 0..1.
        groups: As `bca` takes them.
        baseline: To carry along.

    Patients of one single batch are taken for independent, which the name of the interval says.

    Returns:
        ``None`` if no patient has a value.
    """
    known = np.isfinite(values)
    values = values[known]
    if not values.size:
        return None
    own = np.arange(values.size)
    group = own if groups is None else groups[known]
    batches = np.unique(group).size
    if batches == 1:  # Nothing is known of how batches differ: patients stand for themselves.
        group = own
    alone = batches in {1, values.size}
    mean, events = float(values.mean()), int(np.count_nonzero(values == 1.0))
    none_or_all = bool((values == 0.0).all() or (values == 1.0).all())
    if share and (none_or_all or (alone and np.isin(values, (0.0, 1.0)).all())):
        trials = values.size if alone else batches
        ends, name = clopper_pearson(events if alone else trials * (events > 0), trials), "Clopper-Pearson"
    elif values.size == 1:
        return Number(mean, math.nan, math.nan, baseline, 1, "none of one patient")
    else:
        ends, name = bca(values, draw, group), "BCa bootstrap"
    over = "patients" if alone else "batches"
    return Number(
        mean,
        *ends,
        baseline,
        values.size,
        f"{name} over {over}{' of one batch' if batches < group.size and alone else ''}",
    )

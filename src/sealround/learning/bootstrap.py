"""Bootstrap over patients: how much a result would move had other patients of the same kind come (Efron 1979).

Whoever has several images enters or leaves with all of them. Resamples are drawn as counts, a row for each replicate,
so that a metric is computed for all replicates at once from weighted sums.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealround.vocabulary import Rows

__all__ = ["Interval", "interval", "resamples"]

Interval: TypeAlias = dict[str, float | None]
"""``value``, ``low`` and ``high``; ``None`` where undefined."""

_CHUNK = 1 << 21  # Weights in memory at a time: 16 MiB.
_NORMAL = NormalDist()


def resamples(patient: Rows, number: int, draw: np.random.Generator) -> Iterator[np.ndarray]:
    """Draw bootstrap samples of patients.

    Args:
        patient: A number for each example's patient, ``(n,)``; examples of one patient have the same.
        number: How many samples.
        draw: Where they come from.

    Yields:
        How often each example is in each sample, float64 ``(b, n)``, a few hundred samples at a time. Which samples
        come does not depend on the order of the examples, so those of two models on the same patients are paired.
    """
    found, index = np.unique(patient, return_inverse=True)
    patients = found.size
    if not patients:
        return
    rows = max(1, _CHUNK // max(patients, patient.size))
    for start in range(0, number, rows):
        size = min(rows, number - start)
        chosen = draw.integers(patients, size=(size, patients))
        chosen += np.arange(size)[:, None] * patients
        counts = np.bincount(chosen.ravel(), minlength=size * patients).reshape(size, patients)
        yield counts[:, index].astype(np.float64)


def interval(value: float | None, replicates: np.ndarray, confidence: float) -> Interval:
    """Return a value with its bias-corrected percentile interval (Efron and Tibshirani 1993, section 14.3, with a = 0).

    The correction moves the percentiles by how far the replicates' median is from the value. Simulated coverage at 60
    to 200 patients is 92 to 95 % for nominal 95 %, where plain percentiles have 87 to 94 %. BCa's acceleration would
    take a jackknife of everything that is built from replicates, for a gain that those sizes do not show.

    ECE is the exception: on few patients it exceeds the model's true calibration error, and on resamples of them even
    more, so its interval says how it varies, not where the truth is. An interval always holds its value.

    Args:
        value: The value on all patients.
        replicates: The same on each resample, ``(b,)``, NaN where undefined there.
        confidence: Share of intervals that should hold the truth.

    Returns:
        The value, and bounds: ``None`` if the value or more than half of the replicates are undefined.
    """
    if value is None or not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    defined = replicates[np.isfinite(replicates)]
    if 2 * defined.size <= replicates.size:
        return {"value": float(value), "low": None, "high": None}
    # Replicates equal to the value, up to rounding, count half: a perfect score on every resample has no bias.
    near = 1e-12 * max(1.0, abs(value))
    below = np.mean(defined < value - near) + np.mean(np.abs(defined - value) <= near) / 2
    smallest = 1.0 / (defined.size + 1)
    bias = _NORMAL.inv_cdf(float(np.clip(below, smallest, 1.0 - smallest)))
    half = _NORMAL.inv_cdf((1.0 + confidence) / 2)
    low, high = np.quantile(defined, [_NORMAL.cdf(2 * bias - half), _NORMAL.cdf(2 * bias + half)])
    return {"value": float(value), "low": min(float(low), float(value)), "high": max(float(high), float(value))}

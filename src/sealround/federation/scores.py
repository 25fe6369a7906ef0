"""Test results as vectors whose sum over sites is all that matters.

One site's vector, float64, for the task's measures k and the study's resamples b (column 0 is the value itself):

``[1, examples, defined[k, 0..b]..., weighted value[k, 0..b]..., groups..., negatives by bin..., positives by bin...]``

A measure is a metric with a weight: 1, so that the quotient of the two sums is the mean over sites, or how many test
patients (for c: pairs) it is a share of, so that it is the share among all of them. ``defined`` is that weight where
the metric is defined, else 0. The bins are those of the tally of the test split, for what is no mean: the ROC curve of
everybody; a survival study has none. ``groups`` are the cells of everybody and of every group of patients
(`sealround.fairness.cells`), where the study has groups.

An exact sum of shares can tell every one of them: three hospitals' accuracies are fractions with small denominators,
and of all the fractions that patients could make, only the true ones add up to it on sixty bits. So `addend` rounds
each value to a multiple of 2^-10, which moves a mean by 2^-11 at the most, far less than its interval is wide. What is
a sum of counts is left as it is. This makes the search ambiguous; it is no bound, as differential privacy would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from sealround.errors import UsageError
from sealround.fairness.cells import CELLS, RISK, VARIANCE
from sealround.federation import tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.vocabulary import PartyId, Tally
    from sealround.wire import Value

__all__ = ["METRICS", "Scores", "Task", "addend", "cells_by_group", "scores_size"]

Task: TypeAlias = Literal["binary", "survival"]

METRICS: Mapping[Task, tuple[str, ...]] = {
    "binary": ("auroc", "auprc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "brier", "ece"),
    "survival": ("c_index",),
}
"""Every metric of a task."""

_SHARES: Mapping[Task, tuple[str, ...]] = {
    "binary": ("accuracy", "sensitivity", "specificity", "brier"),
    "survival": ("c_index",),
}
_LARGEST = 2.0**47
"""Largest magnitude of a number that is summed exactly: `sealround.crypto.ring.MAX_NUMBER`."""

_HEAD = 2
_EXAMPLES = 3  # in a tally: how many the loss is over
_STEP_OF_MEANS = 2.0**-10
_STEP_OF_SHARES = 2.0**-7
"""In patients (or pairs); a share of them, times them, is a whole number of them or a half, but for the Brier score."""


def _bins(task: Task) -> int:
    return 2 * tally.BINS if task == "binary" else 0


def _measures(task: Task) -> int:
    return len(METRICS[task]) + len(_SHARES[task])


def _cells(groups: int) -> int:
    """Numbers of everybody and of so many groups; none where there are no groups."""
    return (1 + groups) * CELLS if groups else 0


def scores_size(task: Task, replicates: int, groups: int = 0) -> int:
    """Length of a site's vector."""
    return _HEAD + 2 * _measures(task) * (1 + replicates) + _cells(groups) + _bins(task)


def addend(
    evaluation: Mapping[str, Value], task: Task, replicates: int, groups: int = 0, *, exact: bool = False
) -> Tally:
    """Lay one site's test result out as its addend.

    Args:
        evaluation: What `LocalWork.evaluate` returned. A metric, its replicates or the histogram that is not there
            counts as undefined.
        task: The study's.
        replicates: Bootstrap samples, the study's.
        groups: Groups of patients, the study's.
        exact: Do not round: for a sum of what is known one by one anyway.

    Returns:
        float64 ``(scores_size(task, replicates, groups),)``, each finite and of magnitude 2^47 at the most.

    Raises:
        UsageError: If it is not a test result of this task, or not of so many replicates or groups.
    """
    metrics = _map(evaluation.get("metrics"))
    if not metrics.keys() <= set(METRICS[task]):
        raise _wrong(f"a {task} outcome has no such metric")
    resampled, histogram = _map(evaluation.get("replicates")), _histogram(evaluation, task)
    values = {name: _column(metrics.get(name), resampled.get(name), replicates) for name in METRICS[task]}
    sizes = _sizes(histogram, task)
    measured = np.stack([*(values[name] for name in METRICS[task]), *(values[name] for name in _SHARES[task])])
    weights = np.array([*(1.0 for _ in METRICS[task]), *(sizes[name] for name in _SHARES[task])])
    defined = np.where(np.isfinite(measured), weights[:, None], 0.0)
    weighted = np.where(np.isfinite(measured), measured, 0.0) * defined
    if not exact:
        steps = np.where(np.arange(len(weights)) < len(METRICS[task]), _STEP_OF_MEANS, _STEP_OF_SHARES)[:, None]
        weighted = np.rint(weighted / steps) * steps
    head, cells = [1.0, histogram[_EXAMPLES]], histogram[histogram.size - _bins(task) :]
    by_group = cells_by_group(evaluation, groups)
    if not exact:  # but for the sums of risks they are counts
        by_group[:, [RISK, VARIANCE]] = np.rint(by_group[:, [RISK, VARIANCE]] / _STEP_OF_SHARES) * _STEP_OF_SHARES
    vector = np.concatenate((head, defined.ravel(), weighted.ravel(), by_group.ravel(), cells))
    if not (np.abs(vector) <= _LARGEST).all():
        raise _wrong("a number is not finite, or too large")
    return vector


def cells_by_group(evaluation: Mapping[str, Value], groups: int) -> Tally:
    """Return a site's counts of everybody and of each group, float64 ``(1 + groups, CELLS)``; zeros if it has none.

    Raises:
        UsageError: If they are of other groups, negative or not finite.
    """
    found, size = evaluation.get("groups"), _cells(groups)
    cells = np.zeros(size) if found is None or not size else _array(found, size)
    if not (np.isfinite(cells) & (cells >= 0)).all():
        raise _wrong("a count of a group is negative or not finite")
    return cells.reshape(-1, CELLS)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The sites' test results of one model, or of one model each, added up.

    Attributes:
        task: The study's.
        replicates: Bootstrap samples b.
        total: Sum of the `addend` of every site that tested, float64 ``(scores_size(task, replicates, groups),)``.
        groups: Groups of patients g.
        noise: Standard deviation of the noise in each bin that is not 0, where answers were private; else 0. Then the
            histogram is all that is known, and a bin may hold less than nobody.

    Raises:
        UsageError: If the sum has another shape.
    """

    task: Task
    replicates: int
    total: Tally
    groups: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Check the shape."""
        if self.total.shape != (scores_size(self.task, self.replicates, self.groups),):
            what = f"{self.replicates} resamples" + (f" and {self.groups} groups" if self.groups else "")
            raise UsageError(f"test results of shape {self.total.shape} are not those of {what}")

    @classmethod
    def of(
        cls,
        evaluations: Mapping[PartyId, Mapping[str, Value]],
        task: Task,
        replicates: int,
        groups: int = 0,
        *,
        exact: bool = False,
    ) -> Scores:
        """Add up results that are at hand, as `addend` lays them out.

        Raises:
            UsageError: As `addend`.
        """
        total = np.zeros(scores_size(task, replicates, groups))
        for site in sorted(evaluations):
            total += addend(evaluations[site], task, replicates, groups, exact=exact)
        return cls(task, replicates, total, groups)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric of the task."""
        return METRICS[self.task]

    @property
    def sites(self) -> int:
        """How many sites tested."""
        return round(float(self.total[0]))

    @property
    def examples(self) -> int:
        """How many test examples all sites have."""
        return round(float(self.total[1]))

    @property
    def histogram(self) -> Tally:
        """Test examples by bin of the predicted logit, float64 ``(2, tally.BINS)``: negatives, positives.

        ``(2, 0)`` for survival.
        """
        return self.total[self.total.size - _bins(self.task) :].reshape(2, -1)

    @property
    def by_group(self) -> Tally:
        """Cells of everybody and of each group, float64 ``(1 + g, CELLS)``; ``(0, CELLS)`` without groups."""
        end = self.total.size - _bins(self.task)
        return self.total[end - _cells(self.groups) : end].reshape(-1, CELLS)

    def defined(self, metric: str) -> int:
        """At how many sites a metric is defined."""
        return round(float(self._sums()[0, self._row(metric), 0]))

    def mean(self, metric: str) -> tuple[float | None, np.ndarray]:
        """Return the mean over the sites where a metric is defined, and its replicates: over those where they are.

        Returns:
            The value, ``None`` where it is defined at no site, and float64 ``(b,)``, NaN where undefined.
        """
        return self._quotient(self._row(metric))

    def share(self, metric: str) -> tuple[float | None, np.ndarray] | None:
        """Return a metric among all sites' test patients (pairs within sites for c), and its replicates, as `mean`.

        ``None`` for a metric that is not the sites' mean weighted by size: it takes the `histogram`.
        """
        shares = _SHARES[self.task]
        return self._quotient(len(self.metrics) + shares.index(metric)) if metric in shares else None

    def _row(self, metric: str) -> int:
        if metric not in self.metrics:
            raise UsageError(f"a {self.task} outcome has no such metric")
        return self.metrics.index(metric)

    def _sums(self) -> np.ndarray:
        shape = 2, _measures(self.task), 1 + self.replicates
        return self.total[_HEAD : _HEAD + int(np.prod(shape))].reshape(shape)

    def _quotient(self, row: int) -> tuple[float | None, np.ndarray]:
        whole, total = self._sums()[:, row]
        quotient = np.divide(total, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
        return (float(quotient[0]) if whole[0] > 0 else None), quotient[1:]


def _wrong(why: str) -> UsageError:
    return UsageError(f"not a test result: {why}", hint="pass what LocalWork.evaluate returned")


def _map(value: Value) -> Mapping[str, Value]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong("a table is missing")
    return value


def _column(metric: Value, replicates: Value, number: int) -> np.ndarray:
    """Return a metric and its replicates, NaN where undefined: float64 ``(1 + number,)``."""
    column = np.full(1 + number, np.nan)
    value = _map(metric).get("value")
    if value is None:
        return column  # Replicates of what is undefined on all patients do not count either.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong("a metric is not a number")
    column[0] = value
    if replicates is not None:
        column[1:] = _array(replicates, number)
    return column


def _histogram(evaluation: Mapping[str, Value], task: Task) -> Tally:
    size = tally.size(task)
    found = evaluation.get("histogram")
    return np.zeros(size) if found is None else _array(found, size)


def _sizes(histogram: Tally, task: Task) -> Mapping[str, float]:
    # From the histogram: a site may not be free to say how many positives it has.
    if task == "survival":
        return {"c_index": float(histogram[-1])}
    negatives, positives = histogram[-2 * tally.BINS :].reshape(2, -1).sum(axis=1).tolist()
    number = negatives + positives
    return {"accuracy": number, "sensitivity": positives, "specificity": negatives, "brier": number}


def _array(value: Value, size: int) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.shape != (size,) or value.dtype.kind not in "fiu":
        raise _wrong(f"{size} numbers are not there")
    return value.astype(np.float64)

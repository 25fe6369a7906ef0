"""Is a group worse off with one model than with another? Counts of a comparison in, a verdict for each group out.

Each group and metric is one hypothesis, "the rise is at most the tolerance". All are tested together at one level by
Holm's procedure (Scandinavian Journal of Statistics 1979, 6:65-70), so that the probability of calling any group worse
off that is not stays below one minus the confidence. What is not found is no proof of absence: each verdict comes with
the rise that would have been found four times in five, at the level of Holm's first step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from sealround.errors import UsageError
from sealround.fairness import paired
from sealround.fairness.cells import (
    COMPARED,
    COMPARED_CANDIDATE,
    COMPARED_NEGATIVES,
    COMPARED_POSITIVES,
    COMPARED_REFERENCE,
    CROSS_ERROR,
    PATIENTS,
    SITES,
)
from sealround.fairness.distributions import normal_quantile, student_quantile, student_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["METRICS", "Assessment", "GateRules", "Metric", "Verdict", "assess"]

Metric: TypeAlias = Literal["fnr", "fpr", "calibration"]
Verdict: TypeAlias = Literal["worse", "not worse", "not assessable"]

METRICS: tuple[Metric, ...] = ("fnr", "fpr", "calibration")
"""The sick who are missed; the healthy who are called sick; predicted minus observed risk, in magnitude."""

_FEWEST = 2  # for a standard deviation


@dataclass(frozen=True, slots=True)
class GateRules:
    """What is tested, and what counts as found.

    Attributes:
        metrics: Which.
        tolerance: A rise up to which a group is not worse off.
        confidence: One minus the probability of any false "worse", over all groups and metrics.
        min_group: Groups of fewer patients are not assessable.
        min_sites: Groups of patients of fewer hospitals are not assessable.
        largest_undetected: A group in which a larger rise than this can go unfound is not assessable.
    """

    metrics: tuple[Metric, ...] = ("fnr", "fpr")
    tolerance: float = 0.0
    confidence: float = 0.95
    min_group: int = 11
    min_sites: int = 3
    largest_undetected: float = 0.2


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is known of one group and metric.

    Attributes:
        group: Which group.
        metric: Which metric.
        sites: How many hospitals have such patients.
        patients: How many there are.
        examples: How many examples the rate is of: the sick, the healthy, or all.
        candidate: The metric of the model that is assessed; ``None`` without examples.
        reference: Of the model it is compared with.
        rise: Candidate minus reference.
        low: One-sided lower bound of the rise, at the level of this hypothesis' step in Holm's procedure: above the
            tolerance if and only if the verdict is ``"worse"``.
        p_value: Of "the rise is at most the tolerance".
        adjusted: That, after Holm.
        detectable: The smallest rise that would have been found four times in five; ``None`` if there is none.
        verdict: The finding.
        why: Why it is not assessable, in words; else empty.
    """

    group: str
    metric: Metric
    sites: int
    patients: int
    examples: int
    candidate: float | None = None
    reference: float | None = None
    rise: float | None = None
    low: float | None = None
    p_value: float | None = None
    adjusted: float | None = None
    detectable: float | None = None
    verdict: Verdict = "not assessable"
    why: str = ""


def assess(counts: np.ndarray, names: Sequence[str], rules: GateRules) -> tuple[Assessment, ...]:
    """Test every group and metric.

    Args:
        counts: Summed over sites, float64 ``(groups, COMPARED)``; a row for everybody is a group like others.
        names: Of the groups, in that order.
        rules: What is tested, and what counts as found.

    Returns:
        An assessment for each group and metric, groups first.

    Raises:
        UsageError: If the counts are not such, or not of so many groups.
    """
    if counts.shape != (len(names), COMPARED) or not np.isfinite(counts).all():
        raise UsageError(f"not counts of a comparison of {len(names)} groups: {counts.shape}")
    tests = [_Test.of(row, metric) for row in counts for metric in rules.metrics]
    labels = [(name, metric) for name in names for metric in rules.metrics]
    blank = [_blank(label, test, rules) for label, test in zip(labels, tests, strict=True)]
    family = [index for index, found in enumerate(blank) if not found.why]
    if not family:
        return tuple(blank)
    p_values = np.array([tests[index].p_value(rules.tolerance) for index in family])
    adjusted, levels = holm(p_values, 1.0 - rules.confidence)
    first = (1.0 - rules.confidence) / len(family)
    for place, index in enumerate(family):
        test, found = tests[index], blank[index]
        worse = bool(adjusted[place] <= 1.0 - rules.confidence)
        found = replace(
            found,
            low=test.lower_bound(float(levels[place])),
            p_value=float(p_values[place]),
            adjusted=float(adjusted[place]),
            detectable=test.detectable_rise(rules.tolerance, first),
            verdict="worse" if worse else "not worse",
        )
        blank[index] = found if worse else _unless_blind(found, rules)
    return tuple(blank)


def holm(p_values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Adjust p-values so that each at or below ``level`` is rejected by Holm's step-down procedure.

    Args:
        p_values: float64 ``(m,)``.
        level: Of all together.

    Returns:
        The adjusted ones, and the level that each was tested at: ``level / m`` for the smallest, ``level / (m - 1)``
        for the next, and so on; from the first that is not rejected, that one's. A hypothesis is rejected if and only
        if its p-value is at most its level.
    """
    number = p_values.size
    order = np.argsort(p_values, kind="stable")
    scaled = np.minimum(np.maximum.accumulate(p_values[order] * (number - np.arange(number))), 1.0)
    adjusted, levels = np.empty(number), np.empty(number)
    adjusted[order] = scaled
    rejected = int(np.sum(scaled <= level))
    step = np.minimum(np.arange(number), min(rejected, number - 1))
    levels[order] = level / (number - step)
    return adjusted, levels


@dataclass(frozen=True, slots=True)
class _Test:
    """One hypothesis: counts of disagreements, or moments of the differences of errors.

    Attributes:
        row: One group's counts, float64 ``(COMPARED,)``.
        examples: How many the metric is of.
        values: The metric of candidate and reference; ``None`` without examples.
        cells: Both right, only the candidate wrong, only the reference wrong, both wrong; of calibration, unused.
        differences: Mean and standard error of s e_candidate - e_reference and of s e_candidate + e_reference, with s
            the sign of the candidate's mean; empty for a rate.
    """

    row: np.ndarray
    examples: int
    values: tuple[float, float] | None
    cells: tuple[int, int, int, int] = (0, 0, 0, 0)
    differences: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, row: np.ndarray, metric: Metric) -> _Test:
        if metric == "calibration":
            return cls._of_errors(row)
        cells = np.rint(row[COMPARED_POSITIVES if metric == "fnr" else COMPARED_NEGATIVES]).astype(int)
        number = int(cells.sum())
        if number < 1 or (cells < 0).any():
            return cls(row, 0, None)
        right, candidate, reference, both = cells.tolist()
        values = ((candidate + both) / number, (reference + both) / number)
        return cls(row, number, values, (right, candidate, reference, both))

    @classmethod
    def _of_errors(cls, row: np.ndarray) -> _Test:
        number = round(float(row[COMPARED_POSITIVES].sum() + row[COMPARED_NEGATIVES].sum()))
        if number < _FEWEST:
            return cls(row, number, None)
        (sum_c, square_c), (sum_r, square_r) = row[COMPARED_CANDIDATE], row[COMPARED_REFERENCE]
        sign = -1.0 if sum_c < 0 else 1.0
        differences = []
        for other in (1.0, -1.0):
            mean = (sign * sum_c - other * sum_r) / number
            square = square_c + square_r - 2 * sign * other * row[CROSS_ERROR]
            variance = max((square - number * mean**2) / (number - 1), 0.0)
            differences.append((float(mean), math.sqrt(variance / number)))
        values = (abs(float(sum_c)) / number, abs(float(sum_r)) / number)
        return cls(row, number, values, differences=tuple(differences))

    def p_value(self, tolerance: float) -> float:
        """For a rate see `paired`; the magnitude of a mean rose if both differences did (intersection-union)."""
        if not self.differences:
            return paired.p_value(self.cells[1], self.cells[2], self.examples, tolerance)
        return max(
            student_tail((mean - tolerance) / error, self.examples - 1) if error > 0 else float(mean <= tolerance)
            for mean, error in self.differences
        )

    def lower_bound(self, level: float) -> float:
        if not self.differences:
            return paired.lower_bound(self.cells[1], self.cells[2], self.examples, level)
        quantile = student_quantile(level, self.examples - 1)
        return min(mean - quantile * error for mean, error in self.differences)

    def detectable_rise(self, tolerance: float, level: float) -> float | None:
        if not self.differences:
            return paired.detectable_rise(self.cells[2], self.examples, tolerance, level)
        # Both differences have to be found: the one that varies more decides, were the reference well calibrated.
        error = max(error for _, error in self.differences)
        rise = tolerance + (student_quantile(level, self.examples - 1) + normal_quantile(1 - paired.POWER)) * error
        return rise if rise <= 1.0 else None


def _blank(label: tuple[str, Metric], test: _Test, rules: GateRules) -> Assessment:
    """Describe a hypothesis, with the reason why it is not tested if there is one."""
    sites, patients = round(float(test.row[SITES])), round(float(test.row[PATIENTS]))
    why = ""
    if patients < rules.min_group:
        why = f"fewer than {rules.min_group} patients"
    elif sites < rules.min_sites:
        why = f"patients of fewer than {rules.min_sites} hospitals"
    elif test.values is None:
        why = {"fnr": "nobody is sick", "fpr": "nobody is healthy", "calibration": "too few patients"}[label[1]]
    found = Assessment(*label, sites, patients, test.examples, why=why)
    if why or test.values is None:
        return found
    candidate, reference = test.values
    return replace(found, candidate=candidate, reference=reference, rise=candidate - reference)


def _unless_blind(found: Assessment, rules: GateRules) -> Assessment:
    """Call a group in which a large rise could go unfound not assessable."""
    if found.detectable is not None and found.detectable <= rules.largest_undetected:
        return found
    limit = f"{100 * rules.largest_undetected:g} percentage points"
    return replace(found, verdict="not assessable", why=f"a rise of {limit} would go unfound too often")

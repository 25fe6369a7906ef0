"""What may be said of every group: its metrics, and how far it is from everybody else.

A group of fewer patients than the minimum is not assessable, and none of its numbers is shown; nor is any group that
would tell them by subtraction. A rate of fewer is not shown either, for it would say nothing; that it could be worked
out from other groups' rates is not held against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from sealround.errors import UsageError
from sealround.fairness.cells import CELLS, CONFUSION, PATIENTS, SITES
from sealround.fairness.intervals import METRICS, difference, estimates
from sealround.fairness.suppression import equations_of, siblings_of, withheld

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from sealround.fairness.intervals import Estimate
    from sealround.fairness.suppression import Terms

__all__ = ["GroupResult", "Withheld", "describe", "largest_gap"]

Withheld: TypeAlias = Literal["", "few", "complement"]
"""Why a group is not assessable: too few patients; another's number would follow from its own."""

_NOTHING: Mapping[str, Estimate | None] = dict.fromkeys(METRICS)


@dataclass(frozen=True, slots=True)
class GroupResult:
    """One group, or everybody.

    Attributes:
        patients: How many; ``None`` where it is not assessable.
        sites: At how many sites; ``None`` where it is not assessable.
        positives: How many examples have the outcome; ``None`` where these, or the others, are fewer than the minimum.
        withheld: Why it is not assessable; empty if it is.
        metrics: By name; ``None`` where there is nobody to measure it on, or too few.
        gaps: Of each metric, this group minus all others of the same columns; ``None`` where either is not known.
    """

    patients: int | None
    sites: int | None
    positives: int | None
    withheld: Withheld
    metrics: Mapping[str, Estimate | None]
    gaps: Mapping[str, Estimate | None]


def describe(counts: np.ndarray, groups: Sequence[Terms], confidence: float, min_group: int) -> tuple[GroupResult, ...]:
    """Return what may be said of everybody and of each group.

    Args:
        counts: Summed over sites, float64 ``(1 + g, CELLS)``.
        groups: Levels of columns, and pairs of them, in that order.
        confidence: Of two-sided intervals.
        min_group: Fewest patients of a group that is assessable.

    Raises:
        UsageError: If the counts are not of such groups.
    """
    if counts.shape != (1 + len(groups), CELLS):
        raise UsageError(f"not counts of {len(groups)} groups: {counts.shape}")
    patients = counts[:, PATIENTS]
    few = patients < min_group
    hidden = few | withheld(patients, equations_of(groups), min_group)
    siblings = siblings_of(groups)
    known = [_known(row, confidence, min_group) for row in counts]
    results = []
    for index, row in enumerate(counts):
        if hidden[index]:
            results.append(GroupResult(None, None, None, "few" if few[index] else "complement", _NOTHING, _NOTHING))
            continue
        gaps = _NOTHING
        if index:
            # Who has no level of these columns is in none of their groups.
            others = _known(counts[1:][siblings[index - 1]].sum(axis=0), confidence, min_group)
            gaps = {name: _difference(known[index][name], others[name]) for name in METRICS}
        sick, healthy, _ = _sizes(row)
        results.append(
            GroupResult(
                patients=round(float(patients[index])),
                sites=round(float(row[SITES])),
                positives=round(sick) if min(sick, healthy) >= min_group else None,
                withheld="",
                metrics=known[index],
                gaps=gaps,
            )
        )
    return tuple(results)


def largest_gap(results: Sequence[GroupResult], metric: str) -> int | None:
    """Return which result is worse off than others by the most; ``None`` if no gap is known.

    Worse is a higher error rate, a lower AUROC or predictive value, and a calibration error that differs by more.
    """
    gaps = [(index, result.gaps[metric]) for index, result in enumerate(results)]
    sizes = {index: _harm(metric, gap.value) for index, gap in gaps if gap is not None}
    return max(sizes, key=lambda index: sizes[index]) if sizes else None


def _harm(metric: str, gap: float) -> float:
    if metric == "calibration":
        return abs(gap)
    return -gap if metric in ("ppv", "auroc") else gap


def _sizes(row: np.ndarray) -> tuple[float, float, float]:
    """How many are sick, healthy, and called sick."""
    negative_right, negative_wrong, positive_wrong, positive_right = row[CONFUSION].tolist()
    return positive_wrong + positive_right, negative_right + negative_wrong, negative_wrong + positive_right


def _known(row: np.ndarray, confidence: float, minimum: int) -> dict[str, Estimate | None]:
    """Measure a group; ``None`` where too few are."""
    sick, healthy, called = _sizes(row)
    of = {"fnr": sick, "fpr": healthy, "ppv": called, "calibration": sick + healthy, "auroc": min(sick, healthy)}
    found = estimates(row, confidence)
    return {name: found[name] if of[name] >= minimum else None for name in METRICS}


def _difference(first: Estimate | None, second: Estimate | None) -> Estimate | None:
    return None if first is None or second is None else difference(first, second)

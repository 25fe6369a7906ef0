"""How well scores tell members from others: the judge, who knows who was a member.

=====================  ================================================================================================
Figure                 Interval (95 % unless another confidence is asked for)
=====================  ================================================================================================
TPR at a stated FPR    exact: the threshold is an order statistic of the others' scores, whose true FPR is itself
                       uncertain. Lower end: Clopper and Pearson's at a threshold whose FPR is below the stated one,
                       upper end: at one whose FPR is above; each of the four statements at a quarter of the level
AUC                    Newcombe's for the Mann-Whitney statistic
balanced accuracy      mean of Clopper and Pearson's for TPR and TNR, each at half the level; the threshold that is
                       judged on one half of the patients was chosen on the other
=====================  ================================================================================================

Few others show little at low FPR: of m others the lower end at 1 % can only be above 0 from m = 437 on, at 0.1 % from
m = 4380 on. That is no evidence that nothing leaks.

Each patient's posterior is that of a fair coin (prior 1/2) once the score is seen: monotone in the score, fitted on one
half of the patients and read for the other. The worst-off member's is the largest of many, so that chance alone makes
it large: `worst_by_chance` says how large, from the same reckoning with members drawn anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.inversion.intervals import clopper_pearson
from sealround.errors import UsageError
from sealround.fairness import intervals
from sealround.fairness.distributions import binomial_tail

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FALSE_POSITIVE_RATES", "MembershipResult", "Rate", "area_under_curve", "judge"]

FALSE_POSITIVE_RATES = (0.001, 0.01)
"""At which the true-positive rate is reported."""

_LEAST_EACH = 4
_POINTS = 200
_REDRAWN = 99


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its interval, and what guessing reaches.

    Attributes:
        value: As seen.
        low: Lower end.
        high: Upper end.
        chance: Of guesses.
    """

    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True, slots=True, eq=False)
class MembershipResult:
    """What an attack tells of who was a member.

    Attributes:
        members: How many members were judged.
        others: How many others.
        auc: Area under the ROC curve; 1/2 is guessing.
        tpr: True-positive rate at each of `FALSE_POSITIVE_RATES`.
        balanced_accuracy: Mean of TPR and TNR.
        roc: False- and true-positive rates, ``(2, points)``, ascending, at most 200 points, close together at low FPR.
        posterior: Of each patient, as ordered in the scores, that it is a member, at prior 1/2, ``(n,)``.
        worst: The largest posterior of a member.
        worst_patient: Whose it is: ordinal among all who were judged, from 1.
        worst_by_chance: What `worst` of an attack that knows nothing stays below in nineteen of twenty cases.
    """

    members: int
    others: int
    auc: Rate
    tpr: dict[float, Rate]
    balanced_accuracy: Rate
    roc: np.ndarray
    posterior: np.ndarray
    worst: float
    worst_patient: int
    worst_by_chance: float


def judge(
    scores: np.ndarray, member: np.ndarray, draw: np.random.Generator, confidence: float = 0.95
) -> MembershipResult:
    """Return how well scores tell members from others.

    Args:
        scores: Higher for patients who look like members, ``(n,)``.
        member: Who is one, bool ``(n,)``.
        draw: For what chance gives.
        confidence: Of each interval.

    Raises:
        UsageError: If shapes differ, a score is NaN, or there are fewer than four members or four others.
    """
    if scores.shape != member.shape or scores.ndim != 1 or member.dtype != np.bool_:
        raise UsageError(f"{scores.shape} scores do not fit {member.shape} members of type {member.dtype}")
    if np.isnan(scores).any():
        raise UsageError("a score is not a number")
    ins, outs = np.sort(scores[member])[::-1], np.sort(scores[~member])[::-1]
    if min(len(ins), len(outs)) < _LEAST_EACH:
        raise UsageError(
            f"{len(ins)} members and {len(outs)} others cannot be told apart", hint="judge at least four of each"
        )
    _, rank = np.unique(scores, return_inverse=True)  # Ranks are finite where scores are not.
    posterior = _posteriors(rank, member)
    worst = int(np.where(member, posterior, -1.0).argmax())
    redrawn = [_worst_of(rank, draw.permutation(member)) for _ in range(_REDRAWN)]
    return MembershipResult(
        members=len(ins),
        others=len(outs),
        auc=_auc(rank, member, confidence),
        tpr={rate: _tpr_at(ins, outs, rate, confidence) for rate in FALSE_POSITIVE_RATES},
        balanced_accuracy=_balanced_accuracy(rank, member, confidence),
        roc=_roc(ins, outs),
        posterior=posterior,
        worst=float(posterior[worst]),
        worst_patient=worst + 1,
        worst_by_chance=float(np.sort(redrawn)[math.ceil(0.95 * (_REDRAWN + 1)) - 1]),
    )


# --- rates ------------------------------------------------------------------------------------------------------------


def area_under_curve(scores: np.ndarray, positive: np.ndarray, confidence: float = 0.95) -> Rate:
    """Return how often a positive scores higher than a negative, ties half, with Newcombe's interval.

    Args:
        scores: ``(n,)``, not NaN.
        positive: bool ``(n,)``, some and not all.
        confidence: Of the interval.
    """
    _, rank = np.unique(scores, return_inverse=True)
    return _auc(rank, positive, confidence)


def _auc(rank: np.ndarray, member: np.ndarray, confidence: float) -> Rate:
    size = int(rank.max()) + 1
    found = intervals.auroc(
        np.bincount(rank[~member], minlength=size).astype(np.float64),
        np.bincount(rank[member], minlength=size).astype(np.float64),
        confidence,
    )
    assert found is not None  # noqa: S101  (for the type checker: both classes are there)
    return Rate(found.value, found.low, found.high, 0.5)


def _tpr_at(ins: np.ndarray, outs: np.ndarray, rate: float, confidence: float) -> Rate:
    """Return the share of members above the highest threshold with at most this share of others above it."""
    part = (1.0 - confidence) / 4.0
    value = _above(ins, outs, math.floor(rate * len(outs) + 1e-9)) / len(ins)
    # The FPR of a threshold at the j-th highest of m others is at most that of P(Beta(j, m - j + 1) > ·): below
    # `rate` with probability P(Binomial(m, rate) >= j).
    strict = _largest(lambda j: binomial_tail(j, len(outs), rate) >= 1.0 - part, len(outs))
    loose = _largest(lambda j: binomial_tail(j, len(outs), rate) > part, len(outs)) + 1
    low = clopper_pearson(_above(ins, outs, strict - 1), len(ins), 1.0 - 2.0 * part)[0] if strict else 0.0
    high = 1.0
    if loose <= len(outs):
        high = clopper_pearson(int(np.count_nonzero(ins >= outs[loose - 1])), len(ins), 1.0 - 2.0 * part)[1]
    return Rate(value, min(low, value), max(high, value), rate)


def _above(ins: np.ndarray, outs: np.ndarray, passed: int) -> int:
    """How many members are above the highest other that must not pass, where ``passed`` others may."""
    return len(ins) if passed >= len(outs) else int(np.count_nonzero(ins > outs[passed]))


def _largest(holds: Callable[[int], bool], most: int) -> int:
    """Return the largest j within 0..most of which a statement that holds up to some number does; it does of 0."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def _roc(ins: np.ndarray, outs: np.ndarray) -> np.ndarray:
    """Return the curve at all thresholds, or at 200 of them that are spread evenly over the log of the FPR."""
    thresholds = np.unique(np.concatenate([ins, outs]))[::-1]
    false = np.searchsorted(-outs, -thresholds, side="right") / len(outs)
    true = np.searchsorted(-ins, -thresholds, side="right") / len(ins)
    # Of thresholds with the same FPR, the lowest.
    kept = np.flatnonzero(np.diff(false, append=np.inf))
    curve = np.array([np.append(0.0, false[kept]), np.append(0.0, true[kept])])
    if curve.shape[1] > _POINTS:
        wanted = np.geomspace(1.0 / len(outs), 1.0, _POINTS - 1)
        chosen = np.unique(np.append(0, np.searchsorted(curve[0], wanted * (1.0 - 1e-12))))
        curve = curve[:, chosen]
    return curve


# --- decisions that are judged on other patients than they were made on -----------------------------------------------


def _halves(member: np.ndarray) -> np.ndarray:
    """Return which half each patient is in: every other member, and every other of the others, in their order."""
    half = np.empty(len(member), dtype=np.int64)
    for mine in (member, ~member):
        half[mine] = np.arange(int(mine.sum())) % 2
    return half


def _balanced_accuracy(rank: np.ndarray, member: np.ndarray, confidence: float) -> Rate:
    half = _halves(member)
    called = np.empty(len(rank), dtype=np.bool_)
    for one in (0, 1):
        chosen = half == one
        ins, outs = np.sort(rank[chosen & member]), np.sort(rank[chosen & ~member])
        thresholds = np.append(np.unique(rank[chosen]), rank.max() + 1)
        true = 1.0 - np.searchsorted(ins, thresholds) / len(ins)
        false = 1.0 - np.searchsorted(outs, thresholds) / len(outs)
        called[~chosen] = rank[~chosen] >= thresholds[int((true - false).argmax())]
    right_in, right_out = int((called & member).sum()), int((~called & ~member).sum())
    ins_total, outs_total = int(member.sum()), int((~member).sum())
    each = (1.0 + confidence) / 2.0
    low_in, high_in = clopper_pearson(right_in, ins_total, each)
    low_out, high_out = clopper_pearson(right_out, outs_total, each)
    value = (right_in / ins_total + right_out / outs_total) / 2.0
    return Rate(value, (low_in + low_out) / 2.0, (high_in + high_out) / 2.0, 0.5)


def _posteriors(rank: np.ndarray, member: np.ndarray) -> np.ndarray:
    half = _halves(member)
    found = np.empty(len(rank))
    for one in (0, 1):
        chosen = half == one
        edges, values = _isotonic(rank[chosen], member[chosen])
        found[~chosen] = values[np.maximum(np.searchsorted(edges, rank[~chosen], side="right") - 1, 0)]
    return found


def _worst_of(rank: np.ndarray, member: np.ndarray) -> float:
    return float(_posteriors(rank, member)[member].max())


def _isotonic(rank: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest rank of each block, and its posterior at prior 1/2 with half a patient of each kind added.

    Blocks are those of the isotonic regression of membership on the score (pool adjacent violators; Ayer et al. 1955),
    which are the sides of the ROC curve's convex hull.
    """
    edges, place = np.unique(rank, return_inverse=True)
    ins = np.bincount(place, member).tolist()
    outs = np.bincount(place, ~member).tolist()
    blocks: list[tuple[int, float, float]] = []
    for start, (yes, no) in enumerate(zip(ins, outs, strict=True)):
        first = start
        # The block before has at least this one's share of members: the two are one.
        while blocks and blocks[-1][1] * no >= yes * blocks[-1][2]:
            first, more_yes, more_no = blocks.pop()
            yes, no = yes + more_yes, no + more_no  # noqa: PLW2901  (the block grows)
        blocks.append((first, yes, no))
    starts, yes_all, no_all = (np.array(column) for column in zip(*blocks, strict=True))
    inside = (yes_all + 0.5) / (member.sum() + 1.0)
    outside = (no_all + 0.5) / ((~member).sum() + 1.0)
    return edges[starts], inside / (inside + outside)

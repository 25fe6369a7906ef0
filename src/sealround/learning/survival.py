"""Survival: Harrell's c-index, on one sample or many weighted resamples, and Kaplan-Meier curves by predicted risk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealround.vocabulary import Labels, Rows
    from sealround.wire import Value

__all__ = ["c_index", "comparable_pairs", "kaplan_meier", "risk_groups"]

_CHUNK = 1 << 22
_CURVE_POINTS = 60
_GROUPS = ("low", "middle", "high")


def comparable_pairs(time: Labels, event: Labels, score: Labels) -> tuple[float, float, float]:
    """Count concordant, tied and comparable pairs (Harrell et al. 1982).

    A pair is comparable if we know who lived longer: the earlier time is an event and the other is later, or censored
    at the same time. It is concordant if the one who died first had the higher score, tied if the scores are equal.

    Args:
        time: Time to event or censoring, ``(n,)``.
        event: Whether the event happened, ``(n,)``.
        score: Predicted risk in any monotone unit, ``(n,)``.

    Returns:
        The three counts.
    """
    counts = np.zeros(3)
    for rows, longer in _blocks(time, event):
        higher = score[rows, None] > score
        equal = score[rows, None] == score
        counts += [np.count_nonzero(pairs) for pairs in (higher & longer, equal & longer, longer)]
    return float(counts[0]), float(counts[1]), float(counts[2])


def c_index(time: Labels, event: Labels, score: Labels, weights: np.ndarray) -> np.ndarray:
    """Compute Harrell's c, concordant pairs plus half of the tied over comparable ones, on every weighted sample.

    Args:
        time: As in `comparable_pairs`.
        event: As in `comparable_pairs`.
        score: As in `comparable_pairs`.
        weights: How often each example is in each sample, float64 ``(b, n)``.

    Returns:
        float64 ``(b,)``, NaN where no pair is comparable. O(b n^2) multiplications, in matrix products.
    """
    # Counts of pairs with one member are whole and half numbers below 2**23: exact in float32, in any order of summing.
    weights = weights.astype(np.float32)
    agreeing = np.zeros(weights.shape[0])
    comparable = np.zeros(weights.shape[0])
    for rows, longer in _blocks(time, event):
        right = np.float32(0.5) * (score[rows, None] == score) + (score[rows, None] > score)
        own = weights[:, rows].astype(np.float64)
        agreeing += np.einsum("bi,bi->b", own, weights @ (right * longer).T)
        comparable += np.einsum("bi,bi->b", own, weights @ longer.T.astype(np.float32))
    return np.divide(agreeing, comparable, out=np.full_like(agreeing, np.nan), where=comparable > 0)


def _blocks(time: Labels, event: Labels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield some who had the event, int64 ``(m,)``, and who is known to have lived longer, bool ``(m, n)``."""
    died = np.flatnonzero(event > 0)
    for rows in np.array_split(died, max(1, -(-died.size * time.size // _CHUNK))):
        at = time[rows, None]
        yield rows, (time > at) | ((time == at) & (event == 0))


def kaplan_meier(time: Labels, event: Labels, at: np.ndarray) -> np.ndarray:
    """Estimate the share that has not had the event by each time in ``at`` (Kaplan and Meier 1958), float64."""
    moments, index = np.unique(time, return_inverse=True)
    events = np.bincount(index, weights=event, minlength=moments.size)
    leaving = np.bincount(index, minlength=moments.size)
    at_risk = np.cumsum(leaving[::-1])[::-1]
    survival = np.concatenate(([1.0], np.cumprod(1.0 - events / at_risk)))
    return survival[np.searchsorted(moments, at, side="right")]


def risk_groups(time: Labels, event: Labels, score: Labels, patient: Rows, min_count: int) -> list[dict[str, Value]]:
    """Return Kaplan-Meier curves of the lower, middle and upper third of predicted risk.

    Curves are read off on a grid, not where they step, which is where single patients died; and each ends where fewer
    than ``min_count`` patients of its group are still observed. A smaller group is left out.

    Args:
        time: As in `comparable_pairs`.
        event: As in `comparable_pairs`.
        score: As in `comparable_pairs`.
        patient: Whom each example is about, int64 ``(n,)``.
        min_count: Smallest number of patients shown.

    Returns:
        ``group``, ``time`` and ``survival`` for each group.
    """
    followed = _follow_up(time, patient)
    if followed.size < max(min_count, 1):
        return []
    end = _round_down(float(followed[-max(min_count, 1)]))
    grid = np.linspace(0.0, end, _CURVE_POINTS + 1)
    third = np.searchsorted(np.quantile(score, [1 / 3, 2 / 3]), score, side="left")
    curves: list[dict[str, Value]] = []
    for number, name in enumerate(_GROUPS):
        member = third == number
        observed = _follow_up(time[member], patient[member])
        shown = grid[observed.size - np.searchsorted(observed, grid, side="left") >= min_count]
        if shown.size:
            survival = kaplan_meier(time[member], event[member], shown)
            curves.append({"group": name, "time": shown.tolist(), "survival": survival.tolist()})
    return curves


def _follow_up(time: Labels, patient: Rows) -> np.ndarray:
    """Return how long each patient is observed, from the shortest to the longest."""
    found, index = np.unique(patient, return_inverse=True)
    longest = np.zeros(found.size)
    np.maximum.at(longest, index, time)
    return np.sort(longest)


def _round_down(number: float) -> float:
    """Round down to two digits, so that the axis does not end at a patient's time."""
    if number <= 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(number)) - 1)
    return float(np.floor(number / unit) * unit)

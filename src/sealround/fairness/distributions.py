"""Tails of three distributions, from the standard library and numpy alone."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "binomial_tail",
    "bisect",
    "log_factorials",
    "normal_quantile",
    "normal_tail",
    "student_quantile",
    "student_tail",
]

_NORMAL = NormalDist()
_STEPS = 45
_FARTHEST = 1000.0
_MAX_TERMS = 400


def normal_tail(z: float) -> float:
    """P(Z >= z), without cancellation far out."""
    return math.erfc(z / math.sqrt(2)) / 2


def normal_quantile(tail: float) -> float:
    """Return z with P(Z >= z) = ``tail``, which is within 0..1 and neither."""
    return -_NORMAL.inv_cdf(tail)


def log_factorials(n: int) -> np.ndarray:
    """Return log 0!, log 1!, ..., log n!, float64 ``(n + 1,)``."""
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))


def binomial_tail(k: int, n: int, p: float = 0.5) -> float:
    """P(X >= k) for X binomial with ``n`` trials of probability ``p``, within 0..1 and neither, summed exactly."""
    if k <= 0:
        return 1.0
    if k > n:
        return 0.0
    terms = np.arange(k, n + 1)
    logs = log_factorials(n)
    return min(
        1.0,
        float(
            np.exp(logs[n] - logs[terms] - logs[n - terms] + terms * math.log(p) + (n - terms) * math.log1p(-p)).sum()
        ),
    )


def student_tail(t: float, freedom: float) -> float:
    """P(T >= t) for Student's t with so many degrees of freedom (more than 0)."""
    half = _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2
    return half if t > 0 else 1.0 - half


@lru_cache(maxsize=1024)
def student_quantile(tail: float, freedom: float) -> float:
    """Return t with P(T >= t) = ``tail``, no further from 0 than 1000."""
    return bisect(lambda t: tail - student_tail(t, freedom), -_FARTHEST, _FARTHEST)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if not 0.0 < x < 1.0:
        return float(x >= 1.0)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast below
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    # From the last term to the first: 1 / (1 + d1 / (1 + d2 / (1 + ...))).
    fraction = 1.0
    for index in range(_MAX_TERMS, 0, -1):
        m = index // 2
        if index % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        fraction = 1.0 + d / fraction
    return front / (a * fraction)


def bisect(rises: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that rises (not necessarily strictly) crosses 0; an end where it does not."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if rises(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2

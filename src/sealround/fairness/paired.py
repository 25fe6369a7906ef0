"""Two models on the same patients: by how much does one err more often, at least, and what rise would be found?

Of n patients the candidate alone is wrong about b, the reference alone about c. The rise of the error rate is
D = (b - c) / n. Its p-value, for "D is at most the tolerance", is the larger of two:

- exact and conditional on b + c, for "no rise" (McNemar 1947: b is then binomial with probability 1/2), which holds its
  level whatever n is;
- Tango's score test for "a rise of the tolerance" (Tango, Statistics in Medicine 1998, 17:891-908, equations 7 to 11),
  which is asymptotic.

So without a tolerance the test is the exact one. The lower bound is where the p-value crosses the level: Tango's, but
none above 0 where the exact test sees no rise.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from sealround.fairness.distributions import (
    binomial_tail,
    bisect,
    log_factorials,
    normal_quantile,
    normal_tail,
)

__all__ = ["POWER", "detectable_rise", "lower_bound", "p_value", "tango"]

POWER = 0.8
"""Probability with which a rise of the detectable size is found."""

_LARGEST_EXACT = 200
_NEARLY_ONE = 1.0 - 1e-9


def tango(b: float, c: float, number: int, rise: float) -> float:
    """Return Tango's score statistic for a rise, standard normal if it is the true one.

    Args:
        b: About how many only the candidate is wrong.
        c: About how many only the reference is wrong.
        number: n, at least 1.
        rise: Within -1..1 and neither.

    Returns:
        The statistic; 0 where b = c = 0 and the rise is 0.
    """
    variance = _variance(b, c, number, rise)
    return (b - c - number * rise) / math.sqrt(variance) if variance > 0 else 0.0


def _variance(b: float, c: float, number: int, rise: float) -> float:
    """Variance of b - c under a rise, with the most likely probability that only the reference is wrong."""
    linear = -b - c + (2 * number - b + c) * rise
    constant = -c * rise * (1 - rise)
    likely = (math.sqrt(max(linear**2 - 8 * number * constant, 0.0)) - linear) / (4 * number)
    return max(number * (2 * likely + rise * (1 - rise)), 0.0)


def p_value(only_candidate: int, only_reference: int, number: int, tolerance: float) -> float:
    """Return the probability of a rise this large or larger, were the true one the tolerance.

    Args:
        only_candidate: About how many only the candidate is wrong.
        only_reference: About how many only the reference is.
        number: Of how many, at least 1.
        tolerance: At least 0, less than 1.
    """
    exact = binomial_tail(only_candidate, only_candidate + only_reference)
    if tolerance <= 0:
        return exact
    return max(exact, normal_tail(tango(only_candidate, only_reference, number, tolerance)))


def lower_bound(only_candidate: int, only_reference: int, number: int, level: float) -> float:
    """Return the one-sided lower bound of the rise: every smaller one has a p-value of ``level`` or less."""
    z = normal_quantile(level)
    bound = bisect(lambda rise: z - tango(only_candidate, only_reference, number, rise), -_NEARLY_ONE, _NEARLY_ONE)
    return bound if binomial_tail(only_candidate, only_candidate + only_reference) <= level else min(bound, 0.0)


@lru_cache(maxsize=4096)
def detectable_rise(only_reference: int, number: int, tolerance: float, level: float) -> float | None:
    """Return the smallest rise found with a probability of `POWER` among so many patients; ``None`` if there is none.

    Args:
        only_reference: About how many only the reference is wrong: how often the models differ where nobody is harmed,
            estimated as (c + 1/2) / (n + 1).
        number: Of how many.
        tolerance: As of `p_value`.
        level: Of the test.

    Up to 200 patients every outcome is enumerated; beyond, the normal approximation of the score test is used.
    """
    other = (only_reference + 0.5) / (number + 1)
    largest = 1.0 - 2 * other
    if largest <= tolerance:
        return None
    if number <= _LARGEST_EXACT:
        critical = _critical(number, tolerance, level)

        def missing(rise: float) -> float:
            return _power(critical, other + rise, other) - POWER
    else:

        def missing(rise: float) -> float:
            return _approximate_power(number, tolerance, level, (other, rise)) - POWER

    if missing(largest * _NEARLY_ONE) < 0:
        return None
    return bisect(missing, tolerance, largest)


@lru_cache(maxsize=256)
def _critical(number: int, tolerance: float, level: float) -> tuple[int, ...]:
    """For 0 to n patients about whom the models differ, the smallest b that is found; one more than all if none is."""
    logs, z, found = log_factorials(number), normal_quantile(level), []
    for differing in range(number + 1):
        b = np.arange(differing + 1)
        chance = np.exp(logs[differing] - logs[b] - logs[differing - b] - differing * math.log(2))
        least = differing + 1 - int(np.sum(np.cumsum(chance[::-1]) <= level))
        # The score rises with b as well.
        while tolerance > 0 and least <= differing and tango(least, differing - least, number, tolerance) < z:
            least += 1
        found.append(least)
    return tuple(found)


def _power(critical: tuple[int, ...], candidate: float, reference: float) -> float:
    """Probability that b reaches its critical value, where each model alone is wrong with these probabilities."""
    number = len(critical) - 1
    logs = log_factorials(number)
    differing, b = np.tril_indices(number + 1)
    there = b >= np.array(critical)[differing]
    differing, b = differing[there], b[there]
    c, same = differing - b, number - differing
    neither = max(1.0 - candidate - reference, 1e-300)
    log_chance = (
        logs[number] - logs[b] - logs[c] - logs[same]
        + b * math.log(candidate) + c * math.log(reference) + same * math.log(neither)
    )  # fmt: skip
    return float(np.exp(log_chance).sum())


def _approximate_power(number: int, tolerance: float, level: float, truth: tuple[float, float]) -> float:
    other, rise = truth
    variance = _variance(number * (other + rise), number * other, number, tolerance)
    # One more: among so many about whom the models differ, b - c goes in steps of two.
    needed = normal_quantile(level) * math.sqrt(variance) + 1
    spread = math.sqrt(number * max(2 * other + rise - rise**2, 1e-300))
    return normal_tail((needed - number * (rise - tolerance)) / spread)

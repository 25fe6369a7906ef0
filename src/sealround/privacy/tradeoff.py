"""What privacy means to an attacker who guesses whether one patient was there.

Whoever sees everything that was released tests "the patient was not there" (if the relation is replace-one: "somebody
else was, instead") against "was there". With a false-positive rate of alpha, the false-negative rate is at least
f(alpha), the trade-off function (Dong, Roth, Su, JRSSB 2022). An (epsilon, delta) says (Wasserman and Zhou, JASA 2010)

    f(alpha) = max(0, 1 - delta - e^epsilon alpha, e^-epsilon (1 - delta - alpha)),

and events say the largest of these over all epsilon with the delta that each has.

Guarantee: no attack does better, whatever else it knows.
Assumes: what `sealround.privacy.accounting` assumes.
Not covered: what is learned about a patient from what is true of everybody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import UsageError
from sealround.privacy.accounting import LARGEST_EPSILON, SMALLEST_DELTA, delta_of, epsilon_of, profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.privacy.events import NeighboringRelation, PrivacyEvent

__all__ = ["Guarantee", "max_true_positive_rate", "membership_advantage", "posterior", "tradeoff_curve"]

_EPSILONS = 1024
_SMALLEST_RATE = 1e-6


@dataclass(frozen=True, slots=True)
class Guarantee:
    """One (epsilon, delta), where nothing else is known.

    Attributes:
        epsilon: Finite, at least 0.
        delta: Within 0..1.

    Raises:
        UsageError: If a number is not one of these.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        """Refuse what guarantees nothing one could write down."""
        if not 0.0 <= self.epsilon < math.inf:
            raise UsageError(f"epsilon is {self.epsilon:g}, and not finite and at least 0")
        if not 0.0 <= self.delta <= 1.0:
            raise UsageError(f"delta is {self.delta:g}, and not within 0..1")


def tradeoff_curve(
    known: Sequence[PrivacyEvent] | Guarantee, relation: NeighboringRelation, points: int = 201
) -> tuple[np.ndarray, np.ndarray]:
    """Return the trade-off function, for a plot.

    Args:
        known: What was released, or a guarantee.
        relation: Whom nobody can tell apart; of a guarantee it is part already.
        points: How many, at least 4.

    Returns:
        False-positive rates, float64 ``(points,)``, rising from 0 to 1 and dense towards 0; and the least
        false-negative rate at each, float64 ``(points,)``, falling.

    Raises:
        UsageError: If there are fewer than four points.
        UnsupportedError: If dp-accounting is not installed.
    """
    if points < 4:  # noqa: PLR2004  (two ends and a point in each half)
        raise UsageError(f"a curve of {points} points is none", hint="ask for 4 or more")
    small = (points - 1) // 2
    rates = np.concatenate(([0.0], np.geomspace(_SMALLEST_RATE, 0.1, small), np.linspace(0.1, 1.0, points - small)[1:]))
    return rates, _false_negatives(known, relation, rates)


def max_true_positive_rate(
    known: Sequence[PrivacyEvent] | Guarantee, relation: NeighboringRelation, false_positive_rate: float
) -> float:
    """Return how often at the most an attacker finds a patient who was there, who errs so rarely about one who was not.

    Args:
        known: What was released, or a guarantee.
        relation: As of `tradeoff_curve`.
        false_positive_rate: alpha, within 0..1.

    Returns:
        1 - f(alpha).

    Raises:
        UsageError: If the rate is out of range.
        UnsupportedError: If dp-accounting is not installed.
    """
    if not 0.0 <= false_positive_rate <= 1.0:
        raise UsageError(f"false_positive_rate is {false_positive_rate:g}, and not within 0..1")
    return 1.0 - float(_false_negatives(known, relation, np.array([false_positive_rate]))[0])


def membership_advantage(known: Sequence[PrivacyEvent] | Guarantee, relation: NeighboringRelation) -> float:
    """Return the largest true-positive rate minus false-positive rate of any attack.

    Args:
        known: What was released: the advantage is its delta at an epsilon of 0, the total variation. Or a guarantee:
            (e^epsilon - 1 + 2 delta) / (e^epsilon + 1) (Humphries et al., CSF 2023).
        relation: As of `tradeoff_curve`.

    Returns:
        Within 0..1.

    Raises:
        UnsupportedError: If dp-accounting is not installed.
    """
    if not isinstance(known, Guarantee):
        return delta_of(known, 0.0, relation)
    return math.tanh(known.epsilon / 2) + known.delta * (1.0 - math.tanh(known.epsilon / 2))


def posterior(prior: float, epsilon: float) -> float:
    """Return the most an attacker can come to believe that a patient was there.

    Odds grow by e^epsilon at the most: prior e^epsilon / (1 - prior + prior e^epsilon). With a delta that is so but for
    a small probability (Kasiviswanathan and Smith 2014).

    Args:
        prior: What the attacker believed before, within 0..1.
        epsilon: At least 0; may be infinite.

    Raises:
        UsageError: If a number is out of range.
    """
    if not 0.0 <= prior <= 1.0:
        raise UsageError(f"prior is {prior:g}, and not within 0..1")
    if not epsilon >= 0.0:
        raise UsageError(f"epsilon is {epsilon:g}, and not at least 0")
    return prior / (prior + (1.0 - prior) * math.exp(-epsilon)) if prior > 0.0 else 0.0


def _false_negatives(
    known: Sequence[PrivacyEvent] | Guarantee, relation: NeighboringRelation, rates: np.ndarray
) -> np.ndarray:
    """The trade-off function at each rate: the largest of the bounds of a family of guarantees."""
    if isinstance(known, Guarantee):
        epsilons, deltas = np.array([known.epsilon]), np.array([known.delta])
    else:
        epsilons, deltas = _family(tuple(known), relation)
    rates, left = rates[:, None], 1.0 - deltas
    # e^epsilon alpha may overflow, and is then more than 1 as it should be.
    with np.errstate(over="ignore", invalid="ignore"):
        steep = np.where(rates > 0.0, left - np.exp(epsilons) * rates, left)
    flat = np.exp(-epsilons) * (left - rates)
    return np.asarray(np.clip(np.maximum(steep, flat).max(axis=1), 0.0, 1.0))


@lru_cache(maxsize=64)
def _family(events: tuple[PrivacyEvent, ...], relation: NeighboringRelation) -> tuple[np.ndarray, np.ndarray]:
    """Guarantees from an epsilon of 0 to where delta is next to nothing; between two, the curve is nearly straight."""
    largest = min(epsilon_of(events, SMALLEST_DELTA, relation), LARGEST_EPSILON)
    epsilons = np.linspace(0.0, largest, _EPSILONS)
    return epsilons, profile(events, epsilons, relation)

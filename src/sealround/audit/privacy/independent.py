"""The sharpest test of one run, for sums whose noise is claimed to be independent in every direction.

`one_run` and `f_dp` hold for any training that keeps its claim, also for one that draws a privacy loss once and shows
every coin with just that loss. Such training keeps a Gaussian curve, and guesses far too many coins rather often: for
mu = 1 and 1000 canaries, 870 or more with a probability of 0.09, of which `f_dp.p_value` says 0.20 at most. So these
two cannot be much sharper, and only find what is very wrong.

Noised sums claim more. Where canary i is coordinate i, noise is independent in every coordinate and patients are
sampled independently, each coin guessed from its own score, by a threshold that knows nothing of it, is right
independently of the others, with a probability of (1 + delta(0)) / 2 at most: delta(0) is the total variation between a
run with one patient and one without. The number of right guesses is then binomial at most, and a few in a hundred too
many among a thousand show.

The threshold is the best for canaries 0, 2, 4, ...; the others are guessed with it and counted.

Guarantee: a mechanism as claimed is refuted with a probability of 1 - confidence at most.
Assumes: axes as directions; what other patients add in these coordinates depends neither on coins nor on earlier sums.
Not covered: a claim of privacy alone. What is refuted is the mechanism: its noise, its clipping or its sampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaincinv, ndtri

from sealround.audit.privacy.f_dp import epsilon_of_mu
from sealround.audit.privacy.one_run import check_counts, check_level
from sealround.errors import UsageError

__all__ = ["AccuracyBound", "audit", "p_value"]

_FEWEST = 2


@dataclass(frozen=True, slots=True)
class AccuracyBound:
    """What one run shows, with this confidence, if guesses are independent: coins are guessed at least as well as this.

    Attributes:
        accuracy: The lower bound on the probability that a guess is right; 1/2 where nothing was shown. A mechanism
            with a smaller (1 + delta(0)) / 2 is refuted.
        mu: The smallest mu of Gaussian privacy that allows it.
        epsilon: What mu is at delta; of a mechanism whose curve is not Gaussian, no more than an orientation.
        delta: At which.
        confidence: Of the bound.
        guesses: How many were made and counted.
        correct: v, the right ones.
        threshold: Of scores, guessed to be in above it.
    """

    accuracy: float
    mu: float
    epsilon: float
    delta: float
    confidence: float
    guesses: int
    correct: int
    threshold: float


def p_value(guesses: int, correct: int, delta_at_zero: float) -> float:
    """Return a bound on the probability of so many right guesses or more, were the mechanism the claimed one.

    Args:
        guesses: At least 1.
        correct: Right ones.
        delta_at_zero: The claimed delta at epsilon = 0, within 0..1.

    Raises:
        UsageError: If a number is out of range.
    """
    check_counts(guesses, guesses, correct)
    if not 0.0 <= delta_at_zero <= 1.0:
        raise UsageError(f"delta at epsilon 0 is within 0..1, not {delta_at_zero}")
    return float(betainc(correct, guesses - correct + 1.0, (1.0 + delta_at_zero) / 2.0)) if correct else 1.0


def audit(scores: np.ndarray, included: np.ndarray, delta: float, confidence: float = 0.95) -> AccuracyBound:
    """Find a threshold on one half of the canaries, and return how accurate it is at least on the other.

    Args:
        scores: ``(m,)``, each from its own coordinate alone, higher for canaries that look as if they were in the run.
        included: The coins, bool ``(m,)``, at least 2.
        delta: For epsilon, above 0.
        confidence: Of the bound.

    Raises:
        UsageError: If shapes differ, or a number is out of range.
    """
    check_level(confidence, delta)
    if scores.shape != included.shape or scores.ndim != 1 or included.dtype != np.bool_ or np.isnan(scores).any():
        raise UsageError(f"scores {scores.shape} and coins {included.shape} are as many numbers as booleans")
    if len(scores) < _FEWEST:
        raise UsageError("one canary finds the threshold and one is guessed: there are at least two")
    threshold = _best_threshold(scores[::2], included[::2])
    counted = included[1::2]
    guesses, correct = len(counted), int(np.sum((scores[1::2] > threshold) == counted))
    # Clopper and Pearson 1934: the probability whose tail from these on is the level.
    accuracy = float(betaincinv(correct, guesses - correct + 1.0, 1.0 - confidence)) if correct else 0.0
    mu = 2.0 * float(ndtri(max(accuracy, 0.5)))
    return AccuracyBound(
        accuracy=max(accuracy, 0.5),
        mu=mu,
        epsilon=epsilon_of_mu(mu, delta),
        delta=delta,
        confidence=confidence,
        guesses=guesses,
        correct=correct,
        threshold=threshold,
    )


def _best_threshold(scores: np.ndarray, included: np.ndarray) -> float:
    """The score above which guessing in is right most often; -inf where all are best guessed in."""
    order = np.argsort(scores, kind="stable")
    ordered, coins = scores[order], included[order]
    # After k lowest: those of them that are out, and those above that are in.
    right = np.concatenate([[0], np.cumsum(~coins)]) + coins.sum() - np.concatenate([[0], np.cumsum(coins)])
    possible = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])
    k = int(np.argmax(np.where(possible, right, -1)))
    if k == 0:
        return -np.inf
    if k == len(ordered):
        return float(ordered[-1])
    return float((ordered[k - 1] + ordered[k]) / 2.0)

"""The tighter test of one run: against a whole trade-off curve instead of one (epsilon, delta).

Training with noise is better than its (epsilon, delta) at most other epsilons. A claim that says so, "this curve", is
easier to refute: 1000 guesses that are all right refute no epsilon above 5.8 by `one_run`, and by the curve every
Gaussian mechanism with an epsilon below 12 at delta = 1e-5.

A claim is a `LeastProbability`: the least probability an event keeps when one patient is added or removed, given the
one it had. `gaussian` makes it of mu, `from_profile` of points of an (epsilon, delta) curve, such as an accountant's.

Source: S. Mahloujifar, L. Melis, K. Chaudhuri, "Auditing f-Differential Privacy in One Run", ICML 2025 (arXiv
2410.22235): the recursion is its Algorithm of r and h, for membership (k = 2), with abstentions. What holds is proved
here anew, so that nothing depends on our reading of it.

Theorem. m fair coins, r guesses (a number fixed before the run), N of them right. If every event of probability y keeps
at least g(y) when one coin is turned, g convex and rising, then `excluded` is true only if P(N >= v) < tau.

Proof. Let p_t = P(N = t), R_j = sum over t >= j of (t / m) p_t, H_j the same of ((r - t) / m) p_t. Draw one canary of
the m at random. "It is guessed rightly and N >= j" has probability R_j. Turn its coin: the guess is now wrong and one
less is right, so that the same outputs have a probability of H_{j-1}, coins turned and not being alike. Averaging over
canaries and coins, with g convex (Jensen): H_{j-1} >= g(R_j). (*)
Suppose P(N >= v) >= tau. The recursion starts with mass tau at N = v and adds at each j = v-1, ..., 0 the least mass at
N = j that (*) asks for: h_j = max(h_{j+1}, g(r_{j+1})), r_j = r_{j+1} + c_j (h_j - h_{j+1}) with c_j = j / (r - j).
By induction R_j - c H_j >= r_j - c h_j for all c in [-1, c_j] (at j = v, c_v = v / (r - v)), because t - c (r - t)
rises in t for such c and is not negative at t = j when c <= c_j. If h_j = h_{j+1} nothing is to be shown but that.
Otherwise H_j >= g(R_{j+1}) >= g(r_{j+1}) = h_j, and R_j - c H_j = (R_j - c_j H_j) + (c_j - c) H_j, of which the first
is at least R_{j+1} - c_j H_{j+1} >= r_{j+1} - c_j h_{j+1} = r_j - c_j h_j. With c = -1, r_0 + h_0 <= R_0 + H_0 = r / m.
So r_0 + h_0 > r / m is a contradiction. The same induction shows that `excluded` is monotone in tau and in g.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from sealround.audit.privacy.one_run import (
    Guesses,
    best_guesses,
    bisect_down,
    check_counts,
    check_level,
    count_guesses,
    default_grid,
)
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    LeastProbability: TypeAlias = Callable[[float], float]

__all__ = [
    "ClaimTest",
    "MuBound",
    "audit",
    "audit_claim",
    "epsilon_of_mu",
    "excluded",
    "from_profile",
    "gaussian",
    "mu_lower_bound",
    "p_value",
    "weakest_refuted",
]

_ROUNDING = 1e-12
_SMALLEST_P_VALUE = 1e-12


@dataclass(frozen=True, slots=True)
class MuBound:
    """What one run shows, with this confidence: no mu'-Gaussian privacy for any mu' below mu.

    Attributes:
        mu: The lower bound; 0 where nothing was shown.
        epsilon: What mu is at delta. It bounds the epsilon of training whose trade-off curve is Gaussian, as that of
            noised sums nearly is after many rounds; for training of any other kind `one_run` bounds it.
        delta: At which.
        confidence: Of the bound, all tries taken into account.
        guesses: Those that gave the bound.
        tries: How many numbers of guesses were tried.
    """

    mu: float
    epsilon: float
    delta: float
    confidence: float
    guesses: Guesses
    tries: int


@dataclass(frozen=True, slots=True)
class ClaimTest:
    """How well one run agrees with a claimed curve.

    Attributes:
        p_value: A bound on the probability of guesses as right as these, were the claim true; multiplied by the tries.
        guesses: Those that gave it.
        tries: How many numbers of guesses were tried.
    """

    p_value: float
    guesses: Guesses
    tries: int


def gaussian(mu: float) -> LeastProbability:
    """Return the claim "mu-Gaussian private": one patient is no easier to see than a shift of mu under unit noise.

    The least probability is Phi(Phi^-1(y) - mu).

    Source: J. Dong, A. Roth, W. Su, "Gaussian Differential Privacy", JRSS B 2022, equation 6.

    Args:
        mu: l2 sensitivity divided by the standard deviation of the noise, not negative.

    Raises:
        UsageError: If mu is out of range.
    """
    if not 0.0 <= mu < math.inf:
        raise UsageError(f"mu is a number from 0 on, not {mu}")

    def least(probability: float) -> float:
        return float(ndtr(ndtri(probability) - mu))

    return least


def from_profile(epsilons: Sequence[float], deltas: Sequence[float]) -> LeastProbability:
    """Return the claim "(epsilon, delta)-private for each of these pairs", adding and removing a patient alike.

    P <= e^epsilon Q + delta, for an event and for its opposite, give two lines under Q each. The least probability is
    the highest of all lines and 0: convex and rising, as the theorem needs. More pairs make a stronger claim, and pairs
    left out only weaken it.

    Source: Dong, Roth, Su 2022, Proposition 6.

    Args:
        epsilons: Not negative.
        deltas: As many, each within 0..1.

    Raises:
        UsageError: If a number is out of range, or there is none.
    """
    eps, delta = np.asarray(epsilons, dtype=np.float64), np.asarray(deltas, dtype=np.float64)
    if eps.shape != delta.shape or eps.ndim != 1 or not eps.size:
        raise UsageError(f"a profile has as many epsilons as deltas, at least one; not {eps.shape} and {delta.shape}")
    if not (np.isfinite(eps).all() and (eps >= 0).all() and (delta >= 0).all() and (delta <= 1).all()):
        raise UsageError("epsilons are not negative and finite, and deltas are within 0..1")
    slopes = np.concatenate([[0.0], np.exp(-eps), np.exp(eps)])
    intercepts = np.concatenate([[0.0], -delta * np.exp(-eps), 1.0 - delta - np.exp(eps)])
    slope, intercept, begins = _highest(slopes, intercepts)

    def least(probability: float) -> float:
        at = bisect_right(begins, probability) - 1
        return min(max(slope[at] * probability + intercept[at], 0.0), 1.0)

    return least


def _highest(slopes: np.ndarray, intercepts: np.ndarray) -> tuple[list[float], list[float], list[float]]:
    """The lines that are somewhere the highest, by rising slope, and from where on each is."""
    slope: list[float] = []
    intercept: list[float] = []
    begins: list[float] = []
    for a, b in sorted(zip(slopes.tolist(), intercepts.tolist(), strict=True)):
        begin = -math.inf
        while slope:
            if a > slope[-1]:
                begin = (intercept[-1] - b) / (a - slope[-1])
                if begin > begins[-1]:
                    break
            slope.pop()
            intercept.pop()
            begins.pop()
            begin = -math.inf
        slope.append(a)
        intercept.append(b)
        begins.append(begin)
    return slope, intercept, begins


def excluded(tau: float, m: int, r: int, v: int, least: LeastProbability) -> bool:
    """Return whether the claim rules out that v right guesses or more have a probability of tau or more.

    Args:
        tau: Within 0..1, not 0.
        m: Canaries, guessed or not.
        r: Guesses, a number fixed before the run.
        v: Right ones.
        least: The claim.
    """
    right, wrong, all_guesses = tau * v / m, tau * (r - v) / m, r / m * (1.0 + _ROUNDING)
    for j in range(v - 1, -1, -1):
        if right + wrong > all_guesses:
            break
        needed = least(right)
        if needed <= wrong:
            break  # and so it stays, as the right ones stay
        right += j / (r - j) * (needed - wrong)
        wrong = needed
    return right + wrong > all_guesses


def p_value(m: int, r: int, v: int, least: LeastProbability) -> float:
    """Return a bound on the probability of v right guesses or more, were the claim true.

    Args:
        m: Canaries, guessed or not.
        r: Guesses, a number fixed before the run.
        v: Right ones.
        least: The claim.

    Returns:
        Within 0..1, rounded up to a thousandth of itself, and never below 1e-12.

    Raises:
        UsageError: If a number is out of range.
    """
    check_counts(m, r, v)
    low, high = math.log(_SMALLEST_P_VALUE), 0.0
    if not excluded(1.0, m, r, v, least):
        return 1.0
    if excluded(math.exp(low), m, r, v, least):
        return _SMALLEST_P_VALUE
    while high - low > 1e-3:  # noqa: PLR2004, as documented
        middle = (low + high) / 2.0
        low, high = (low, middle) if excluded(math.exp(middle), m, r, v, least) else (middle, high)
    return math.exp(high)


def weakest_refuted(
    family: Callable[[float], LeastProbability], guesses: Guesses, confidence: float, start: float = 1.0
) -> float:
    """Return the largest parameter of a family of claims that is refuted, 0 where none is.

    Args:
        family: From a number, not negative, to a claim; larger ones promise less. `gaussian` is one. For noise
            multipliers sigma, take 1 / sigma as the parameter.
        guesses: What was seen.
        confidence: One minus how often the result may be above the true parameter.
        start: First try, above 0.

    Raises:
        UsageError: If a number is out of range.
    """
    check_counts(guesses.canaries, guesses.made, guesses.correct)
    check_level(confidence)

    def refuted(parameter: float) -> bool:
        return excluded(1.0 - confidence, guesses.canaries, guesses.made, guesses.correct, family(parameter))

    return bisect_down(refuted, start)


def mu_lower_bound(guesses: int, correct: int, canaries: int, confidence: float = 0.95) -> float:
    """Return the largest mu that is refuted, 0 where none is.

    Args:
        guesses: r.
        correct: v.
        canaries: m.
        confidence: One minus how often the bound may be above the true mu.

    Raises:
        UsageError: If a number is out of range.
    """
    seen = Guesses(canaries=canaries, included=guesses, excluded=0, correct=correct)
    return weakest_refuted(gaussian, seen, confidence)


def epsilon_of_mu(mu: float, delta: float) -> float:
    """Return the epsilon of mu-Gaussian privacy at a delta.

    Source: Dong, Roth, Su 2022, Corollary 1 (B. Balle, Y.-X. Wang, ICML 2018, Theorem 8).

    Args:
        mu: Not negative.
        delta: Above 0 and less than 1.

    Raises:
        UsageError: If a number is out of range.
    """
    if not 0.0 <= mu < math.inf or not 0.0 < delta < 1.0:
        raise UsageError(f"mu is a number from 0 on and delta within 0..1; not {mu} and {delta}")
    if mu == 0.0:
        return 0.0

    def above(epsilon: float) -> bool:
        tail = ndtr(mu / 2.0 - epsilon / mu)
        return bool(tail - np.exp(epsilon + log_ndtr(-mu / 2.0 - epsilon / mu)) > delta)

    return bisect_down(above)


def audit(
    scores: np.ndarray,
    included: np.ndarray,
    delta: float,
    confidence: float = 0.95,
    grid: Sequence[tuple[int, int]] | None = None,
) -> MuBound:
    """Return the lower bound on mu, and on epsilon if the curve is Gaussian, that scores of canaries give.

    Args:
        scores: ``(m,)``, higher for canaries that look as if they were in the run.
        included: The coins, ``(m,)``.
        delta: For epsilon.
        confidence: Of the bound.
        grid: Pairs (k+, k-) declared before the run; `default_grid` if ``None``.

    Raises:
        UsageError: As `count_guesses` and `epsilon_of_mu`.
    """
    check_level(confidence, delta)
    guessed = count_guesses(scores, included, default_grid(len(included)) if grid is None else grid)

    def bound(one: Guesses, confidence: float) -> float:
        return mu_lower_bound(one.made, one.correct, one.canaries, confidence)

    best, mu = best_guesses(guessed, bound, confidence)
    return MuBound(
        mu=mu,
        epsilon=epsilon_of_mu(mu, delta),
        delta=delta,
        confidence=confidence,
        guesses=best,
        tries=len(guessed),
    )


def audit_claim(
    scores: np.ndarray,
    included: np.ndarray,
    claim: LeastProbability,
    grid: Sequence[tuple[int, int]] | None = None,
) -> ClaimTest:
    """Test one claimed curve against scores of canaries.

    Args:
        scores: ``(m,)``, higher for canaries that look as if they were in the run.
        included: The coins, ``(m,)``.
        claim: Of `gaussian` or `from_profile`.
        grid: Pairs (k+, k-) declared before the run; `default_grid` if ``None``.

    Returns:
        The claim is refuted with a confidence of one minus the p-value.

    Raises:
        UsageError: As `count_guesses`.
    """
    guessed = count_guesses(scores, included, default_grid(len(included)) if grid is None else grid)
    found = [p_value(one.canaries, one.made, one.correct, claim) for one in guessed]
    best = int(np.argmin(found))
    return ClaimTest(p_value=min(found[best] * len(guessed), 1.0), guesses=guessed[best], tries=len(guessed))

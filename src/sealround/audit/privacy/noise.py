"""Is the noise of a run's sums there, all of it, and new in every round? A direct test, much stronger than guessing.

In directions in which nobody contributes, noised sums are nothing but noise: independent normal numbers of a known
standard deviation. Four tests look at them there, each exact, together at the stated level (Bonferroni):

- all squares together are chi-square: too small if noise is off, or some site's share is missing;
- the squares of each round alone: too small if that happens in one round;
- the correlation of any two rounds: too large if noise is reused;
- the correlation of any two directions over rounds: too large if one number serves several coordinates.

Guarantee: noise as claimed is called suspicious with a probability of 1 - confidence at most.
Assumes: nobody contributes in the directions, or contributions hide what is missing and correlate.
Not covered: too much noise, which harms no patient; noise that is not normal but has the right squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, gammainc, gammaincinv

from sealround.audit.privacy.canaries import project
from sealround.audit.privacy.one_run import check_level
from sealround.errors import UsageError

__all__ = ["NoiseCheck", "noise_check"]

_TESTS = 4
_NOT_ORTHONORMAL = 1e-6
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class NoiseCheck:
    """What the noise looks like.

    Each p-value is corrected for the rounds, pairs of rounds or pairs of directions it was chosen from.

    Attributes:
        sigma: Estimated standard deviation.
        sigma_upper: Its upper confidence bound, at the confidence of the check; holds for normal noise that is
            independent, even if it is not the claimed one.
        overall: p-value of all squares together.
        weakest_round: p-value of the round with the smallest squares.
        repeated_rounds: p-value of the two most alike rounds; 1 with one round or direction.
        repeated_directions: p-value of the two most alike directions; 1 with one round or direction.
        confidence: Of the check as a whole.
    """

    sigma: float
    sigma_upper: float
    overall: float
    weakest_round: float
    repeated_rounds: float
    repeated_directions: float
    confidence: float

    @property
    def p_value(self) -> float:
        """Of all four tests together."""
        smallest = min(self.overall, self.weakest_round, self.repeated_rounds, self.repeated_directions)
        return min(_TESTS * smallest, 1.0)

    @property
    def findings(self) -> tuple[str, ...]:
        """Return what is wrong with the noise, in words; empty if nothing was found."""
        level = (1.0 - self.confidence) / _TESTS
        named = {
            "less noise than claimed": self.overall,
            "less noise than claimed in a round": self.weakest_round,
            "noise of one round is used in another": self.repeated_rounds,
            "noise of one direction is used in another": self.repeated_directions,
        }
        return tuple(words for words, p_value in named.items() if p_value <= level)


def noise_check(
    sums: np.ndarray, directions_unused: np.ndarray, expected_sigma: float, confidence: float = 0.95
) -> NoiseCheck:
    """Test the noise of a run's sums in directions in which nobody contributes.

    With k directions and T rounds, one of n sites without its share is found with a power above 0.9 from about
    T k = 25 n^2 numbers on.

    Args:
        sums: Noised sums, ``(T, d)``.
        directions_unused: Coordinates ``(k,)``, none twice, or orthonormal vectors ``(k, d)``.
        expected_sigma: Standard deviation of the noise of a sum in each coordinate, as claimed; above 0.
        confidence: One minus how often noise as claimed is called suspicious.

    Raises:
        UsageError: If shapes do not fit, a number is out of range, or directions are not orthonormal.
    """
    check_level(confidence)
    if not 0.0 < expected_sigma < math.inf:
        raise UsageError(f"the expected standard deviation is above 0, not {expected_sigma}")
    if directions_unused.ndim == 1:
        orthonormal = len(np.unique(directions_unused)) == len(directions_unused)
    else:
        gram = directions_unused @ directions_unused.T
        orthonormal = bool(np.abs(gram - np.eye(len(gram))).max(initial=0.0) <= _NOT_ORTHONORMAL)
    if not orthonormal:
        raise UsageError("unused directions are orthonormal, or different coordinates")
    noise = project(sums, directions_unused)
    T, k = noise.shape
    squares = (noise**2).sum(axis=1)
    rounds = gammainc(k / 2.0, squares / expected_sigma**2 / 2.0)
    total = float(squares.sum())
    return NoiseCheck(
        sigma=math.sqrt(total / (T * k)),
        sigma_upper=math.sqrt(total / (2.0 * float(gammaincinv(T * k / 2.0, 1.0 - confidence)))),
        overall=float(gammainc(T * k / 2.0, total / expected_sigma**2 / 2.0)),
        weakest_round=min(T * float(rounds.min()), 1.0),
        repeated_rounds=_most_alike(noise),
        repeated_directions=_most_alike(noise.T),
        confidence=confidence,
    )


def _most_alike(rows: np.ndarray) -> float:
    """The p-value of the two most correlated rows; without noise in one there is nothing to compare.

    The cosine c of two independent vectors of b normal numbers has c^2 of a Beta(1/2, (b - 1) / 2) distribution.
    """
    a, b = rows.shape
    if min(a, b) < _FEWEST:
        return 1.0
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0.0)
    cosines = unit @ unit.T
    largest = min(float(np.abs(cosines[np.triu_indices(a, 1)]).max()), 1.0)
    tail = float(betainc((b - 1) / 2.0, 0.5, 1.0 - largest**2))
    return float(min(a * (a - 1) / 2.0 * tail, 1.0))

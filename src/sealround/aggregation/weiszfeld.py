"""The geometric median, found on inner products alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.aggregation.conditions import require
from sealround.aggregation.outcome import Weighting
from sealround.aggregation.shares import capped_shares, check_shares
from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.aggregation.products import Gram

__all__ = ["geometric_median"]

_RESOLUTION = 2.0**-22
"""Squared distance, in parts of those to the centre, below which float32 cannot tell two updates apart."""


def geometric_median(
    gram: Gram,
    *,
    num_byzantine: int,
    shares: np.ndarray | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> Weighting:
    """Find the point with the least sum of distances (not squared) to all updates.

    At the median the unit vectors towards all updates, times their shares, cancel. If that happens at an update (they
    cancel up to its own share), that update is the median, and is found as such. Otherwise Weiszfeld's iteration weighs
    each update by the inverse of its distance, until what does not cancel is at most ``tolerance``, of a sum of
    shares of 1. So the sum of distances is at most ``tolerance`` times the distance that is left above the least.

    Guarantee: (f, 4 (1 + f/(n-2f))^2)-robust (Allouah et al. 2023). With shares, f sites never have half of
    them: no share is above 1/(2f + 1), whatever the caller's cap.
    Assumes: n > 2f.
    Not covered: when honest hospitals lie far apart, so does the median from their mean.
    Variants: K. Pillutla et al. run a few smoothed steps, programs often three; here it is run to the end. Their floor
    under distances is one part in 10^7 of the updates' spread.
    Source: K. Pillutla, S. M. Kakade, Z. Harchaoui, "Robust Aggregation for Federated Learning", IEEE TSP 2022,
    Algorithm 2 (smoothed Weiszfeld).

    Args:
        gram: Inner products of n updates.
        num_byzantine: f; only checked.
        shares: How much each site counts, ``(n,)``, up to 1/(2f + 1); equally by default.
        tolerance: Length of the sum of unit vectors, weighted by shares, at which to stop; above 0.
        max_iterations: How many steps to take at the most.

    Raises:
        UsageError: If there are too few sites, or a number is out of range.
    """
    n = gram.sites
    require("geometric-median", n, num_byzantine)
    if not 0.0 < tolerance < 1.0 or max_iterations < 1:
        raise UsageError("tolerance is between 0 and 1, and max_iterations at least 1")
    # Who claims many examples must not buy the majority that the guarantee rests on.
    alpha = capped_shares(check_shares(shares, n), largest=1.0 / (2 * num_byzantine + 1))
    products = gram.products[:n, :n]
    at = _at_an_update(gram.distances, products, alpha)
    if at is not None:
        return Weighting(at, tuple("the median is this update" if weight else "not at the median" for weight in at))
    weights = _weiszfeld(products, alpha, tolerance, max_iterations)
    largest = float(weights.max())
    return Weighting(weights, tuple(f"{weight / largest:.2f} of the largest weight" for weight in weights))


def _at_an_update(distances: np.ndarray, products: np.ndarray, alpha: np.ndarray) -> np.ndarray | None:
    """Return the weights of the median if it is at an update: its share and its copies'; else ``None``."""
    squares = np.maximum(np.diagonal(products), 0.0)  # below zero by rounding, where everything is at the centre
    same = distances <= _RESOLUTION * (squares[:, None] + squares[None, :])
    pull = np.zeros_like(distances)
    np.divide(alpha[None, :], np.sqrt(distances), out=pull, where=~same)
    # Row k: the combination of updates that is the sum of unit vectors from update k.
    towards = pull - np.diag(pull.sum(axis=1))
    lengths = np.sqrt(np.maximum(np.einsum("kj,kj->k", towards @ products, towards), 0.0))
    own = np.where(same, alpha[None, :], 0.0)
    surplus = lengths - own.sum(axis=1)
    best = int(np.argmin(surplus))
    return own[best] / own[best].sum() if surplus[best] <= 0.0 and own[best].any() else None


def _weiszfeld(products: np.ndarray, alpha: np.ndarray, tolerance: float, max_iterations: int) -> np.ndarray:
    """Return weights, sum 1, of a point where unit vectors cancel up to ``tolerance``."""
    squares = np.maximum(np.diagonal(products), 0.0)  # below zero by rounding, where everything is at the centre
    floor = _RESOLUTION**2 * float(np.median(squares)) + np.finfo(np.float64).tiny
    weights = alpha
    for _ in range(max_iterations):
        along = products @ weights
        inverse = alpha / np.sqrt(np.maximum(squares - 2.0 * along + weights @ along, floor))
        total = float(inverse.sum())
        step = inverse / total - weights
        weights = inverse / total
        # The step times the sum of inverse distances is the sum of unit vectors: the gradient.
        if total * float(np.sqrt(max(step @ products @ step, 0.0))) <= tolerance:
            break
    return weights

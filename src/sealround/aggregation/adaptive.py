"""The default where little is known of the consortium: clip, mix and take a middle, of what is remembered of each site.

None of its steps is new, and all of its lengths come from the sites: there is no constant to choose but f.
"""

from __future__ import annotations

import numpy as np

from sealround.aggregation.conditions import require
from sealround.aggregation.mixing import nearest_neighbor_mixing
from sealround.aggregation.outcome import Weighting
from sealround.aggregation.products import ORIGIN, Gram
from sealround.aggregation.weiszfeld import geometric_median

__all__ = ["DECAY", "adaptive", "adaptive_clipping", "decay_within"]

DECAY = 0.9
"""What an update counts in its site's memory one round later, in a study of 100 rounds or more."""

_WINDOW = 10
"""Rounds in memory: as many in effect, and as many memories in a study, where it is long enough."""


def decay_within(rounds: int) -> float:
    """Return what an update counts in its site's memory one round later, in a study of so many rounds.

    One less 1/w, for a memory of w rounds in effect: a tenth of the study's, from 1 (no memory) to 10. In 15 rounds a
    memory of 10 would still hold the first when the model is nearly done: on chest images that cost 0.009 of AUROC.

    Args:
        rounds: Of the study, at least 1.
    """
    return 1.0 - 1.0 / min(max(rounds / _WINDOW, 1.0), _WINDOW)


def adaptive_clipping(lengths: np.ndarray, *, num_byzantine: int) -> np.ndarray:
    """Shorten the longest few vectors to the length of the next one (ARC).

    The floor(2 f (n - f) / n) longest become as long as the longest of the others. These are at least f, so that no
    liar is longer than the longest honest site, and the bound follows the sites: it shrinks as training converges.

    Guarantee: before a rule that is (f, kappa)-robust, the two are (f, kappa + 2f/(n-2f))-robust, which is at most
    three times kappa (same paper; the constant was not at hand, and is tested here).
    Source: Y. Allouah, R. Guerraoui, N. Gupta, A. Jellouli, G. Rizk, J. Stephan, "Adaptive Gradient Clipping for
    Robust Federated Learning", ICLR 2025, Algorithm 2.

    Args:
        lengths: float64 ``(n,)``, n > 2f.
        num_byzantine: f.

    Returns:
        Factors from 0 to 1, float64 ``(n,)``.
    """
    n, f = len(lengths), num_byzantine
    bound = float(np.sort(lengths)[n - 1 - 2 * f * (n - f) // n])
    return np.asarray(bound / np.maximum(lengths, bound or 1.0))


def adaptive(gram: Gram, *, num_byzantine: int) -> Weighting:
    """Clip, mix, and take the geometric median, of what is remembered of each site.

    What is remembered of a site is the mean of its updates in which each round counts 0.9 of the next (`remember`), or
    less in a study of few rounds (`decay_within`).
    The longest are shortened (`adaptive_clipping`), each is replaced by the mean of the n - f nearest to it
    (`nearest_neighbor_mixing`), and the result is the point with the least sum of distances to these.

    Clipping comes first because hospitals that differ most send the longest updates: unclipped, they are nobody's
    nearest neighbour, and what they alone know is not learned.

    Guarantee: in every round, of what is remembered, (f, kappa)-robust with
    kappa = 8 f/(n-f) (1 + 4 (1 + f/(n-2f))^2) + 2f/(n-2f): the factors of the three steps, composed. The result is no
    longer than the longest honest memory. Without liars (f = 0) it is the mean.
    Assumes: n > 2f, and that what a site sends goes one way for as long as it is remembered: old updates are stale
    where the model moves faster.
    Not covered: what only f hospitals or fewer know can be outvoted by f liars; a lie that is as long as the honest
    and within their differences takes part, as in every rule here; a site that was honest for long and turns
    is remembered as honest for about ten rounds. Shares are not looked at: a claim of examples buys nothing.
    Variants: any rule can follow mixing; after clipping, the mean of the mixtures did as well against the attacks that
    were measured, and has no bound that shrinks with honest differences.
    Sources: memory, S. P. Karimireddy, L. He, M. Jaggi, ICML 2021, Section 4 (momentum); clipping, Allouah et al. 2025;
    mixing, Allouah et al. 2023; geometric median, Pillutla et al. 2022. That these four together withstand both mild
    and strong differences is measured in `benchmarks/adaptive_rule.py`, not proved.

    Args:
        gram: Inner products of what is remembered of n sites, and of the origin.
        num_byzantine: f.

    Returns:
        Weights that sum to less than 1 where updates are shortened.

    Raises:
        UsageError: If there are too few sites, or the origin is missing.
    """
    n, f = gram.sites, num_byzantine
    require("adaptive", n, f)
    products = gram.about(ORIGIN)[:n, :n]
    lengths = np.sqrt(np.maximum(np.diagonal(products), 0.0))
    factors = adaptive_clipping(lengths, num_byzantine=f)
    clipped = Gram(products * np.outer(factors, factors), n)
    mixing = nearest_neighbor_mixing(clipped, num_byzantine=f)
    middle = geometric_median(_centred(clipped.mixed(mixing)), num_byzantine=f)
    weights = (middle.weights @ mixing) * factors
    counts = np.count_nonzero(mixing, axis=0)
    reasons = tuple(
        f"nearest to {count} of {n}" + (f", shortened to {factor:.2f}" if factor < 1.0 else "")
        for count, factor in zip(counts, factors, strict=True)
    )
    return Weighting(weights, reasons)


def _centred(gram: Gram) -> Gram:
    """Return the products about the mean: those about the origin drown small distances in a common part."""
    means = gram.products.mean(axis=0)
    return Gram(gram.products - means[:, None] - means[None, :] + means.mean(), gram.sites)

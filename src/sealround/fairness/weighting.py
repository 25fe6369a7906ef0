"""How much an example counts in training, by its group and outcome: two rules, each from sums over sites.

A *cell* is a group with an outcome, absent or present. Groups here are a partition: every patient is in one. Arrays of
cells are ``(k, 2)``. A weight of 1 for every cell is plain training, and the mean weight of an example is 1, so that a
learning rate means the same; only what `LIMITS` cuts off changes that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sealround.errors import UsageError

__all__ = ["LIMITS", "CellSums", "advanced", "independent_weights", "weights_of"]

LIMITS = (0.1, 10.0)
"""No example counts less than a tenth, or more than ten: a cell of few patients must not drive the model."""

_LOSS_UNIT = math.log(2.0)  # What a coin flip costs: a loss of 1 in these units.


@dataclass(frozen=True, slots=True, eq=False)
class CellSums:
    """What sites know of each cell together; 0 where too few patients are in it.

    Attributes:
        losses: Sum of the loss of the cell's training examples under one model, float64 ``(k, 2)``.
        counts: How many they are, float64 ``(k, 2)``.

    Raises:
        UsageError: If shapes do not fit, or a number is negative or not finite.
    """

    losses: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        if self.losses.shape != self.counts.shape or self.counts.ndim != 2 or self.counts.shape[1] != 2:  # noqa: PLR2004
            raise UsageError(f"losses {self.losses.shape} and counts {self.counts.shape} of cells do not fit")
        for array in (self.losses, self.counts):
            if not (np.isfinite(array) & (array >= 0)).all():
                raise UsageError("losses and counts are finite and none is negative")

    @property
    def shares(self) -> np.ndarray:
        """Part of the counted examples that is in each cell, float64 ``(k, 2)``; 0 if there are none."""
        return np.asarray(self.counts / max(float(self.counts.sum()), 1.0))


def independent_weights(sums: CellSums) -> np.ndarray:
    """Return weights under which group and outcome are independent, float64 ``(k, 2)``.

    w(g, y) = P(g) P(y) / P(g, y): what would be expected of the cell if group and outcome had nothing to do with each
    other, over what is there. A cell that nobody is in, or too few, counts 1.

    Guarantee: with these weights each group has the same part of sick patients, and groups and outcomes are as frequent
    as they were; as far as no weight is cut off at `LIMITS`.
    Source: F. Kamiran, T. Calders, "Data preprocessing techniques for classification without discrimination",
    Knowledge and Information Systems 33, 2012, Section 5.3 ("reweighing"; the number of the section was not confirmed).

    Args:
        sums: Of any model; only counts matter.
    """
    joint = sums.shares
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    weights = np.divide(expected, joint, out=np.ones_like(joint), where=joint > 0)
    return _limited(weights)


def advanced(attention: np.ndarray | None, sums: CellSums, rounds: int) -> np.ndarray:
    """Return how much of the attention each cell gets next, a distribution over cells, float64 ``(k, 2)``.

    Attention starts as each cell's part of the examples, and is multiplied by exp(eta x mean loss) in every round: a
    cell that the model serves badly gets more of it, until it is served no worse than others. With K cells and T
    rounds eta = sqrt(8 ln K / T), the rate of Hedge for losses up to 1; a loss of 1 is that of a coin flip, and what is
    above it counts as 1.

    Guarantee: for convex models trained to the end in each round, the mean model's largest cell loss is within
    sqrt(ln K / (2 T)) of the least possible. For a few local steps and networks there is none.
    Source: E. Diana, W. Gill, M. Kearns, K. Kenthapadi, A. Roth, "Minimax Group Fairness: Algorithms and Experiments",
    AIES 2021 (multiplicative weights over groups); A. Papadaki, N. Martinez, M. Bertran, G. Sapiro, M. Rodrigues,
    "Minimax Demographic Group Fairness in Federated Learning", FAccT 2022 (FedMinMax: group losses summed over sites,
    examples weighted by attention over share). The rate: Y. Freund, R. Schapire, 1997.
    Variants: groups are cells of group and outcome; attention is updated by exponentiated gradient, where FedMinMax
    projects a gradient step; losses are those of the model that the round began with, of one round before.

    Args:
        attention: What the last call returned; ``None`` in the first round.
        sums: Of the model of the round. Cells that are 0 keep out of it.
        rounds: T.

    Raises:
        UsageError: If shapes do not fit.
    """
    shares = sums.shares
    attention = shares if attention is None else attention
    if attention.shape != shares.shape:
        raise UsageError(f"attention of {attention.shape} to {shares.shape} cells")
    known = shares > 0
    cells = int(known.sum())
    if cells < 2:  # noqa: PLR2004
        return shares
    # A cell that was not there before begins with its part of the examples.
    before = np.where(known, np.where(attention > 0, attention, shares), 0.0)
    mean = np.divide(sums.losses, sums.counts, out=np.zeros_like(shares), where=known)
    rate = math.sqrt(8.0 * math.log(cells) / rounds)
    found = before * np.exp(rate * np.minimum(mean / _LOSS_UNIT, 1.0))
    return np.asarray(found / found.sum())


def weights_of(attention: np.ndarray, sums: CellSums) -> np.ndarray:
    """Return the weight of an example of each cell, attention over share, float64 ``(k, 2)``; 1 where there is none."""
    shares = sums.shares
    return _limited(np.divide(attention, shares, out=np.ones_like(shares), where=shares > 0))


def _limited(weights: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(weights, *LIMITS))

"""The cells that fairness-aware training weighs: a partition by sensitive columns, and the outcome.

Who belongs where follows from a study's groups, which everybody knows before any data is read. A cell is a combination
of levels, one of each sensitive column, with an outcome. Who has no level of one of the columns is in no cell, and
counts 1.

The tail of a training tally, where the study weighs cells: sums of losses, then counts, each ``(k, 2)`` flat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import UsageError
from sealround.fairness.weighting import LIMITS, CellSums, advanced, independent_weights, weights_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.federation.groups import Group
    from sealround.study.sections import Study
    from sealround.vocabulary import Tally

__all__ = ["Partition", "Weighing", "next_weighing", "tail_size", "weights_fit"]

_OUTCOMES = 2


@dataclass(frozen=True, slots=True)
class Partition:
    """All combinations of levels of sensitive columns; the last column varies fastest.

    Attributes:
        columns: Each sensitive column with how many levels it has.
    """

    columns: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, groups: Sequence[Group]) -> Partition:
        """Return the partition by the columns of some groups, in their order."""
        sizes: dict[str, int] = {}
        for group in groups:
            if len(group.terms) == 1:
                sizes[group.columns[0]] = sizes.get(group.columns[0], 0) + 1
        return cls(tuple(sizes.items()))

    @property
    def size(self) -> int:
        """How many combinations."""
        return math.prod(levels for _, levels in self.columns)

    def combined(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Return the combination of each patient, int64 ``(n,)``; -1 for who has no level of one of the columns.

        Args:
            codes: For each column the position of each patient's level, int64 ``(n,)``, -1 for none.

        Raises:
            UsageError: If there are more or fewer columns.
        """
        if len(codes) != len(self.columns) or not codes:
            raise UsageError(f"codes of {len(codes)} columns, and {len(self.columns)} make the groups")
        found = np.zeros_like(codes[0])
        for (_, levels), code in zip(self.columns, codes, strict=True):
            found = found * levels + code
        return np.where(np.min(codes, axis=0) < 0, -1, found)


@dataclass(frozen=True, slots=True, eq=False)
class Weighing:
    """How much cells count in the next round.

    Attributes:
        weights: Of an example of each cell, float64 ``(2 k,)``.
        attention: Minimax: how much of the attention each cell has, float64 ``(2 k,)``; 0 where nobody is.
    """

    weights: Tally
    attention: Tally


def tail_size(study: Study, groups: int) -> int:
    """Count the numbers that a training tally has more where a study weighs cells.

    Args:
        study: The study.
        groups: How many combinations its groups make, `Partition.size`.
    """
    return 0 if study.fairness.training == "plain" else 2 * _OUTCOMES * groups


def next_weighing(study: Study, before: Weighing | None, tail: Tally) -> Weighing:
    """Return how much cells count in the next round, from the sums of this one.

    Args:
        study: Which weighs cells.
        before: Of this round; ``None`` in the first, which is plain.
        tail: Sum of the sites' tails, float64 ``(4 k,)``. Below 0 is what no site can have, and counts as 0.
    """
    losses, counts = np.maximum(tail, 0.0).reshape(2, -1, _OUTCOMES)
    sums = CellSums(losses, counts)
    if study.fairness.training == "reweighted":
        return Weighing(independent_weights(sums).ravel(), sums.shares.ravel())
    known = None if before is None else before.attention.reshape(counts.shape)
    attention = advanced(known, sums, study.study.rounds)
    return Weighing(weights_of(attention, sums).ravel(), attention.ravel())


def weights_fit(weights: Tally, groups: Sequence[Group]) -> bool:
    """Say whether a site may train with these weights: one for each cell, and within `LIMITS`.

    With weights without a bound a coordinator could have a site train on a few patients alone, and read their records
    off its update.
    """
    low, high = LIMITS
    return weights.size == _OUTCOMES * Partition.of(groups).size and bool(((weights >= low) & (weights <= high)).all())

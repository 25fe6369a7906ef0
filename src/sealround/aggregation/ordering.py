"""Bringing the sites' values of each parameter in order: a sorting network for few sites, numpy's sort for more.

A network is a fixed sequence of exchanges of two ranks, each a minimum and a maximum; over blocks of parameters these
are whole rows of values at a time. A rule seldom wants all ranks apart: it adds some up, and others it throws away. So
exchanges that cannot change what a rule sees are left out, and of others one half.

Numpy's sort runs along the contiguous axis of a block's transpose, which is many times faster than its sort across
rows, or its partition.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Network", "Ranks", "Sorting", "network"]

Ranks: TypeAlias = tuple[range, ...]
"""The ranks that are wanted, from 0; within one range they may come in any order, as the terms of a sum may."""

_Step: TypeAlias = tuple[np.ufunc, int, int, int]
"""A minimum or maximum, the two rows that it reads, and the row that it fills."""


class Network:
    """Brings blocks of few rows in order, smallest first, in a buffer of its own."""

    def __init__(self, m: int, columns: int, ranks: Ranks) -> None:
        """Take m rows, so many columns at the most, and the ranks that are wanted."""
        self._store = np.empty((m + 1, columns), dtype=np.float32)
        self._steps = network(m, ranks)

    def buffer(self, width: int) -> np.ndarray:
        """Return where a block goes, float32 ``(m, width)``."""
        return self._store[:-1, :width]

    def order(self, width: int) -> np.ndarray:
        """Return the block in order, in the same place; what it holds of other ranks than those wanted is undefined."""
        rows = list(self._store[:, :width])
        for step, one, other, into in self._steps:
            step(rows[one], rows[other], out=rows[into])
        return self.buffer(width)


class Sorting:
    """The same for more rows; all ranks are in their place."""

    def __init__(self, m: int, columns: int) -> None:
        """Take m rows, and so many columns at the most."""
        self._store = np.empty((columns, m), dtype=np.float32)

    def buffer(self, width: int) -> np.ndarray:
        """Return where a block goes, float32 ``(m, width)``."""
        return self._store[:width].T

    def order(self, width: int) -> np.ndarray:
        """Return the block in order, in the same place."""
        self._store[:width].sort(axis=1)
        return self.buffer(width)


@lru_cache(maxsize=64)
def network(m: int, ranks: Ranks) -> tuple[_Step, ...]:
    """Return the steps that bring m rows in order, in place with one row to spare.

    Args:
        m: Rows, 0 to m - 1; row m is the spare one.
        ranks: Which are wanted; each ends in the row of its number.
    """
    steps: list[_Step] = []
    row, spare = list(range(m)), m  # where each rank is; nothing is ever copied back
    for low, high, lower, higher in _wanted(m, ranks):
        one, other = row[low], row[high]
        if lower and higher:
            steps += [(np.minimum, one, other, spare), (np.maximum, one, other, other)]
            row[low], spare = spare, one
        else:
            steps.append((np.minimum, one, other, one) if lower else (np.maximum, one, other, other))
    # Which row is which at the start is of no account: rows are named so that at the end each rank is in its own.
    name = {place: rank for rank, place in enumerate([*row, spare])}
    first = name[m]  # has to be free at the start, and row m was
    move = [(np.minimum, first, first, m)] if first != m else []
    return (*move, *((step, name[one], name[other], name[into]) for step, one, other, into in steps))


def _wanted(m: int, ranks: Ranks) -> list[tuple[int, int, bool, bool]]:
    """Return the exchanges that matter, and whether their lower and their higher half does."""
    group = [-1] * m  # ranks that may change places have the same number; nobody looks at those that have -1
    for number, alike in enumerate(ranks):
        for rank in alike:
            group[rank] = number
    kept = []
    for low, high in reversed(list(_exchanges(m))):
        if group[low] == group[high]:
            continue
        kept.append((low, high, group[low] >= 0, group[high] >= 0))
        group[low] = group[high] = len(ranks) + len(kept)
    return kept[::-1]


def _exchanges(m: int) -> Iterator[tuple[int, int]]:
    """Generate Batcher's merge exchange for m values (Knuth, The Art of Computer Programming 3, 5.2.2, Algorithm M)."""
    top = 1 << max((m - 1).bit_length() - 1, 0)
    p = top
    while p:
        q, r, step = top, 0, p
        while True:
            yield from ((i, i + step) for i in range(m - step) if i & p == r)
            if q == p:
                break
            step, q, r = q - p, q // 2, p
        p //= 2

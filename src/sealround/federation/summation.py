"""The weighted mean of a round, whatever order replies arrive in.

Floating-point sums depend on their order. To make a round's result a function of *who* replied and not of *when*,
addends are taken in roster order; one that arrives early waits. At most the early ones are held, so that a round over
hundreds of sites needs memory for a few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.vocabulary import PartyId

__all__ = ["RosterSum", "Rows"]

_CHUNK = 1 << 16


class Rows:
    """The updates of a round side by side, for rules that look at each; in one matrix from the start.

    Args:
        roster: Who may send one, in the order of the rows.
    """

    def __init__(self, roster: Sequence[PartyId]) -> None:
        self._place = {party: row for row, party in enumerate(roster)}
        self._weights: dict[PartyId, float] = {}
        self._matrix: np.ndarray | None = None

    def add(self, party: PartyId, weight: float, update: np.ndarray) -> None:
        """Take one party's update, float32 ``(d,)``; each adds once."""
        if self._matrix is None:
            self._matrix = np.empty((len(self._place), update.size), dtype=np.float32)
        self._matrix[self._place[party]] = update
        self._weights[party] = weight

    def of(self, party: PartyId) -> np.ndarray | None:
        """Return one party's update, float32 ``(d,)``; ``None`` if it sent none."""
        if self._matrix is None or party not in self._weights:
            return None
        return np.asarray(self._matrix[self._place[party]])

    def stacked(self, without: PartyId | None = None) -> tuple[tuple[PartyId, ...], np.ndarray, list[float]]:
        """Return who sent one, in roster order, the updates, float32 ``(n, d)``, and the weights.

        Args:
            without: Whose to leave out.
        """
        parties = tuple(party for party in self._place if party in self._weights and party != without)
        if self._matrix is None:
            return (), np.zeros((0, 0), dtype=np.float32), []
        whole = len(parties) == len(self._place)
        matrix = self._matrix if whole else self._matrix[[self._place[party] for party in parties]]
        return parties, matrix, [self._weights[party] for party in parties]


class RosterSum:
    """Float64 sums over a roster, independent of the order of arrival."""

    def __init__(self, roster: Sequence[PartyId]) -> None:
        self._waiting = list(reversed(roster))
        self._early: dict[PartyId, tuple[float, tuple[np.ndarray, ...]]] = {}
        self._sums: tuple[np.ndarray, ...] | None = None
        self.weight = 0.0

    def add(self, party: PartyId, weight: float, addends: tuple[np.ndarray, ...]) -> None:
        """Take one party's vectors; each party adds once, all with the same shapes."""
        self._early[party] = weight, addends
        self._take_what_is_next()

    def skip(self, party: PartyId) -> None:
        """Go on without a party, if it has not added yet."""
        if party in self._waiting and party not in self._early:
            self._waiting.remove(party)
            self._take_what_is_next()

    def _take_what_is_next(self) -> None:
        while self._waiting and self._waiting[-1] in self._early:
            weight, addends = self._early.pop(self._waiting.pop())
            self.weight += weight
            if self._sums is None:
                self._sums = tuple(np.zeros(addend.shape, dtype=np.float64) for addend in addends)
            for total, addend in zip(self._sums, addends, strict=True):
                _add_scaled(total, weight, addend)

    @property
    def sums(self) -> tuple[np.ndarray, ...]:
        """Weighted sum of each vector, float64, over everyone taken so far."""
        return self._sums or ()


def _add_scaled(total: np.ndarray, weight: float, addend: np.ndarray) -> None:
    # In cache-sized pieces: one pass over memory, and no full-length float64 temporary.
    for start in range(0, total.size, _CHUNK):
        piece = slice(start, start + _CHUNK)
        total[piece] += weight * addend[piece].astype(np.float64)

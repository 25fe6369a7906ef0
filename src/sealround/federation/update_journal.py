"""The updates of each round, kept until the gate has decided: what "without this site" is computed from.

They are the sites' updates in clear, and tell what updates tell. So they are kept in open studies with a gate only, by
whoever holds them already, and for no longer than the gate takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sealround.errors import ConsistencyError

if TYPE_CHECKING:
    from collections.abc import Collection

    from sealround.vocabulary import PartyId, RoundId, Updates

__all__ = ["MemoryUpdates", "RoundUpdates", "UpdateJournal"]


@dataclass(frozen=True, slots=True, eq=False)
class RoundUpdates:
    """What the sites of one round sent.

    Attributes:
        parties: Who, in roster order.
        weights: Of each in a mean, float64 ``(n,)``.
        updates: float32 ``(n, d)``.
    """

    parties: tuple[PartyId, ...]
    weights: np.ndarray
    updates: Updates

    def without(self, sites: Collection[PartyId]) -> RoundUpdates:
        """Return the others."""
        rows = [row for row, party in enumerate(self.parties) if party not in sites]
        return RoundUpdates(tuple(self.parties[row] for row in rows), self.weights[rows], self.updates[rows])


class UpdateJournal(Protocol):
    """Keeps the updates of each round; the federation opens no file, so it is handed one."""

    def keep(self, round_: RoundId, sent: RoundUpdates) -> None:
        """Keep a round's updates, durably where the implementation is durable; a round kept again replaces the old.

        Raises:
            ServiceError: If the disk refuses.
        """
        ...

    def read(self, round_: RoundId) -> RoundUpdates:
        """Return what was kept.

        Raises:
            ConsistencyError: If there is nothing, or it is damaged.
        """
        ...

    def clear(self) -> None:
        """Forget every round."""
        ...


class MemoryUpdates:
    """An `UpdateJournal` for tests and trainings that are not resumed."""

    def __init__(self) -> None:
        self._rounds: dict[RoundId, RoundUpdates] = {}

    def __len__(self) -> int:
        """How many rounds are kept."""
        return len(self._rounds)

    def keep(self, round_: RoundId, sent: RoundUpdates) -> None:
        """Keep a copy."""
        self._rounds[round_] = RoundUpdates(sent.parties, np.array(sent.weights), np.array(sent.updates))

    def read(self, round_: RoundId) -> RoundUpdates:
        """Return what was kept.

        Raises:
            ConsistencyError: If there is nothing.
        """
        if round_ not in self._rounds:
            raise ConsistencyError(f"the updates of round {round_} are not kept", hint="start a new run")
        return self._rounds[round_]

    def clear(self) -> None:
        """Forget every round."""
        self._rounds.clear()

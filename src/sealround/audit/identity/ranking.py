"""Where the true person stands in a list that is ordered by how well each fits.

People who fit equally well are in an order that nobody knows: a hit among the first k then counts as the probability
that a random order puts the true person there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.inversion.intervals import Number, summarise
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Ranking", "rank_people"]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Ranks of the true persons, one a record.

    Attributes:
        closer: How many others fit better, int64 ``(n,)``.
        tied: How many fit equally well, the true person included, int64 ``(n,)``.
        people: N, how many are in the list.
    """

    closer: np.ndarray
    tied: np.ndarray
    people: int

    def __len__(self) -> int:
        """How many records."""
        return len(self.closer)

    @property
    def ranks(self) -> np.ndarray:
        """Expected rank of the true person, from 1, float64 ``(n,)``."""
        return np.asarray(self.closer + (self.tied + 1) / 2.0)

    def hits(self, k: int = 1) -> np.ndarray:
        """Return the probability that the true person is among the first k, float64 ``(n,)``."""
        return np.asarray(np.clip((k - self.closer) / self.tied, 0.0, 1.0))

    @property
    def reciprocals(self) -> np.ndarray:
        """Expected reciprocal rank, float64 ``(n,)``."""
        harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, self.people + 1))])
        return np.asarray((harmonic[self.closer + self.tied] - harmonic[self.closer]) / self.tied)

    def chance(self, k: int = 1) -> float:
        """Return the share of hits among the first k of a list in random order."""
        return min(k / self.people, 1.0)

    @property
    def reciprocal_by_chance(self) -> float:
        """Mean reciprocal rank of a list in random order."""
        return float((1.0 / np.arange(1, self.people + 1)).mean())

    def top(
        self, k: int, draw: np.random.Generator, groups: np.ndarray | None = None, blind: Ranking | None = None
    ) -> Number:
        """Return the share of records whose person is among the first k, with its 95 % interval.

        Args:
            k: At least 1.
            draw: For the bootstrap, where one is needed.
            groups: Which records were rebuilt together, ``(n,)``; ``None`` if each by itself.
            blind: The ranking of guesses that use no update. The baseline is theirs, or chance if that is more.
        """
        baseline = max(self.chance(k), 0.0 if blind is None else float(blind.hits(k).mean()))
        return _number(self.hits(k), draw, groups, baseline)

    def mean_reciprocal(
        self, draw: np.random.Generator, groups: np.ndarray | None = None, blind: Ranking | None = None
    ) -> Number:
        """Return the mean reciprocal rank with its 95 % interval; arguments as `top` has them."""
        baseline = max(self.reciprocal_by_chance, 0.0 if blind is None else float(blind.reciprocals.mean()))
        return _number(self.reciprocals, draw, groups, baseline)

    def worst(self) -> int:
        """Return the ordinal, from 1, of the record whose person stands highest; the first of several."""
        return int(self.ranks.argmin()) + 1


def rank_people(distances: np.ndarray, true: np.ndarray, people: Sequence[int] | np.ndarray | None = None) -> Ranking:
    """Rank the people of a list by distance and say where the true ones are.

    Args:
        distances: Of each record to each entry of the list, ``(n, N)``, not NaN; smaller fits better.
        true: Whose each record is, as `people` names them, int64 ``(n,)``.
        people: Whose each entry is, ``(N,)``; whoever has several is as near as the nearest. ``None`` if each entry is
            a person of its own, named by its place.

    Raises:
        UsageError: If shapes differ, a distance is NaN, or a true person is not in the list.
    """
    n, entries = distances.shape
    names = np.arange(entries) if people is None else np.asarray(people)
    if true.shape != (n,) or names.shape != (entries,) or not n or not entries:
        raise UsageError(f"distances {distances.shape} do not fit {true.shape} records and {names.shape} entries")
    if np.isnan(distances).any():
        raise UsageError("a distance is not a number")
    found, place = np.unique(names, return_inverse=True)
    if not np.isin(true, found).all():
        raise UsageError("a true person is not in the list", hint="leave that record out, or put the person in")
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(found)))
    nearest = np.minimum.reduceat(distances[:, order], starts, axis=1)
    mine = nearest[np.arange(n), np.searchsorted(found, true)][:, None]
    return Ranking((nearest < mine).sum(axis=1), (nearest == mine).sum(axis=1), len(found))


def _number(values: np.ndarray, draw: np.random.Generator, groups: np.ndarray | None, baseline: float) -> Number:
    found = summarise(values, draw, share=True, groups=groups, baseline=baseline)
    assert found is not None  # noqa: S101  (for the type checker: there is at least one record, and none is NaN)
    return found

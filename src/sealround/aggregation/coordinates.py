"""Rules that decide parameter by parameter: the median, and means of the values near it.

Values of a block of parameters are brought in order (`sealround.aggregation.ordering`), as far as the rule asks for it;
what it keeps is a window of the ordered ones.

No site is left out as a whole: *influence* is the mean, over a sample of the parameters, of the weight that a site's
value has in the result. The sample is always the same; it is for people to look at, and no decision rests on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sealround.aggregation.blocks import check_updates, over_columns
from sealround.aggregation.conditions import require
from sealround.aggregation.ordering import Network, Sorting
from sealround.aggregation.outcome import Aggregate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealround.aggregation.ordering import Ranks
    from sealround.vocabulary import Updates

__all__ = ["coordinate_median", "mean_near_median", "mean_of_chosen_near_median", "trimmed_mean"]

_LARGEST_NETWORK, _ONE_THREAD_NETWORK = 40, 20
"""Up to so many rows a network is faster than sorting; the less if it has one thread, and sorting may have two."""

_SORT_COLUMNS, _NETWORK_COLUMNS = (1024, 2048), (4096, 1 << 15)
"""Columns of a block: with fewer, calls cost more than what they do; with more, a block is out of the cache."""

_SCRATCH = 9
"""Of one thread, or of two, scratch is at most that part of the updates."""

_SAMPLES, _SAMPLE_COLUMNS = 16, 256
"""So many columns of so many blocks are looked at again, for influences."""

_Window: TypeAlias = "Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]"
"""Takes ordered values, float32 ``(m, b)``, writes the result, ``(b,)``, and returns the rows that went into it."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """What is ordered: the updates themselves, some of them, or mixtures of them.

    Attributes:
        updates: float32 ``(n, d)``.
        chosen: Which rows; all if ``None``.
        mixing: float64 ``(m, n)``, rows are mixtures; no mixtures if ``None``.
    """

    updates: Updates
    chosen: np.ndarray | None = None
    mixing: np.ndarray | None = None

    @property
    def weights(self) -> np.ndarray:
        """Which combination of updates each row is, float64 ``(m, n)``."""
        whole = np.eye(len(self.updates)) if self.mixing is None else self.mixing
        return np.asarray(whole if self.chosen is None else whole[self.chosen])

    @cached_property
    def narrow(self) -> np.ndarray:
        """The weights, as the updates are: float32 ``(m, n)``."""
        return self.weights.astype(np.float32)

    def fill(self, columns: slice, out: np.ndarray) -> None:
        """Write some columns, float32 ``(m, b)``."""
        x = self.updates[:, columns]
        if self.mixing is not None:
            np.matmul(self.narrow, x, out=out)
        elif self.chosen is not None:
            for place, row in enumerate(self.chosen):
                out[place] = x[row]
        else:
            np.copyto(out, x)


@dataclass(frozen=True)
class _Rule:
    """What of the ordered values a rule wants.

    Attributes:
        ranks: Which of them, and which may change places.
        window: Makes the function that keeps a window of them, with scratch for so many columns.
        scratch: Rows of that scratch.
    """

    ranks: Ranks
    window: Callable[[int], _Window]
    scratch: int = 0


def coordinate_median(
    updates: Updates, *, num_byzantine: int, mixing: np.ndarray | None = None, threads: int = 1
) -> Aggregate:
    """Take the median of each parameter; of an even number of sites, the middle of the two in the middle.

    Guarantee: (f, 4 (1 + f/(n-2f))^2)-robust (Allouah et al. 2023).
    Assumes: n > 2f.
    Not covered: shifts within the honest spread of each parameter, which add up over many parameters; hospitals that
    differ, whose median can be far from their mean. Sample sizes are not looked at.
    Source: D. Yin, Y. Chen, K. Ramchandran, P. Bartlett, ICML 2018, Definition 1.

    Args:
        updates: float32 ``(n, d)``, finite.
        num_byzantine: f; only checked.
        mixing: Mixtures to take instead of the updates, float64 ``(m, n)`` (`nearest_neighbor_mixing`).
        threads: How many threads share the work; the result is the same to the last bit.

    Raises:
        UsageError: If there are too few sites, or updates are not a float32 matrix.
    """
    rows = _rows("median", updates, num_byzantine, mixing)
    return _by_parameter(rows, _mean_of(_middle(len(rows.weights))), threads)


def trimmed_mean(
    updates: Updates, *, num_byzantine: int, mixing: np.ndarray | None = None, threads: int = 1
) -> Aggregate:
    """Take the mean of each parameter without its f smallest and f largest values.

    Guarantee: (f, 6f/(n-2f) (1 + f/(n-2f)))-robust (Allouah et al. 2023), a bound that
    vanishes with f/n.
    Assumes: n > 2f.
    Not covered: shifts within the honest spread of each parameter, which add up over many parameters. Sample sizes are
    not looked at.
    Variants: the number cut off at each end is f itself, not a fraction of n that is rounded.
    Source: D. Yin, Y. Chen, K. Ramchandran, P. Bartlett, ICML 2018, Definition 2.

    Args:
        updates: float32 ``(n, d)``, finite.
        num_byzantine: f.
        mixing: Mixtures to take instead of the updates, float64 ``(m, n)`` (`nearest_neighbor_mixing`).
        threads: How many threads share the work; the result is the same to the last bit.

    Raises:
        UsageError: If there are too few sites, or updates are not a float32 matrix.
    """
    rows = _rows("trimmed-mean", updates, num_byzantine, mixing)
    inner = range(num_byzantine, len(rows.weights) - num_byzantine)
    return _by_parameter(rows, _mean_of(inner), threads)


def mean_near_median(
    updates: Updates, *, num_byzantine: int, mixing: np.ndarray | None = None, threads: int = 1
) -> Aggregate:
    """Take the mean, for each parameter, of the n - f values nearest its median (MeaMed).

    Guarantee: bounded error for f of n values corrupted in each parameter, not always by the same sites (dimensional
    Byzantine resilience).
    Assumes: n > 2f.
    Not covered: up to f values beside the median on the same side shift every parameter. Sample sizes are not looked
    at.
    Variants: of an even number the median is the middle of the two in the middle; of two values as near, the smaller.
    Source: C. Xie, O. Koyejo, I. Gupta, "Generalized Byzantine-tolerant SGD", 2018
    (mean around median).

    Args:
        updates: float32 ``(n, d)``, finite.
        num_byzantine: f.
        mixing: Mixtures to take instead of the updates, float64 ``(m, n)`` (`nearest_neighbor_mixing`).
        threads: How many threads share the work; the result is the same to the last bit.

    Raises:
        UsageError: If there are too few sites, or updates are not a float32 matrix.
    """
    rows = _rows("meamed", updates, num_byzantine, mixing)
    m = len(rows.weights)
    return _by_parameter(rows, _near_median(m, m - num_byzantine), threads)


def mean_of_chosen_near_median(
    updates: Updates, chosen: np.ndarray, *, num_byzantine: int, mixing: np.ndarray | None = None, threads: int = 1
) -> Aggregate:
    """Take the mean, for each parameter, of the n - 4f values nearest the median of n - 2f chosen sites (Bulyan).

    Guarantee: each parameter of the result is within the honest spread of that parameter, so that an attacker's room
    does not grow with the number of parameters (El Mhamdi et al. 2018).
    Assumes: n >= 4f + 3; `bulyan_choice` chose.
    Not covered: what Krum does not cover when honest hospitals differ; few sites are averaged. Sample sizes are not
    looked at.
    Variants: as in `mean_near_median`.
    Source: E. M. El Mhamdi, R. Guerraoui, S. Rouault, ICML 2018, Algorithm 1, step 2.

    Args:
        updates: float32 ``(n, d)``, finite.
        chosen: Rows of the n - 2f chosen sites (or mixtures).
        num_byzantine: f.
        mixing: Mixtures to take instead of the updates, float64 ``(m, n)`` (`nearest_neighbor_mixing`).
        threads: How many threads share the work; the result is the same to the last bit.

    Raises:
        UsageError: If there are too few sites, or updates are not a float32 matrix.
    """
    rows = _rows("bulyan", updates, num_byzantine, mixing)
    rows = _Rows(rows.updates, np.sort(chosen), mixing)
    return _by_parameter(rows, _near_median(len(chosen), len(chosen) - 2 * num_byzantine), threads)


def _rows(rule: str, updates: Updates, num_byzantine: int, mixing: np.ndarray | None) -> _Rows:
    check_updates(updates)
    require(rule, len(updates), num_byzantine)
    return _Rows(updates, None, mixing)


def _by_parameter(rows: _Rows, rule: _Rule, threads: int) -> Aggregate:
    """Order each block's values and keep a window of them."""
    d = rows.updates.shape[1]
    out = np.empty(d, dtype=np.float32)
    weights = rows.weights
    m = len(weights)
    plan = _plan(rows, rule, threads)
    every = -(-d // (_SAMPLES * plan.columns)) * plan.columns
    sampled = np.zeros((-(-d // every), m))

    def work(blocks: Sequence[slice]) -> None:
        orderer = Network(m, plan.columns, rule.ranks) if plan.network else Sorting(m, plan.columns)
        window = rule.window(plan.columns)
        for block in blocks:
            width = block.stop - block.start
            values = orderer.buffer(width)
            rows.fill(block, values)
            few = values[:, :_SAMPLE_COLUMNS].copy() if block.start % every == 0 else None
            kept = window(orderer.order(width), out[block])
            if few is not None:
                sampled[block.start // every] = _within(few, [part[:, :_SAMPLE_COLUMNS] for part in kept])

    over_columns(work, d, columns=plan.columns, threads=plan.threads)
    influence = sampled.mean(axis=0) @ weights
    reasons = tuple(f"{part:.1%} of the result, over a sample of parameters" for part in influence)
    return Aggregate(out, None, influence, reasons)


@dataclass(frozen=True)
class _Plan:
    """How a matrix is walked over: by its size alone, but for the threads.

    Attributes:
        network: Whether values are ordered by a network.
        columns: Columns of a block.
        threads: How many are worth it.
    """

    network: bool
    columns: int
    threads: int


def _plan(rows: _Rows, rule: _Rule, threads: int) -> _Plan:
    """Return what is fastest, with blocks that fit the cache and are little beside the updates themselves."""
    n, d = rows.updates.shape
    m = len(rows.weights)
    room = n * d // (_SCRATCH * (m + 3 + rule.scratch))
    # A network's steps are short: where blocks are not long, threads wait for the interpreter more than they compute.
    together = room >= 2 * _NETWORK_COLUMNS[1]
    network = m <= (_LARGEST_NETWORK if together else _ONE_THREAD_NETWORK)
    fewest, most = _NETWORK_COLUMNS if network else _SORT_COLUMNS
    columns = min(max(room, fewest), most) | 31  # odd: rows of 2^k bytes would push each other out of the cache
    return _Plan(network, min(columns, d), threads if together or not network else 1)


def _within(x: np.ndarray, kept: Sequence[np.ndarray]) -> np.ndarray:
    """Return each row's mean weight where those within the span of the kept share each column, float64 ``(m,)``."""
    span = np.concatenate(kept)
    inside = ((x >= span.min(axis=0)) & (x <= span.max(axis=0))).astype(np.float64)
    return np.asarray(inside @ (1.0 / inside.sum(axis=0)) / x.shape[1])


# --- windows ----------------------------------------------------------------------------------------------------------


def _middle(m: int) -> range:
    """Return the ranks that the median is the mean of."""
    return range((m - 1) // 2, m // 2 + 1)


def _mean_of(inner: range) -> _Rule:
    """Return the rule that takes the mean of some ranks."""
    parts = np.full(len(inner), 1.0 / len(inner), dtype=np.float32)

    def window(ordered: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, ...]:
        kept = ordered[inner.start : inner.stop]
        np.matmul(parts, kept, out=out)  # in one pass, whichever way the values lie in memory
        return (kept,)

    return _Rule((inner,), lambda _: window)


def _near_median(m: int, number: int) -> _Rule:
    """Return the rule that takes the mean of the ``number`` values, of m, nearest the median."""
    # Windows of ordered values have one from each residue class modulo their length. The nearest window has the nearest
    # of each class, so that nothing far away is ever added up and taken off again. Ranks that are alone in their class
    # are always kept.
    rivals, middle = min(m - number, number), _middle(m)
    below, above = range(rivals, min(number, middle[0])), range(max(rivals, middle[-1] + 1), number)
    apart = [range(rank, rank + 1) for rank in range(m) if rank not in below and rank not in above]
    parts = np.full(number, 1.0 / number, dtype=np.float32)

    def make(columns: int) -> _Window:
        scratch = np.empty((2, rivals, columns), dtype=np.float32)

        def window(ordered: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, ...]:
            median = (ordered[middle[0]] + ordered[middle[-1]]) * np.float32(0.5)
            nearest, alone = np.ascontiguousarray(ordered[:rivals]), ordered[rivals:number]
            for start in range(number, m, number):
                others = np.ascontiguousarray(ordered[start : start + number])
                one, other = scratch[:, : len(others), : ordered.shape[1]]
                _take_nearer(others, nearest[: len(others)], median, (one, other))
            np.matmul(parts[:rivals], nearest, out=out)
            out += parts[rivals:] @ alone
            return nearest, alone

        return window

    return _Rule((below, above, *apart), make, 2 * rivals)


def _take_nearer(
    others: np.ndarray, nearest: np.ndarray, median: np.ndarray, scratch: tuple[np.ndarray, np.ndarray]
) -> None:
    """Put those of the others in that are nearer to the median, float32 in place."""
    distance, least = scratch
    np.abs(np.subtract(others, median, out=distance), out=distance)
    np.abs(np.subtract(nearest, median, out=least), out=least)
    distance -= least  # negative where the other is nearer: its sign, all along the word, chooses between bits
    chooses = distance.view(np.int32)
    chooses >>= 31
    bits, other = nearest.view(np.int32), others.view(np.int32)
    other ^= bits
    other &= chooses
    bits ^= other

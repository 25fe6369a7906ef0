"""The discrete Gaussian: noise that is an integer, exact to 2^-100, from AES-256 in counter mode.

``N_Z(s)`` gives the integer z with a probability proportional to ``exp(-z^2 / (2 s^2))`` (Canonne, Kamath, Steinke,
NeurIPS 2020, Definition 1). Noise in floating point is what Mironov (CCS 2012) broke: the low bits of a sum tell which
sums were possible. Here every value is an integer and so is what the noise is added to: there are no low bits.

A narrow one (s up to `WIDEST`) is read off a table. The 128 bits of a uniform number decide against cumulated
probabilities that are computed in integers; sixteen of them are enough nearly always, and are all that is drawn then.

A wide one is put together (Peikert 2010, Theorem 3.1): ``z0 + k z1`` with z0 of width s0 and z1 of width s1 is
``N_Z(sqrt(s0^2 + k^2 s1^2))`` but for a factor within ``1 +- 4 exp(-2 pi^2 c^2)`` on every probability, where
``c = s0 s1 / s``. Every c here is at least `SMOOTH`: the factor differs from 1 by less than 2^-400.

Guarantee: the total variation distance between what is drawn and ``N_Z(s)``, for one integer, is below 2^-100: 2^60
numbers are as good as exact. Not covered: the time a draw takes depends on its value, on the machine that draws it.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from sealround.crypto.masks import WordStream
from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.crypto.secret import Secret

__all__ = ["NARROWEST", "SMOOTH", "WIDEST", "DiscreteGaussian"]

SMOOTH = 4.3
"""Least c of a sum: ``4 exp(-2 pi^2 c^2)`` is below 2^-520."""

NARROWEST = 8.0
"""Least width that is drawn: below it a discrete Gaussian is no longer nearly a rounded one."""

WIDEST = 128.0
"""Largest width of one table: its steps stay rare among the 2^16 beginnings of a uniform number."""

_TAIL = 13.5
"""Widths after which nothing is drawn: what is cut off has a probability below 2^-130."""

_LARGEST = 2.0**24
_BITS, _FIRST, _REST = 128, 16, 64
_DIGITS = 320  # bits of the fixed-point arithmetic of a table
_BLOCK = 2**15


class DiscreteGaussian:
    """Integers of one width.

    Args:
        sigma: The width s, `NARROWEST` .. 2^24; close to the standard deviation.

    Raises:
        UsageError: If the width is out of range.
    """

    __slots__ = ("_levels", "sigma")

    def __init__(self, sigma: float) -> None:
        if not NARROWEST <= sigma <= _LARGEST:
            raise UsageError(f"a discrete Gaussian is drawn from {NARROWEST:g} to 2^24 wide, not {sigma:g}")
        self.sigma = float(sigma)
        self._levels = tuple(_levels(self.sigma))

    @property
    def largest(self) -> int:
        """The largest magnitude that is ever drawn."""
        return sum(factor * _table(width).largest for factor, width in self._levels)

    @property
    def widths(self) -> tuple[tuple[int, float], ...]:
        """What it is put together from: a factor and a width for each term."""
        return self._levels

    def draw(self, count: int, key: Secret) -> np.ndarray:
        """Return so many independent integers, int32 ``(count,)``.

        Args:
            count: How many.
            key: Used for these alone: the same key gives the same integers.
        """
        out, stream = np.empty(count, dtype=np.int32), WordStream(key)
        for start in range(0, count, _BLOCK):
            block = out[start : start + _BLOCK]
            for number, (factor, width) in enumerate(self._levels):
                term = _table(width).draw(block.size, stream)
                if number:
                    block += np.multiply(term, factor, dtype=np.int32)
                else:
                    block[...] = term  # the first factor is 1
        return out


def _levels(sigma: float) -> list[tuple[int, float]]:
    """Return factors and widths whose sum is ``sigma`` wide."""
    factor, found = 1, []
    while sigma > WIDEST:
        # As few terms as can be: k is what brings the rest into a table, or the largest that one table smooths.
        k = min(math.ceil(sigma / (WIDEST - 1.0)), math.floor(WIDEST / (SMOOTH + 0.1)))
        width = k * (SMOOTH + 0.1)
        found.append((factor, width))
        sigma = math.sqrt(sigma * sigma - width * width) / k
        factor *= k
    return [*found, (factor, sigma)]


class _Table:
    """Cumulated probabilities of one width.

    Attributes:
        largest: Largest magnitude.
    """

    __slots__ = ("_bounds", "_first", "_steps", "largest")

    def __init__(self, sigma: float) -> None:
        self.largest = math.ceil(_TAIL * sigma)
        self._steps = _cumulated(sigma, self.largest)
        self._bounds = np.array([step >> (_BITS - _REST) for step in self._steps], dtype=np.uint64)
        # By the first 16 bits: the value, where they decide it.
        starts = np.arange(2**_FIRST, dtype=np.uint64) << np.uint64(_REST - _FIRST)
        ends = starts + np.uint64(2 ** (_REST - _FIRST) - 1)
        low, high = (np.searchsorted(self._bounds, edge, side="right") for edge in (starts, ends))
        # A step at the very start of a beginning may lie above its first number: 64 bits do not say.
        decided = (low == high) & ~np.isin(starts, self._bounds)
        self._first = np.where(decided, low - self.largest, _UNDECIDED).astype(np.int16)

    def draw(self, count: int, stream: WordStream) -> np.ndarray:
        """Return so many integers, int16."""
        beginnings = np.empty(count, dtype="<u2")
        stream.fill(beginnings)
        values = self._first.take(beginnings)
        if (open_ := np.flatnonzero(values == _UNDECIDED)).size:
            values[open_] = self._decide(beginnings[open_], stream)
        return values

    def _decide(self, beginnings: np.ndarray, stream: WordStream) -> np.ndarray:
        """Draw more bits for these beginnings, until each is below one step and above another."""
        words = np.empty(beginnings.size, dtype="<u8")
        stream.fill(words)
        words >>= np.uint64(_FIRST)
        words |= beginnings.astype(np.uint64) << np.uint64(_REST - _FIRST)
        above = np.searchsorted(self._bounds, words, side="right")
        # Equal in 64 bits to a step: once in 2^50 draws. The other 64 bits decide.
        for place in np.flatnonzero(np.searchsorted(self._bounds, words, side="left") != above):
            rest = np.empty(1, dtype="<u8")
            stream.fill(rest)
            above[place] = self._count(int(words[place]) << _REST | int(rest[0]))
        return (above - self.largest).astype(np.int16)

    def _count(self, number: int) -> int:
        """Return how many steps a uniform number of 128 bits has passed."""
        low, high = 0, len(self._steps)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._steps[middle] <= number else (low, middle)
        return low


_UNDECIDED = np.iinfo(np.int16).min

_table = lru_cache(maxsize=64)(_Table)


def _cumulated(sigma: float, largest: int) -> list[int]:
    """Return for each integer but the last the probability of it and all below, times 2^128, rounded down."""
    with localcontext() as context:
        context.prec = 120
        step = (Decimal(-1) / (2 * Decimal(sigma) * Decimal(sigma))).exp()
        ratio = int(step * 2**_DIGITS)  # exp(-1 / 2 s^2)
    # exp(-(z + 1)^2 / 2 s^2) is exp(-z^2 / 2 s^2) times ratio^(2 z + 1).
    weights, power, square = [1 << _DIGITS], ratio, ratio * ratio >> _DIGITS
    for _ in range(largest):
        weights.append(weights[-1] * power >> _DIGITS)
        power = power * square >> _DIGITS
    ordered = [*reversed(weights[1:]), *weights]
    total, passed, found = sum(ordered), 0, []
    for weight in ordered[:-1]:
        passed += weight
        found.append((passed << _BITS) // total)
    return found

"""Federated statistics from sums: who holds what stays at the site, only totals are computed.

A site contributes two vectors, each of which matters only as its sum over sites:

1. counts: examples, positives (or events), then for each numeric input how many values are present and their sum, then
   for each categorical feature the patients at each level;
2. squares: for each numeric input the sum of squared distances from the global mean of step 1. Two passes cost one more
   message and avoid the cancellation of the textbook formula (Chan, Golub, LeVeque 1983, section 1).

Cells that describe fewer patients than the site's minimum are sent as 0, which biases the totals by less than the
minimum per site and cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sealround.vocabulary import Tally
    from sealround.wire import Value

__all__ = ["Layout", "Statistics", "ordered_levels"]


def ordered_levels(levels: Iterable[str]) -> tuple[str, ...]:
    """Return each level once, in the one order of levels that the study leaves open: numbers by size, then texts."""
    return tuple(sorted(set(levels), key=_rank))


def _rank(level: str) -> tuple[bool, float, str]:
    try:
        number = float(level)
    except ValueError:
        number = math.nan
    return (False, number, level) if math.isfinite(number) else (True, 0.0, level)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which number stands where in the counts vector.

    Attributes:
        numeric: Names of the numeric inputs, in order (columns, vector entries, or image channels).
        categories: Each categorical feature with its levels: in the study's order, or by `ordered_levels`.
    """

    numeric: tuple[str, ...]
    categories: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def size(self) -> int:
        """Length of the counts vector."""
        return 2 + 2 * len(self.numeric) + sum(len(levels) for _, levels in self.categories)

    def with_levels(self, found: Mapping[str, Iterable[str]]) -> Layout:
        """Return the layout with these levels for features that have none yet."""
        categories = ((name, levels or ordered_levels(found.get(name, ()))) for name, levels in self.categories)
        return Layout(self.numeric, tuple(categories))

    def to_wire(self) -> dict[str, Value]:
        """Return a tree fit for `sealround.wire`."""
        return {"numeric": list(self.numeric), "categories": [[name, list(levels)] for name, levels in self.categories]}

    def join(self, examples: float, positives: float, present: Tally, sums: Tally, levels: Tally) -> Tally:
        """Lay one site's numbers out as its counts vector, float64 ``(size,)``."""
        vector = np.concatenate(([examples, positives], present, sums, levels)).astype(np.float64)
        if vector.size != self.size:
            msg = f"counts of {vector.size} numbers do not fit a layout of {self.size}"
            raise UsageError(msg)
        return vector

    def split(self, counts: Tally) -> tuple[float, float, Tally, Tally, Tally]:
        """Take a counts vector apart: examples, positives, present, sums, level counts."""
        if counts.shape != (self.size,):
            msg = f"counts of shape {counts.shape} do not fit a layout of {self.size}"
            raise UsageError(msg)
        width = len(self.numeric)
        present, sums, levels = np.split(counts[2:], [width, 2 * width])
        return float(counts[0]), float(counts[1]), present, sums, levels


@dataclass(frozen=True, slots=True)
class Statistics:
    """What all sites together know about the inputs of the training split.

    Attributes:
        layout: Names and levels.
        examples: Training examples.
        positives: Examples with the outcome (events, for survival).
        present: Non-missing values of each numeric input, float64 ``(k,)``.
        mean: Mean of each numeric input, float64 ``(k,)``; 0 where nothing is present.
        scale: Population standard deviation, float64 ``(k,)``; 1 where it is 0 or not asked for.
        level_counts: Patients at each level, features in layout order, float64.
    """

    layout: Layout
    examples: float
    positives: float
    present: Tally
    mean: Tally
    scale: Tally
    level_counts: Tally

    @classmethod
    def from_counts(cls, layout: Layout, counts: Tally) -> Statistics:
        """Compute means from the summed counts; scales are 1 until `with_squares`."""
        examples, positives, present, sums, levels = layout.split(counts)
        mean = np.divide(sums, present, out=np.zeros_like(sums), where=present > 0)
        return cls(layout, examples, positives, present, mean, np.ones_like(mean), levels)

    @classmethod
    def declared(cls, layout: Layout, examples: int, ranges: Mapping[str, tuple[float, float]]) -> Statistics:
        """Make statistics up from what is public, without reading a record.

        Args:
            layout: Names and levels.
            examples: How many there are, about.
            ranges: Lower and upper end of numeric inputs: their middle stands for the mean, a quarter of their width
                for the spread. An input without a range is left as it is.
        """
        ends = np.array([ranges.get(name, (-2.0, 2.0)) for name in layout.numeric]).reshape(-1, 2)
        number = float(examples)
        return cls(
            layout=layout,
            examples=number,
            positives=number / 2,
            present=np.full(len(layout.numeric), number),
            mean=ends.mean(axis=1),
            scale=(ends[:, 1] - ends[:, 0]) / 4.0,
            level_counts=np.array([number / len(levels) for _, levels in layout.categories for _ in levels]),
        )

    def with_squares(self, squares: Tally) -> Statistics:
        """Return these statistics with scales from the summed squared distances, float64 ``(k,)``."""
        if squares.shape != self.mean.shape:
            msg = f"squares of shape {squares.shape} do not fit {self.mean.size} numeric inputs"
            raise UsageError(msg)
        variance = np.divide(squares, self.present, out=np.zeros_like(squares), where=self.present > 0)
        scale = np.sqrt(variance)
        # A constant input is left alone: scaling rounding noise to variance 1 would invent a feature.
        constant = scale <= 1e-12 * np.maximum(1.0, np.abs(self.mean))
        scale[constant] = 1.0
        return Statistics(self.layout, self.examples, self.positives, self.present, self.mean, scale, self.level_counts)

    def to_wire(self) -> dict[str, Value]:
        """Return a tree fit for `sealround.wire`."""
        return {
            **self.layout.to_wire(),
            "examples": self.examples,
            "positives": self.positives,
            "present": self.present,
            "mean": self.mean,
            "scale": self.scale,
            "level_counts": self.level_counts,
        }

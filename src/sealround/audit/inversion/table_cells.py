"""What one cell of a table is, and when it counts as recovered.

Whole numbers are recovered if they are right after rounding, categories if the most likely level is the right one, and
other numbers if they are within a tolerance: one that is given (`reported_tolerance` takes it from the digits that a
hospital writes down), else a twentieth of the column's standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.audit.inversion.observation import Domain

__all__ = ["SHARE_OF_DEVIATION", "Cells", "cells_of", "reported_tolerance"]

SHARE_OF_DEVIATION = 0.05
"""Tolerance of a number, in standard deviations of its column, where no better one is known."""

_DIGITS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The cells of an encoded record.

    Attributes:
        numbers: Columns that are a cell each.
        groups: Columns that are one categorical cell together.
        implicit: For each group, whether its first level has no column.
        tolerance: Largest error of each number that counts as none, raw units, ``(len(numbers),)``; 0.5 where only
            the whole number counts.
        whole: Which numbers are rounded first, bool ``(len(numbers),)``.
    """

    numbers: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    implicit: tuple[bool, ...]
    tolerance: torch.Tensor
    whole: torch.Tensor

    def __len__(self) -> int:
        """How many."""
        return len(self.numbers) + len(self.groups)

    @property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """The columns of each cell: numbers, then groups, as `hits` has them."""
        return tuple((number,) for number in self.numbers) + self.groups

    def hits(self, rebuilt: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
        """Return which cells are recovered, bool ``(..., cells)``.

        Args:
            rebuilt: Raw records ``(..., p)``.
            originals: Raw records that they are held against; shapes broadcast.
        """
        numbers = list(self.numbers)
        mine, true = rebuilt[..., numbers], originals[..., numbers]
        error = torch.where(self.whole, mine.round() - true.round(), mine - true).abs()
        parts = [error <= torch.where(self.whole, 0.0, self.tolerance)]
        for group, implicit in zip(self.groups, self.implicit, strict=True):
            levels = _levels(rebuilt[..., list(group)], implicit=implicit)
            parts.append((levels == _levels(originals[..., list(group)], implicit=implicit)).unsqueeze(-1))
        return torch.cat(parts, -1)


def cells_of(domain: Domain, columns: int, tolerance: torch.Tensor | None = None) -> Cells:
    """Return the cells of records of a domain.

    Args:
        domain: Of the records.
        columns: p, how many encoded columns there are.
        tolerance: Largest error that counts as none, raw units, ``(p,)``; whole numbers and categories do not use it.

    Raises:
        UsageError: If the tolerance does not fit, or is negative somewhere.
    """
    grouped = {column for group in domain.groups for column in group}
    numbers = tuple(column for column in range(columns) if column not in grouped)
    if tolerance is None:
        tolerance = SHARE_OF_DEVIATION * domain.scale.abs().expand(columns)
    if tolerance.shape != (columns,) or bool((tolerance < 0).any()):
        raise UsageError(f"tolerances of {columns} columns are {columns} numbers from 0 on")
    whole = torch.tensor([column in set(domain.integer) for column in numbers], dtype=torch.bool)
    return Cells(numbers, domain.groups, domain.implicit, tolerance[list(numbers)], whole)


def reported_tolerance(values: torch.Tensor) -> torch.Tensor:
    """Return half of the last digit that a column is written with, ``(p,)``, to six digits.

    Args:
        values: Raw, ``(n, p)``; NaN where a value is missing. Noise as of a standardisation in float32 (2^-22 of a
            column's largest value) is overlooked.

    Returns:
        Half of 10^-k for the smallest k from 0 to 6 with which every value of the column is written exactly; the noise
        where that is larger.
    """
    noise = 2.0**-22 * values.nan_to_num(0.0).abs().amax(0).double()
    tolerance = torch.full((values.shape[1],), 0.5 * 10.0**-_DIGITS, dtype=torch.float64)
    for digits in range(_DIGITS, -1, -1):
        scaled = values.to(torch.float64) * 10.0**digits
        written = ((scaled - scaled.round()).abs().nan_to_num(0.0) <= noise * 10.0**digits).all(0)
        tolerance = torch.where(written, torch.tensor(0.5 * 10.0**-digits, dtype=torch.float64), tolerance)
    return torch.maximum(tolerance, noise)


def _levels(indicators: torch.Tensor, *, implicit: bool) -> torch.Tensor:
    """Return the most likely level; the first one's share, where it has no column, is what the others leave."""
    if implicit:
        indicators = torch.cat([1.0 - indicators.sum(-1, keepdim=True), indicators], -1)
    return indicators.argmax(-1)

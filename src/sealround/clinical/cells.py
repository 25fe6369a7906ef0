"""Cells as text: which are missing, which are numbers, which level they mean; and how an error names rows.

Two cells are the same value when they are the same text or the same number, so that a file may write 0 as `0.0`.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealround.study.sections import Code
    from sealround.vocabulary import Labels, Rows

__all__ = [
    "band_codes",
    "band_names",
    "bands_of",
    "canonical_levels",
    "finite_numbers",
    "levels_of",
    "matches",
    "name_rows",
]

_NAMED_ROWS = 5


def matches(cells: pl.Series, codes: Sequence[Code]) -> pl.Series:
    """Say which cells are one of the codes, as text or as number; null never is.

    Args:
        cells: Text, stripped.
        codes: Texts and numbers; a text that reads as a number is compared as one too.

    Returns:
        Boolean, no nulls.
    """
    texts = [str(code).strip() for code in codes]
    numbers = [number for number in map(_number, texts) if number is not None]
    hit = cells.is_in(texts)
    if numbers:
        hit = hit | cells.cast(pl.Float64, strict=False).is_in(numbers)
    return hit.fill_null(value=False)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def finite_numbers(cells: pl.Series) -> tuple[Labels, Rows]:
    """Read cells as numbers.

    Args:
        cells: Text, stripped; null where missing.

    Returns:
        float64 ``(n,)`` with NaN where missing, and the rows of cells that are there but no finite number.
    """
    numbers = cells.cast(pl.Float64, strict=False)
    bad = cells.is_not_null() & ~numbers.is_finite().fill_null(value=False)
    return numbers.fill_null(math.nan).to_numpy(), np.flatnonzero(bad.to_numpy())


def levels_of(cells: pl.Series) -> pl.Series:
    """Return each cell as a level: a whole number loses its decimals, so that `3.0` and `3` are one level."""
    return cells.str.replace(r"^([+-]?[0-9]+)\.0*$", "${1}")


def canonical_levels(levels: Sequence[str]) -> tuple[str, ...]:
    """Return declared levels as `levels_of` writes them, each once, in order."""
    return tuple(dict.fromkeys(levels_of(pl.Series(levels, dtype=pl.String)).to_list()))


def band_names(bands: Sequence[float]) -> tuple[str, ...]:
    """Return what the bands between ascending cut points are called: ``"< 50"``, ``"≥ 50 and < 65"``, ``"≥ 65"``."""
    cuts = [f"{cut:.15g}" for cut in bands]
    between = (f"≥ {low} and < {high}" for low, high in pairwise(cuts))
    return (f"< {cuts[0]}", *between, f"≥ {cuts[-1]}")


def band_codes(cells: pl.Series, bands: Sequence[float]) -> Rows:
    """Return which band each number is in, int64 ``(n,)``; -1 where it is missing. A cut point is in the one above."""
    numbers = finite_numbers(cells)[0]
    return np.where(np.isnan(numbers), -1, np.digitize(numbers, bands)).astype(np.int64)


def bands_of(cells: pl.Series, bands: Sequence[float]) -> pl.Series:
    """Return the name of each number's band, null where it is missing."""
    names = [*band_names(bands), None]  # -1 is the last
    return pl.Series(cells.name, [names[code] for code in band_codes(cells, bands)], dtype=pl.String)


def name_rows(rows: Rows | Iterable[int]) -> str:
    """Name rows for an error, counted from 1 after the header: ``"rows 3, 7, 12 and 40 more"``."""
    numbers = [int(row) + 1 for row in rows]
    shown = ", ".join(str(number) for number in numbers[:_NAMED_ROWS])
    more = f" and {len(numbers) - _NAMED_ROWS} more" if len(numbers) > _NAMED_ROWS else ""
    return f"row{'s' if len(numbers) != 1 else ''} {shown}{more}"

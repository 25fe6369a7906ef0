"""Numbers that look like codes: a 0, 9 or -99 where a measurement should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sealround.vocabulary import Labels

__all__ = ["USUAL_CODES", "codes_standing_out"]

USUAL_CODES = (0, -1, 9, -9, 99, -99, 999, -999, 9999, -9999)
"""Numbers that files use for "missing", most usual first."""

_FEW_VALUES = 10
_SPACINGS = 3.0
_SPIKE = 3.0
_SPIKE_ROWS = 5


def codes_standing_out(values: Labels) -> list[tuple[int, int]]:
    """Find usual codes for "missing" that do not belong to the rest of a column.

    A code is reported if it is the column's lowest or highest number and any of these holds:

    - it is negative and everything else is not;
    - the column has few other values, the code is 9 or more, and it is further from them than they are from each other;
    - the column has many values, the code is more than three usual spacings from the next, and either further from it
      than the column's interquartile range, or three times as frequent as any other value.

    So a cholesterol or insulin of 0 is reported; no pregnancies, or no ST depression, is not.

    Args:
        values: Numbers that are there, float64 ``(n,)``.

    Returns:
        Each code with the number of its rows, most usual code first.
    """
    unique, counts = np.unique(values, return_counts=True)
    found = []
    for code in USUAL_CODES:
        here = unique == code
        if here.any() and unique.size > 1:
            count = int(counts[here][0])
            if _stands_out(code, count, values[values != code], counts[~here].max()):
                found.append((code, count))
    return found


def _stands_out(code: int, count: int, others: Labels, most: int) -> bool:
    unique = np.unique(others)
    gap = max(unique[0] - code, code - unique[-1])
    if gap <= 0:
        return False
    if code < 0 <= unique[0]:
        return True
    if unique.size < _FEW_VALUES:
        return abs(code) >= USUAL_CODES[2] and bool(gap > np.ptp(unique))
    if gap <= _SPACINGS * np.median(np.diff(unique)):
        return False
    low, high = np.percentile(others, (25, 75))
    return bool(gap > high - low) or count >= max(_SPIKE_ROWS, _SPIKE * most)

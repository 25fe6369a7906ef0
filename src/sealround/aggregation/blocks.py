"""Passes over the columns of a wide matrix, a cache's worth at a time.

The updates of a round are a matrix of a few rows and millions of columns. No rule copies it: it walks over blocks of
columns, and what it makes of one fits the cache. Blocks are the same whatever the number of threads, so that a result
is too, to the last bit.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealround.vocabulary import Updates

__all__ = ["check_updates", "over_columns"]


def check_updates(updates: Updates) -> None:
    """Check that a matrix is one that the rules can walk over.

    Args:
        updates: float32 ``(n, d)``, a row for each site.

    Raises:
        UsageError: If it is another type or shape, empty, or its rows are not contiguous.
    """
    if updates.dtype != np.float32 or updates.ndim != 2:  # noqa: PLR2004
        raise UsageError(
            f"updates are a float32 matrix with a row for each site, not {updates.dtype} of shape {updates.shape}"
        )
    if not updates.size:
        raise UsageError(f"there is nothing to aggregate: updates have shape {updates.shape}")
    if updates.strides[1] != updates.itemsize:
        raise UsageError("the rows of updates are contiguous", hint="pass numpy.ascontiguousarray(updates)")


def over_columns(work: Callable[[Sequence[slice]], None], d: int, *, columns: int, threads: int = 1) -> None:
    """Walk over blocks of columns.

    Args:
        work: Does its blocks, one after the other. It is called once for each thread, and makes its buffers then.
        d: How many columns there are.
        columns: Columns of a block; the last may have fewer.
        threads: How many threads share the blocks; numpy lets go of the interpreter while it computes.
    """
    blocks = [slice(start, min(start + columns, d)) for start in range(0, d, columns)]
    if min(threads, len(blocks)) == 1:
        work(blocks)
        return
    with ThreadPoolExecutor(threads - 1) as pool:  # beside the caller's own
        others = [pool.submit(work, blocks[first::threads]) for first in range(1, threads)]
        work(blocks[::threads])
        for done in others:
            done.result()

"""Histograms of logits that noise does not drown: a few cells in place of the tally's 256 bins.

Noise is the same in each cell however many there are, and what is computed of a histogram has the noise of all of them.
So the bins are added up to 18 cells for each class before noise, and put back afterwards at the middle of their cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.federation.tally import BIN_CENTRES, BINS

if TYPE_CHECKING:
    from sealround.vocabulary import Tally

__all__ = ["CELL_COUNT", "coarse", "spread"]

_LIMIT, _WIDTH = 4.0, 0.5
_FIRST = int(np.searchsorted(BIN_CENTRES, -_LIMIT))
_STEP = round(_WIDTH / float(BIN_CENTRES[1] - BIN_CENTRES[0]))
_EDGES = np.arange(_FIRST, BINS - _FIRST + 1, _STEP)
_OF_BIN = np.searchsorted(_EDGES, np.arange(BINS), side="right")
CELL_COUNT = int(_OF_BIN[-1]) + 1
"""Cells of one class: 16 of half a logit from -4 to 4, and what is beyond."""

# Where a cell's patients are put: the bin above its middle; of the outer ones, half a cell beyond the edge.
_PLACE = np.concatenate(([_EDGES[0] - _STEP // 2], _EDGES[:-1] + _STEP // 2, [_EDGES[-1] + _STEP // 2]))


def coarse(histogram: Tally) -> Tally:
    """Add bins up to cells.

    Args:
        histogram: Negatives, then positives by bin, float64 ``(2 * BINS,)``.

    Returns:
        The same by cell, float64 ``(2 * CELL_COUNT,)``.
    """
    return np.concatenate(
        [np.bincount(_OF_BIN, weights=bins, minlength=CELL_COUNT) for bins in histogram.reshape(2, BINS)]
    )


def spread(cells: Tally) -> Tally:
    """Put cells back among the bins: the inverse of `coarse`, but for where in its cell a patient is.

    Args:
        cells: float64 ``(2 * CELL_COUNT,)``.
    """
    histogram = np.zeros((2, BINS))
    histogram[:, _PLACE] = cells.reshape(2, CELL_COUNT)
    return histogram.ravel()

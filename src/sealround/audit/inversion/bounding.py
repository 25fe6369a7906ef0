"""Attack-free numbers of a captured update, from arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.bounds import bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from sealround.audit.inversion.information import Bounds
    from sealround.audit.inversion.observation import Observation, Victims

__all__ = ["bounds_of_update"]

_LIMIT = 1 << 24
"""Numbers of J that are held: above it random sums of its columns are, a few seconds' work."""


def bounds_of_update(seen: Observation, victims: Victims, seed: int, sites: Sequence[Sequence[np.ndarray]]) -> Bounds:
    """Return what an update determines of each patient behind it.

    Args:
        seen: The update.
        victims: All records behind it, site after site.
        seed: For sketches.
        sites: For each site the rows of ``victims`` of each step, int64.

    Raises:
        UsageError: If steps are Adam's.
    """
    draw = torch.Generator().manual_seed(seed)
    batches = [[torch.from_numpy(rows) for rows in steps] for steps in sites]
    return bounds(seen, victims, draw, sites=batches, limit=_LIMIT)

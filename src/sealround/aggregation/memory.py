"""What is remembered of each site between rounds: a mean of its updates in which older ones count less.

Honest updates scatter about what their site's data say; over rounds that cancels, and a lie that hides in the scatter
of one round does not (Karimireddy et al. 2021). A site can do this itself and send momentum; the coordinator can do it
for a site that sends updates, because it is linear, and then needs nobody's word for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.vocabulary import Update

__all__ = ["Remembered", "remember"]


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """The weighted mean of one site's updates.

    Attributes:
        update: float32 ``(d,)``.
        weight: What all of them count together, where the last counts 1.
    """

    update: Update
    weight: float


def remember(before: Remembered | None, update: Update, *, decay: float) -> Remembered:
    """Add a round's update to what is remembered of its site.

    With weight w before, the mean m becomes m + (x - m) / (1 + decay w). A decay of 0 keeps the last update alone, one
    of 1 the mean of all. In a site's first round the mean is its update: nothing starts from zero, and a site that
    misses a round loses nothing by it.

    Args:
        before: What was remembered; ``None`` in the site's first round.
        update: float32 ``(d,)``, finite. It is not kept.
        decay: What a round counts one round later, 0 <= decay <= 1.

    Returns:
        A new memory; ``before`` stays as it is.

    Raises:
        UsageError: If the decay is out of range or shapes differ.
    """
    if not 0.0 <= decay <= 1.0:
        raise UsageError(f"a decay is from 0 to 1, not {decay}")
    if before is None:
        return Remembered(update.copy(), 1.0)
    if before.update.shape != update.shape:
        raise UsageError(f"an update of {update.shape} follows one of {before.update.shape}")
    weight = 1.0 + decay * before.weight
    step = np.subtract(update, before.update)
    step *= np.float32(1.0 / weight)
    step += before.update
    return Remembered(step, weight)

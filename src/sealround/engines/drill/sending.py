"""What becomes of an update on its way to the mean: nothing in an open study, fixed-point arithmetic in a sealed one.

Masks and shares cancel exactly in a sealed sum, so a drill leaves them out, and plays what does not cancel: clipping,
the range of a number, rounding, the cap on a weight. A malicious site leaves out its own clipping; the range and the
cap it cannot, since numbers beyond them make a sum that is recognised as none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sealround.crypto import Secret
from sealround.federation.randomness import stream
from sealround.federation.sealing import SealedPlan
from sealround.secagg import Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.federation.interfaces import TrainOrder, TrainOutcome
    from sealround.secagg import FixedPoint
    from sealround.study import Study
    from sealround.vocabulary import PartyId, Update

__all__ = ["as_sent"]

_LARGEST = float(np.finfo(np.float32).max)


def as_sent(
    study: Study, seed: int, liars: frozenset[PartyId], a_round: int
) -> Callable[[PartyId, TrainOrder, TrainOutcome], TrainOutcome]:
    """Return what happens to an outcome between a site and the mean.

    Args:
        study: The study, sealed or not.
        seed: Decides on the rounding.
        liars: Who leaves out its own clipping.
        a_round: How many sites are summed.

    Returns:
        A function of the site, the order and its outcome.

    Raises:
        StudyError: If the sum of so many sites cannot be sealed.
    """
    if not study.protection.sealed:
        return lambda _site, _order, outcome: outcome
    honest = SealedPlan(study).check(a_round)
    lying = replace(honest, l2_clip_norm=None)

    def sent(site: PartyId, order: TrainOrder, outcome: TrainOutcome) -> TrainOutcome:
        uniform = study.training.weighting == "uniform"
        cap = 1.0 if uniform else max(1.0, float(round(order.statistics.examples)))
        weight = min(outcome.weight, cap)
        if not weight:
            return replace(outcome, weight=weight)
        fixed = lying if site in liars else honest
        draw = stream(seed, "drill", "rounding", site, order.round)
        update = _rounded(fixed, outcome.update, weight / cap, draw)
        control = None if outcome.control is None else _rounded(fixed, outcome.control, 1.0, draw)
        return replace(outcome, update=update, control=control, weight=weight)

    return sent


def _rounded(fixed: FixedPoint, values: Update, weight: float, draw: np.random.Generator) -> Update:
    """Return a vector as it stands in a sum, divided by its weight."""
    finite = np.nan_to_num(values, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
    seed = Secret(draw.bytes(32))
    coordinates, _ = fixed.decode(fixed.encode([Part(finite, weight)], np.zeros(0), seed=seed))
    return (coordinates / weight).astype(np.float32)

"""A decision threshold for each group of one sensitive column, with which all find the sick equally often.

Where a study permits it, `Validate` is answered with a tail to the tally: for each group of the column, in the order of
the study's groups, the bins of its healthy and of its sick patients (as in `sealround.federation.tally`). Each group's
threshold is then the one at which no smaller share of its sick is found than of everybody's at the common threshold:
equal opportunity (M. Hardt, E. Price, N. Srebro, NeurIPS 2016, Section 2), by the threshold only, without their
randomisation. On few patients the share found moves in steps; of cuts that find the same, the nearest to the common
threshold is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.federation import tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.federation.groups import Group
    from sealround.study.sections import Study
    from sealround.vocabulary import Tally

__all__ = ["group_thresholds", "histograms_size", "levels_with_threshold"]


def levels_with_threshold(study: Study, groups: Sequence[Group]) -> tuple[Group, ...]:
    """Return the groups that have a threshold of their own, in the study's order; none where it permits none."""
    return tuple(group for group in groups if group.columns == (study.fairness.group_thresholds,))


def histograms_size(levels: int) -> int:
    """Return how many numbers follow the tally, for so many groups."""
    return 2 * tally.BINS * levels


def group_thresholds(
    total: Tally, tail: Tally, common: float, calibration: tuple[float, float], fewest: int
) -> tuple[float, ...]:
    """Choose a threshold for each group.

    Args:
        total: Everybody's validation tally.
        tail: Bins of each group, float64 ``(levels * 2 * BINS,)``, on the same logits.
        common: The threshold of everybody, on the recalibrated risk.
        calibration: Slope and intercept of the logit.
        fewest: A group with fewer sick examples has the common threshold.

    Returns:
        A threshold on the recalibrated risk for each group.
    """
    if not tail.size:
        return ()
    wanted = tally.sensitivity_at(total, common, calibration)
    chosen = []
    for cells in tail.reshape(-1, 2, tally.BINS):
        own = None
        if wanted is not None and cells[1].sum() >= max(fewest, 1):
            own = tally.threshold_finding(cells, wanted, common, calibration)
        chosen.append(common if own is None else own)
    return tuple(np.array(chosen).tolist())

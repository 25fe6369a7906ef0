"""A site's patients by group: what it counts of a model's decisions, and what it keeps to itself.

In an open study the coordinator sees each site's counts: a group is left out where it is fewer patients than the site's
minimum, or would tell by subtraction how one that small fares. In a sealed study only the sum over sites is ever seen,
and nothing is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical.groups import groups_of, memberships
from sealround.fairness.counting import Examples, count
from sealround.fairness.suppression import equations_of
from sealround.federation import tally
from sealround.federation.group_thresholds import levels_with_threshold

if TYPE_CHECKING:
    from sealround.clinical.cohort import SiteCohort, SplitName
    from sealround.study.sections import Study
    from sealround.vocabulary import Labels, Tally

__all__ = ["examples_by_group", "group_histograms", "group_tally", "thresholds_of"]


def examples_by_group(study: Study, cohort: SiteCohort, split: SplitName, min_cell_count: int) -> Examples:
    """Return one split of a site's examples with the groups that each counts in.

    Args:
        study: The study.
        cohort: The site's records.
        split: Which part of them.
        min_cell_count: Fewest patients that an open study's results tell apart.
    """
    rows = cohort.where(split)
    everybody = np.ones((rows.size, 1), dtype=bool)
    examples = Examples(
        positive=cohort.outcome.event[rows] > 0,
        patient=cohort.patient[rows],
        member=np.concatenate((everybody, memberships(study, cohort, rows)), axis=1),
    )
    if study.protection.sealed:
        return examples
    return examples.suppressed(equations_of([group.terms for group in groups_of(study)]), min_cell_count)


def thresholds_of(
    study: Study, cohort: SiteCohort, split: SplitName, common: float, by_group: tuple[float, ...]
) -> np.ndarray:
    """Return the decision threshold of every row.

    Args:
        study: The study.
        cohort: The site's records.
        split: Which part of them.
        common: Of rows in no group that has its own.
        by_group: Of the groups of `sealround.federation.group_thresholds`, in the study's order; empty for none.

    Returns:
        float64 ``(n,)``.
    """
    rows = cohort.where(split)
    if not by_group:
        return np.full(rows.size, common)
    member = memberships(study, cohort, rows)[:, _columns_with_threshold(study)]
    own: np.ndarray = np.where(member.any(axis=1), member @ np.array(by_group), common)
    return own


def group_histograms(study: Study, examples: Examples, logits: Labels) -> Tally:
    """Return the bins of logits of each group with a threshold of its own, float64 ``(levels * 2 * BINS,)``."""
    outcome = examples.positive.astype(np.float64)
    bins = [
        tally.binary_tally((0.0, 0), (0.0, 0), logits[member], outcome[member])[-2 * tally.BINS :]
        for member in examples.member[:, 1 + _columns_with_threshold(study)].T
    ]
    return np.concatenate(bins) if bins else np.zeros(0)


def _columns_with_threshold(study: Study) -> np.ndarray:
    """Return the places of the groups with a threshold of their own among a study's groups, int64 ``(levels,)``."""
    groups = groups_of(study)
    own = set(levels_with_threshold(study, groups))
    return np.array([place for place, group in enumerate(groups) if group in own], dtype=np.int64)


def group_tally(risk: np.ndarray, threshold: float | np.ndarray, examples: Examples) -> Tally:
    """Count one model's decisions by group, float64 ``((1 + g) * CELLS,)``; see `sealround.fairness.cells`."""
    return count(risk, threshold, examples).ravel()

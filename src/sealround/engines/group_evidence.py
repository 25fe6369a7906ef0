"""The evidence of how groups of patients fare: from counts summed over sites to metrics, gaps and intervals."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.clinical.groups import groups_of
from sealround.fairness.cells import CELLS
from sealround.fairness.results import describe, largest_gap
from sealround.federation.groups import EVERYBODY
from sealround.federation.scores import cells_by_group

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sealround.fairness.intervals import Estimate
    from sealround.fairness.results import GroupResult
    from sealround.federation.groups import Group
    from sealround.study import Study
    from sealround.vocabulary import Tally
    from sealround.wire import Value

__all__ = ["METRICS", "group_evidence", "summed_groups"]

METRICS = ("fnr", "fpr", "ppv", "calibration", "auroc")
"""In the order of a report."""


def summed_groups(evaluations: Iterable[Mapping[str, Value]], groups: int) -> Tally:
    """Add up the sites' counts by group, float64 ``(1 + g, CELLS)``; ``(0, CELLS)`` without groups.

    Raises:
        UsageError: If a site's are no counts of these groups.
    """
    none = np.zeros((1 + groups if groups else 0, CELLS))
    return sum((cells_by_group(evaluation, groups) for evaluation in evaluations), start=none)


def group_evidence(study: Study, local: Study, counts: Mapping[str, Tally]) -> dict[str, Any] | None:
    """Describe how every group fares under every model.

    Args:
        study: The study that is agreed on.
        local: The study as every site ran it.
        counts: For each model, its decisions on all sites' test patients, float64 ``(1 + g, CELLS)``.

    Returns:
        A tree fit for JSON; ``None`` where the study has no groups. By model everybody, then each group in the study's
        order: what may be said of it, ``None`` where that is nothing; and by metric, which group is worse off by most.
    """
    groups = groups_of(study)
    if not groups:
        return None
    terms = [group.terms for group in groups]
    confidence, minimum = study.evaluation.confidence, study.fairness.min_group
    results = {name: describe(found, terms, confidence, minimum) for name, found in counts.items()}
    return {
        "confidence": confidence,
        "min_group": minimum,
        # Where sums are sealed, a site keeps nothing to itself: nobody sees its counts.
        "min_cell_count": None if study.protection.sealed else local.standardisation.min_cell_count,
        "intersections": study.fairness.intersections,
        "models": {
            name: {
                "groups": [_group(None, found[0])]
                + [_group(group, result) for group, result in zip(groups, found[1:], strict=True)],
                "largest": {metric: _largest(groups, found, metric) for metric in METRICS},
            }
            for name, found in results.items()
        },
    }


def _group(group: Group | None, result: GroupResult) -> dict[str, Any]:
    return {
        "group": EVERYBODY if group is None else group.name,
        "terms": [] if group is None else [list(term) for term in group.terms],
        "patients": result.patients,
        "sites": result.sites,
        "positives": result.positives,
        "assessable": not result.withheld,
        "withheld": result.withheld or None,
        "metrics": {metric: _estimate(result.metrics[metric]) for metric in METRICS},
        "gaps": {metric: _estimate(result.gaps[metric]) for metric in METRICS},
    }


def _largest(groups: tuple[Group, ...], results: tuple[GroupResult, ...], metric: str) -> dict[str, Any] | None:
    index = largest_gap(results, metric)
    if index is None:
        return None
    return {"group": groups[index - 1].name, "gap": _estimate(results[index].gaps[metric])}


def _estimate(found: Estimate | None) -> dict[str, float] | None:
    return None if found is None else asdict(found)

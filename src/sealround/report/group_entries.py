"""How groups of patients fare, read from the evidence: checked as strictly as the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.errors import ConsistencyError
from sealround.report.entries import estimate, only
from sealround.report.evidence import MODELS, Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.report.nodes import Node

__all__ = ["GROUP_METRICS", "GroupFacts", "Subgroups", "subgroups"]

GROUP_METRICS = ("fnr", "fpr", "ppv", "auroc", "calibration")
"""What is measured of each group, in the order of the page."""


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """One group of patients, or everybody, under one model.

    Attributes:
        group: What it is called.
        terms: How many columns it is of; 0 for everybody.
        patients: How many; ``None`` where it is not assessable.
        sites: At how many sites; ``None`` where it is not assessable.
        positives: How many have the outcome; ``None`` where that is not shown.
        withheld: Why it is not assessable; empty if it is.
        metrics: What is known of it.
        gaps: How far each is from all other groups of the same columns.
    """

    group: str
    terms: int
    patients: int | None
    sites: int | None
    positives: int | None
    withheld: str
    metrics: Mapping[str, Estimate]
    gaps: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Subgroups:
    """How every group fares under every model.

    Attributes:
        min_group: Fewest patients of a group that is assessable.
        min_cell_count: Fewest patients that a site told apart; ``None`` where nobody saw a site's numbers.
        models: Of each model, everybody and then each group, all in the same order.
        largest: Of the model trained together: by metric the group that is worse off than others by most, and by what.
    """

    min_group: int
    min_cell_count: int | None
    models: Mapping[str, tuple[GroupFacts, ...]]
    largest: Mapping[str, tuple[str, Estimate]]


def subgroups(node: Node | None) -> Subgroups | None:
    """Read how groups fare; ``None`` where the study has none.

    Raises:
        UnsupportedError: If a model or metric is not known.
        VerificationError: If a value is missing, of the wrong type or out of range.
        ConsistencyError: If models differ in their groups, or a group that is not assessable has numbers.
    """
    if node is None:
        return None
    only(node["models"], frozenset(MODELS), "model")
    models = {
        name: tuple(_group(entry) for entry in found["groups"].items())
        for name in MODELS
        if (found := node["models"].get(name)) is not None
    }
    if "federated" not in models:
        raise node["models"]["federated"].fault("the groups of the model trained together")
    if len({tuple(entry.group for entry in groups) for groups in models.values()}) > 1:
        raise ConsistencyError("evidence: subgroups: models differ in their groups")
    if not models["federated"] or models["federated"][0].terms:
        raise node["models"]["federated"]["groups"].fault("everybody first")
    largest = node["models"]["federated"]["largest"]
    only(largest, frozenset(GROUP_METRICS), "metric")
    return Subgroups(
        min_group=node["min_group"].count(),
        min_cell_count=node.count_or_none("min_cell_count"),
        models=models,
        largest={
            metric: (found["group"].text(), estimate(found["gap"], -1.0))
            for metric in GROUP_METRICS
            if (found := largest.get(metric)) is not None
        },
    )


def _group(node: Node) -> GroupFacts:
    withheld = node.get("withheld")
    read = GroupFacts(
        group=node["group"].text(),
        terms=len(node["terms"].items()),
        patients=node.count_or_none("patients"),
        sites=node.count_or_none("sites"),
        positives=node.count_or_none("positives"),
        withheld="" if withheld is None else withheld.word("few", "complement"),
        metrics=_metrics(node["metrics"]),
        gaps=_metrics(node["gaps"], low=-1.0),
    )
    if node["assessable"].flag() == bool(read.withheld):
        raise ConsistencyError(f"evidence: {node.path}: a group is assessable or withheld, not both")
    counts = (read.patients, read.sites, read.positives)
    if read.withheld and (read.metrics or read.gaps or counts != (None, None, None)):
        raise ConsistencyError(f"evidence: {node.path}: numbers of a group that is not assessable")
    return read


def _metrics(node: Node, low: float = 0.0) -> dict[str, Estimate]:
    only(node, frozenset(GROUP_METRICS), "metric")
    return {
        metric: estimate(found, -1.0 if metric == "calibration" else low)
        for metric in GROUP_METRICS
        if (found := node.get(metric)) is not None
    }

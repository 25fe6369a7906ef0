"""From ``drill.json``, decoded, to `sealround.report.drill.evidence`: everything is checked before a line is written.

What the page could not show in full is refused, as for a run: see `sealround.report.reading`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sealround.errors import ConsistencyError, UnsupportedError
from sealround.report.drill.evidence import (
    NO_ATTACK,
    VERDICTS,
    Attack,
    Cell,
    CellKey,
    Course,
    DrillEvidence,
    Durability,
    Exclusion,
    GroupResult,
    Heterogeneity,
    Rule,
    Ruling,
    SitePart,
    Suggestion,
    Verdict,
    Worst,
)
from sealround.report.entries import environment, estimate, evidence_format, only, protection, site_term, study
from sealround.report.evidence import Estimate
from sealround.report.metrics import METRICS
from sealround.report.nodes import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["DRILL_FORMAT", "read_drill"]

DRILL_FORMAT = "sealround-drill/1"

_SECTIONS = frozenset(
    {
        "format", "sealround", "study", "sites", "num_byzantine", "liars", "protection", "rules", "heterogeneity",
        "attacks", "seeds", "metric", "limits", "cells", "worst", "verdicts", "suggestions", "left_out", "cost",
        "environment",
    }
)  # fmt: skip
_Named = TypeVar("_Named")
_Points = tuple[tuple[float, float | None], ...]


def read_drill(evidence: Mapping[str, object]) -> DrillEvidence:
    """Check and freeze one drill's evidence.

    Args:
        evidence: ``drill.json``, decoded.

    Raises:
        UnsupportedError: If its format, or something in it, is not known to this version.
        VerificationError: If a value is missing, of the wrong type or out of range.
        ConsistencyError: If two parts contradict each other.
    """
    root = Node(evidence)
    evidence_format(root, DRILL_FORMAT)
    only(root, _SECTIONS, "section")
    limits, cost = root["limits"], root["cost"]
    read = DrillEvidence(
        sealround=root["sealround"].text(),
        study=study(root["study"]),
        site_term=site_term(root["study"].get("site_term")),
        sites=_texts(root["sites"]),
        num_byzantine=root["num_byzantine"].count(),
        liars={seed: _texts(entry) for seed, entry in root["liars"].fields().items()},
        protection=tuple(protection(entry) for entry in root["protection"].items()),
        rules=_by_key(root["rules"], _rule),
        heterogeneity=_by_key(
            root["heterogeneity"], lambda node: Heterogeneity(node["title"].text(), own=node["own"].flag())
        ),
        attacks=_by_key(root["attacks"], _attack),
        seeds=tuple(entry.count() for entry in root["seeds"].items()),
        metric=_metric(root["metric"]),
        holds=limits["holds"].number(0.0, 1.0),
        degrades=limits["degrades"].number(0.0, 1.0),
        cells=_cells(root["cells"]),
        worst={
            (entry["rule"].text(), entry["heterogeneity"].text()): Worst(
                entry["attack"].text(), entry.number_or_none("value", 0.0, 1.0)
            )
            for entry in root["worst"].items()
        },
        rulings={
            entry["attack"].text(): Ruling(_verdict(entry["verdict"]), entry["sentence"].text())
            for entry in root["verdicts"].items()
        },
        suggestions=tuple(
            Suggestion(entry["text"].text(), entry.text_or("why", "")) for entry in root["suggestions"].items()
        ),
        left_out=_texts(root["left_out"]),
        seconds=cost.number_or_none("seconds", low=0.0),
        workers=cost.count_or_none("workers"),
        environment=environment(root["environment"]),
    )
    _check(read)
    return read


def _texts(node: Node) -> tuple[str, ...]:
    return tuple(entry.text() for entry in node.items())


def _by_key(node: Node, read: Callable[[Node], _Named]) -> dict[str, _Named]:
    found: dict[str, _Named] = {}
    for entry in node.items():
        key = entry["key"].text()
        if key in found:
            raise ConsistencyError(f"evidence: {entry.path}: a key is there twice")
        found[key] = read(entry)
    return found


def _rule(node: Node) -> Rule:
    refused = node.get("refused")
    return Rule(node["title"].text(), own=node["own"].flag(), refused=None if refused is None else refused.text())


def _attack(node: Node) -> Attack:
    applicable = node["applicable"].flag()
    return Attack(
        title=node["title"].text(),
        aim=node.text_or("aim", ""),
        knows=_texts(node["knows"]),
        source=node.text_or("source", ""),
        what=node.text_or("what", ""),
        why_not=None if applicable else node.text_or("why_not", "no reason is given"),
    )


def _metric(node: Node) -> str:
    name = node.text()
    if name not in METRICS:
        raise UnsupportedError("evidence: metric: unknown metric", hint=f"known: {', '.join(METRICS)}")
    return name


def _verdict(node: Node) -> Verdict:
    text = node.text()
    found = next((verdict for verdict in VERDICTS if verdict == text), None)
    if found is None:
        raise UnsupportedError(f"evidence: {node.path}: unknown verdict", hint=f"known: {', '.join(VERDICTS)}")
    return found


def _cells(node: Node) -> dict[CellKey, Cell]:
    found: dict[CellKey, Cell] = {}
    for entry in node.items():
        key = (entry["attack"].text(), entry["rule"].text(), entry["heterogeneity"].text())
        if key in found:
            raise ConsistencyError(f"evidence: {entry.path}: the cell is there twice")
        found[key] = _cell(entry)
    return found


def _estimate(node: Node | None, low: float = 0.0) -> Estimate | None:
    return None if node is None else estimate(node, low)


def _cell(node: Node) -> Cell:
    metric, groups, stopped = (node.get(key) for key in ("metric", "groups", "stopped"))
    return Cell(
        seeds=node["seeds"].count(),
        metric=Estimate() if metric is None else estimate(metric, 0.0),
        worst=None if metric is None else metric.number_or_none("worst", 0.0, 1.0),
        baseline=node.number_or_none("baseline", 0.0, 1.0),
        loss=_estimate(node.get("loss"), -1.0),
        success=_estimate(node.get("success")),
        success_without=node.number_or_none("success_without", 0.0, 1.0),
        durability=_durability(node.get("durability")),
        groups=() if groups is None else tuple(_group(entry) for entry in groups.items()),
        exclusion=_exclusion(node.get("exclusion")),
        course=_course(node.get("curve")),
        verdict=_verdict(node["verdict"]),
        sentence=node.text_or("sentence", ""),
        stopped=None if stopped is None else stopped.text(),
        withheld=node.count_or_none("withheld_seeds") or 0,
    )


def _points(node: Node, across: str, up: str) -> _Points:
    """Read two arrays of one length; a value that is null breaks the line."""
    values = node.get(up)
    if values is None:
        return ()
    rounds, heights = node[across].items(), values.items()
    if len(rounds) != len(heights):
        raise ConsistencyError(f"evidence: {node.path}: {across} and {up} differ in length")
    return tuple(
        (float(x.count()), None if y.value is None else y.number(0.0, 1.0))
        for x, y in zip(rounds, heights, strict=True)
    )


def _course(node: Node | None) -> Course:
    if node is None:
        return Course((), ())
    return Course(_points(node, "round", "metric"), _points(node, "round", "success"))


def _durability(node: Node | None) -> Durability | None:
    if node is None:
        return None
    return Durability(
        node["stopped_after"].count(), _points(node, "rounds", "success"), node.count_or_none("half_life")
    )


def _group(node: Node) -> GroupResult:
    return GroupResult(
        group=node["group"].text(),
        n=node.count_or_none("n"),
        assessable=node["assessable"].flag(),
        fnr=_estimate(node.get("fnr")),
        fpr=_estimate(node.get("fpr")),
        rise=_estimate(node.get("rise"), -1.0),
    )


def _exclusion(node: Node | None) -> Exclusion | None:
    if node is None:
        return None
    return Exclusion(
        precision=node.number_or_none("precision", 0.0, 1.0),
        recall=node.number_or_none("recall", 0.0, 1.0),
        sites={
            site: SitePart(
                entry["lies"].flag(),
                entry.number_or_none("part", 0.0),
                entry.number_or_none("left_out", 0.0, 1.0),
                entry.number_or_none("left_out_honest", 0.0, 1.0),
            )
            for site, entry in node.entries("sites").items()
        },
    )


def _check(read: DrillEvidence) -> None:
    """Refuse parts that contradict each other."""
    sites = set(read.sites)
    if not 1 <= read.num_byzantine < len(sites):
        raise ConsistencyError("evidence: as many sites lie as there are, or none does")
    if len(sites) != len(read.sites) or any(not set(names) <= sites for names in read.liars.values()):
        raise ConsistencyError("evidence: a site lies that is not listed, or one is listed twice")
    if sum(rule.own for rule in read.rules.values()) != 1:
        raise ConsistencyError("evidence: not exactly one rule is the study's own")
    if not read.heterogeneity or sum(kind.own for kind in read.heterogeneity.values()) > 1:
        raise ConsistencyError("evidence: no way to divide patients is listed, or more than one is the study's own")
    if NO_ATTACK not in read.attacks:
        raise ConsistencyError("evidence: nothing says how the study does without an attack")
    if read.holds > read.degrades:
        raise ConsistencyError("evidence: limits: what holds loses no more than what degrades")
    known = (read.attacks.keys(), read.rules.keys(), read.heterogeneity.keys())
    named = [*read.cells, *((entry.attack, rule, kind) for (rule, kind), entry in read.worst.items())]
    if any(part not in keys for key in named for part, keys in zip(key, known, strict=True)):
        raise ConsistencyError("evidence: a cell is of an attack, a rule or a heterogeneity that is not listed")
    if not read.rulings.keys() <= read.attacks.keys():
        raise ConsistencyError("evidence: a verdict is on an attack that is not listed")
    if any(cell.exclusion and not cell.exclusion.sites.keys() <= sites for cell in read.cells.values()):
        raise ConsistencyError("evidence: a cell leaves out a site that is not listed")

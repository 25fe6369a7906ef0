"""The evidence of a drill: every number of its page, in one JSON-able tree (``drill.json``)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sealround import __version__
from sealround.clinical.groups import groups_of
from sealround.clinical.roles import roles_of
from sealround.engines.drill.advice import left_out, suggestions
from sealround.engines.drill.mixes import AS_IS
from sealround.engines.drill.outcomes import Pooling
from sealround.engines.drill.plays import NOBODY, PLAYS
from sealround.engines.drill.setting import harmed_group, liars_of
from sealround.engines.drill.verdicts import LIMITS, judge
from sealround.study import study_digest
from sealround.study.summary import describe_model, protection_states

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical import SiteCohort
    from sealround.engines.drill.grid import Cell, Grid
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["FORMAT", "gather_drill"]

FORMAT = "sealround-drill/1"

_PRIVATE = ("why_not", "stopped_seeds", "success_rise")


def gather_drill(
    study: Study,
    grid: Grid,
    cohorts: Mapping[PartyId, SiteCohort],
    found: Mapping[Cell, Mapping[str, Any]],
) -> dict[str, Any]:
    """Gather the evidence of a finished drill, all but its cost and environment.

    Args:
        study: The study.
        grid: All that was gone through.
        cohorts: The records of the study's own sites.
        found: What each training gave.

    Returns:
        A tree fit for JSON: no NaN, ``None`` where a number is undefined or suppressed.
    """
    cells = _cells(study, grid, found)
    own = next(rule.key for rule in grid.rules if rule.own)
    mine = [cell for cell in cells if cell["rule"] == own and cell["heterogeneity"] == grid.mixes[0].key]
    return {
        "format": FORMAT,
        "sealround": __version__,
        "study": _study(study, grid) | {"parameters": next(filter(None, _parameters(found)), None)},
        "sites": sorted(cohorts),
        "num_byzantine": grid.num_byzantine,
        "liars": {str(seed): list(liars_of(study, grid, cohorts, seed)) for seed in grid.seeds},
        "protection": [asdict(state) for state in protection_states(study)],
        "rules": [
            {"key": rule.key, "title": rule.title, "own": rule.own, "refused": rule.refused} for rule in grid.rules
        ],
        "heterogeneity": [{"key": mix.key, "title": mix.title, "own": mix.key == AS_IS} for mix in grid.mixes],
        "attacks": [_attack(key, study, grid, cohorts, cells) for key in grid.attacks],
        "seeds": list(grid.seeds),
        "metric": study.primary_metric,
        "limits": dict(LIMITS),
        "cells": [{key: value for key, value in _public(cell).items() if key not in _PRIVATE} for cell in cells],
        "worst": _worst(study, cells),
        "verdicts": [
            {"attack": cell["attack"], "verdict": cell["verdict"], "sentence": cell["sentence"]}
            for cell in mine
            if cell["attack"] != NOBODY
        ],
        "suggestions": suggestions(study, grid, cells),
        "left_out": left_out(study, grid),
    }


def _study(study: Study, grid: Grid) -> dict[str, Any]:
    label = roles_of(study.cohort).label
    return {
        "name": study.study.name,
        "question": study.study.question,
        "digest": study_digest(study).hex(),
        "rounds": grid.rounds,
        "seed": study.study.seed,
        "task": study.task,
        "primary": study.primary_metric,
        "model": describe_model(study.model),
        "confidence": study.evaluation.confidence,
        "site_term": study.cohort.site_term,
        "outcome": (label[1].outcome or None) if label is not None else None,
    }


def _parameters(found: Mapping[Cell, Mapping[str, Any]]) -> list[int | None]:
    return [one.get("parameters") for one in found.values()]


def _cells(study: Study, grid: Grid, found: Mapping[Cell, Mapping[str, Any]]) -> list[dict[str, Any]]:
    pooling = Pooling(study, grid, groups_of(study))
    by_place: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for cell in grid.cells:
        by_place.setdefault((cell.heterogeneity, cell.attack, cell.rule), []).append(found[cell])
    cells = []
    for (mix, attack, rule), seeds in by_place.items():
        entry = pooling.pooled(attack, seeds, by_place[mix, NOBODY, rule])
        verdict, sentence = judge(entry, study.primary_metric, honest=attack == NOBODY)
        place = {"attack": attack, "rule": rule, "heterogeneity": mix}
        cells.append({**place, **entry, "verdict": verdict, "sentence": sentence})
    return cells


def _public(cell: Mapping[str, Any]) -> dict[str, Any]:
    groups = [{key: value for key, value in group.items() if key != "rise_for_certain"} for group in cell["groups"]]
    return {**cell, "groups": groups}


def _attack(
    key: str, study: Study, grid: Grid, cohorts: Mapping[PartyId, SiteCohort], cells: list[dict[str, Any]]
) -> dict[str, Any]:
    play = PLAYS[key]
    reasons = [cell["why_not"] for cell in cells if cell["attack"] == key]
    what = play.what
    group = harmed_group(study, grid, cohorts)
    if play.data in ("relabel-group", "relabel-group-boosted") and group is not None:
        what = f"{what} Here: {groups_of(study)[group].name}."
    applicable = any(why is None for why in reasons)
    return {
        "key": key,
        "title": play.title,
        "aim": play.aim,
        "knows": list(play.knows),
        "source": play.source,
        "what": what,
        "applicable": applicable,
        "why_not": None if applicable else reasons[0],
    }


def _worst(study: Study, cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the worst case of each rule and mix over the attacks; a training that stopped has no value, and is it."""
    sign = -1.0 if study.primary_metric in ("brier", "ece") else 1.0
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells:
        if cell["attack"] == NOBODY or cell["verdict"] == "not applicable":
            continue
        value = None if cell["stopped"] is not None else cell["metric"]["value"]
        place = cell["rule"], cell["heterogeneity"]
        before = found.get(place)
        if before is None or _rank(value, sign) < _rank(before["value"], sign):
            found[place] = {"rule": place[0], "heterogeneity": place[1], "attack": cell["attack"], "value": value}
    return list(found.values())


def _rank(value: float | None, sign: float) -> float:
    return float("-inf") if value is None else sign * value

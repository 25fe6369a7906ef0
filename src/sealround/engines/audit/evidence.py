"""The evidence of an audit: every number of its report, in one JSON-able tree (``audit.json``)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from sealround.engines.audit.attackers import attackers_of
from sealround.engines.audit.requirement import FORMAT, judge_requirements
from sealround.engines.audit.sentences import strength_of
from sealround.engines.audit.showing import why_public
from sealround.engines.evidence import environment
from sealround.learning import describe_model
from sealround.study import study_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealround.engines.audit.campaign import Campaign, Play
    from sealround.study import Study

    Found = Sequence[tuple[Play, Mapping[str, Any]]]

__all__ = ["gather_audit", "showcase"]


def gather_audit(
    campaign: Campaign, found: Found, records: Mapping[Play, Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """Gather the evidence of an audit.

    Args:
        campaign: What was planned.
        found: What each part gave, in order.
        records: The worst-off patient's record of each part that has one.
        seconds: What this start took.

    Returns:
        A tree fit for JSON: no NaN, ``None`` where a number is not known.
    """
    study, reason = campaign.study, why_public(campaign.study)
    findings = [one for _, result in found for one in result.get("findings", ())]
    accuracies = {part.rung: result["accuracy"] for part, result in found if "accuracy" in result}
    here = next(rung.key for rung in campaign.rungs if rung.here)
    require = judge_requirements(study, findings, here)
    return {
        "format": FORMAT,
        "study": _study(campaign),
        "plan": {
            "seed": campaign.wishes.seed,
            "budget_s": campaign.wishes.budget_s,
            "seconds": seconds,
            # Whoever leaves attacks out has not audited the study.
            "finished": len(found) == len(campaign.plays) and campaign.wishes.attacks is None,
            "data": "own" if reason is None else "public",
            "why_public": reason,
            "kind": campaign.kind,
        },
        "attackers": [dataclasses.asdict(attacker) for attacker in attackers_of(study, len(campaign.cohorts))],
        "rungs": [
            {
                "key": rung.key,
                "label": rung.label,
                "here": rung.here,
                "beyond": rung.beyond,
                "accuracy": accuracies.get(rung.key),
                "switch": rung.switch,
            }
            for rung in campaign.rungs
        ],
        "findings": findings,
        "bounds": [result["bounds"] for _, result in found if result.get("bounds") is not None],
        "two_worlds": next((result["two_worlds"] for _, result in found if "two_worlds" in result), None),
        "showcase": [] if reason is None else showcase(found, records),
        "require": require,
        "passed": all(each["passed"] for each in require.values()) if require else None,
        "skipped": [list(pair) for pair in sorted(campaign.skipped)],
        "environment": environment(),
    }


def showcase(found: Found, records: Mapping[Play, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the records that a page shows, each with the number of its finding: of each attacker its strongest."""
    strongest: dict[tuple[str, str], tuple[float, int, Play]] = {}
    number = 0
    for part, result in found:
        if part in records:
            key, strength = (part.rung, part.attacker), strength_of(result["findings"][0])
            if key not in strongest or strength > strongest[key][0]:
                strongest[key] = strength, number, part
        number += len(result.get("findings", ()))
    return [{"finding": place, **records[part]} for strength, place, part in strongest.values() if strength > 0.0]


def _study(campaign: Campaign) -> dict[str, Any]:
    study, captured = campaign.study, campaign.captured
    return {
        "name": study.study.name,
        "digest": study_digest(study).hex(),
        "task": study.task,
        "model": describe_model(study, captured.inputs, captured.statistics),
        "inputs": _inputs(campaign),
        "sites": len(campaign.cohorts),
        "rounds": study.study.rounds,
        "batch_size": study.training.batch_size,
        "local": _local(study),
        "learning_rate": study.training.optimizer.learning_rate,
    }


def _inputs(campaign: Campaign) -> str:
    inputs, layout = campaign.captured.inputs, campaign.captured.statistics.layout
    match inputs.kind:
        case "image":
            channels, height, width = inputs.shape
            return f"images of {height}x{width} pixels, {'grey' if channels == 1 else f'{channels} channels'}"
        case "vector":
            return f"{inputs.shape[0]} ready-made features"
        case _:
            return f"{len(layout.numeric)} numbers and {len(layout.categories)} categories"


def _local(study: Study) -> str:
    training = study.training
    number, word = (
        (training.local_epochs, "epoch") if training.local_epochs is not None else (training.local_steps, "step")
    )
    return f"{number} {word}{'' if number == 1 else 's'}"

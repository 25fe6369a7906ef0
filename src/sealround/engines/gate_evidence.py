"""The evidence of the gate: every look, what was found of each group, and whom harm was traced to."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from sealround.federation.gate import decide, influences, rules_of
from sealround.study.sections import ModelReference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.fairness import Assessment
    from sealround.federation import Coordinator
    from sealround.federation.gate import Look
    from sealround.federation.groups import Group
    from sealround.study import Study

__all__ = ["gate_evidence", "is_withheld"]


def is_withheld(coordinator: Coordinator) -> bool:
    """Say whether the gate of a finished training withheld its model."""
    return coordinator.gate is not None and coordinator.gate.outcome == "withheld"


def gate_evidence(study: Study, groups: Sequence[Group], coordinator: Coordinator) -> dict[str, Any] | None:
    """Describe what the gate found.

    Args:
        study: The study that is agreed on.
        groups: Its groups.
        coordinator: Of the federation, done.

    Returns:
        A tree fit for JSON; ``None`` where the study has no gate.
    """
    options, gate = study.fairness.gate, coordinator.gate
    if options is None or gate is None:
        return None
    rules, reference = rules_of(study), options.reference
    name = PurePosixPath(reference.path).name if isinstance(reference, ModelReference) else None
    return {
        "reference": {"kind": reference.kind, "name": name},
        "metrics": list(options.metrics),
        "tolerance": options.tolerance,
        "confidence": options.confidence,
        "min_group": rules.min_group,
        "min_sites": rules.min_sites,
        "largest_undetected": options.largest_undetected,
        "unassessable": options.unassessable,
        "on_failure": options.on_failure,
        "outcome": gate.outcome,
        "without": list(gate.without if gate.outcome == "released" else gate.looks[-1].without),
        "looks": [_look(study, groups, gate.looks[: place + 1]) for place in range(len(gate.looks))],
    }


def _look(study: Study, groups: Sequence[Group], looks: Sequence[Look]) -> dict[str, Any]:
    look, (found, failed) = looks[-1], decide(study, groups, looks)
    return {
        "round": look.round,
        "without": list(look.without),
        "groups": [_assessed(entry) for entry in found],
        "failed": [list(pair) for pair in failed],
        "attribution": _attribution(study, groups, look, failed[0]) if look.influence and failed else None,
        "untraced": look.untraced,
    }


def _assessed(entry: Assessment) -> dict[str, Any]:
    return {
        "group": entry.group,
        "metric": entry.metric,
        "hospitals": entry.sites,
        "patients": entry.patients,
        "n": entry.examples,
        "candidate": entry.candidate,
        "reference": entry.reference,
        "rise": entry.rise,
        "low": entry.low,
        "p": entry.adjusted,
        "detectable": entry.detectable,
        "verdict": entry.verdict,
        "why": entry.why,
    }


def _attribution(study: Study, groups: Sequence[Group], look: Look, pair: tuple[str, Any]) -> dict[str, Any]:
    return {
        "group": pair[0],
        "metric": pair[1],
        "sites": [
            {
                "site": entry.site,
                "n": entry.found.examples,
                "with": entry.found.candidate,
                "without": entry.found.reference,
                "rise": entry.found.rise,
                "low": entry.found.low,
                "traced": entry.site in look.traced,
            }
            for entry in influences(study, groups, look, pair)
        ],
    }

"""What one attack found, as it is kept and reported: numbers, words, and no value of a patient."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sealround.report.audit.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.engines.audit.attackers import AttackerKey
    from sealround.engines.audit.attacks import Attack

__all__ = ["Aim", "Figure", "Outcome", "Status", "finding"]

Status: TypeAlias = Literal["done", "stopped", "not applicable", "refused by the site", "failed"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure over all patients judged.

    Attributes:
        value: The mean, or the statistic.
        low: Lower end of its 95 % interval, ``None`` where there is none.
        high: Upper end.
        baseline: What the best guess without an update reaches.
    """

    value: float
    low: float | None = None
    high: float | None = None
    baseline: float | None = None

    def to_tree(self) -> dict[str, float | None]:
        """Return it fit for JSON, what is not finite as ``None``."""
        return {
            "value": _finite(self.value),
            "low": _finite(self.low),
            "high": _finite(self.high),
            "baseline": _finite(self.baseline),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What an attack is aimed at: whose update, of which round, on which rung.

    Attributes:
        rung: Key of the rung.
        attacker: Who attacks.
        round: The round; ``None`` for the released model.
        site: Whose update; ``None`` for a sum.
        sites_in_sum: How many sites' records are in it.
        examples: How many examples are behind it.
        unknowns: How many numbers the records are.
    """

    rung: str
    attacker: AttackerKey
    round: int | None
    site: str | None
    sites_in_sum: int
    examples: int
    unknowns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attack went.

    Attributes:
        status: How it ended.
        why: Why it did not apply, was refused or failed, in words; ``None`` otherwise.
        granted: What the attacker was granted, and how: ``("labels", "recovered from the update")``.
        patients: How many patients were judged.
        certified: How many records the attack itself proves.
        measures: By name, of `sealround.report.audit.measures.MEASURES`.
        worst: The same of the worst-off patient.
        worst_baseline: What a guess without an update reaches on the same patient.
        worst_patient: Ordinal of that patient among those judged, from 1.
        beyond: What a study's limits are held against, by their names (`sealround.study.sections.Requirements`).
        mismatch: Relative distance between the update of what was rebuilt and the one seen.
        seconds: What it took.
        note: What a reader has to know, in one sentence.
    """

    status: Status
    why: str | None = None
    granted: tuple[tuple[str, str], ...] = ()
    patients: int = 0
    certified: int = 0
    measures: Mapping[str, Figure] = field(default_factory=dict)
    worst: Mapping[str, float] = field(default_factory=dict)
    worst_baseline: Mapping[str, float] = field(default_factory=dict)
    worst_patient: int | None = None
    beyond: Mapping[str, float] = field(default_factory=dict)
    mismatch: float | None = None
    seconds: float = 0.0
    note: str | None = None


def finding(attack: Attack, aim: Aim, outcome: Outcome) -> dict[str, Any]:
    """Put an attack, its aim and its outcome together, fit for JSON: an entry of ``findings`` in ``audit.json``."""
    worst: dict[str, Any] = _known(outcome.worst)
    if outcome.worst_patient is not None:
        worst |= {"patient": outcome.worst_patient, "baseline": _known(outcome.worst_baseline)}
    return {
        "rung": aim.rung,
        "attacker": aim.attacker,
        "attack": attack.key,
        "family": attack.family,
        "name": attack.name,
        "source": attack.source,
        "granted": [list(pair) for pair in outcome.granted],
        "round": aim.round,
        "site": aim.site,
        "sites_in_sum": aim.sites_in_sum,
        "examples": aim.examples,
        "unknowns": aim.unknowns,
        "status": outcome.status,
        "why": outcome.why,
        "patients": outcome.patients,
        "certified": outcome.certified,
        "measures": {
            name: outcome.measures[name].to_tree()
            for name in MEASURES
            if name in outcome.measures and math.isfinite(outcome.measures[name].value)
        },
        "worst": worst,
        "beyond": dict(outcome.beyond),
        "mismatch": _finite(outcome.mismatch),
        "seconds": outcome.seconds,
        "note": outcome.note,
    }


def _known(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(values[name]) for name in MEASURES if name in values and math.isfinite(values[name])}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
